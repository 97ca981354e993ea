"""Image archives in tar files and pipes: docker's, OCI's, and the two in one that imgmove writes."""

from __future__ import annotations

from imgmove.endpoints.archive.pipe import ArchivePipe
from imgmove.endpoints.archive.reader import Archive, looks_like_archive, open_archive
from imgmove.endpoints.archive.stream import ArchiveStream, CompressedArchiveFile
from imgmove.endpoints.archive.writer import ArchiveFile
from imgmove.ports import Files

__all__ = [
    "Archive",
    "ArchiveFile",
    "ArchivePipe",
    "ArchiveStream",
    "looks_like_archive",
    "new_archive",
    "open_archive",
]


def new_archive(files: Files, path: str, compression: str) -> ArchiveFile | CompressedArchiveFile:
    """An archive to be written to a file, compressed as a whole unless ``compression`` is ``none``."""
    return ArchiveFile(files, path) if compression == "none" else CompressedArchiveFile(files, path, compression)
