"""Image archives in tar files and pipes: docker's, OCI's, and the two in one that imgmove writes."""

from __future__ import annotations

from imgmove.endpoints.archive.pipe import ArchivePipe
from imgmove.endpoints.archive.reader import Archive, looks_like_archive, open_archive
from imgmove.endpoints.archive.stream import ArchiveStream, CompressedArchiveFile
from imgmove.endpoints.archive.writer import ArchiveFile
from imgmove.errors import UsageError
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
    """An archive to be written to a file, compressed as a whole unless ``compression`` is ``none``.

    Raises:
        UsageError: a folder lies there.
    """
    status = files.status(path)
    if status is not None and status.is_folder:
        raise UsageError(f"{path} is a folder, which an archive can't replace", hint=f"write oci:{path} for a layout")
    return ArchiveFile(files, path) if compression == "none" else CompressedArchiveFile(files, path, compression)
