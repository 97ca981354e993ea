"""Archives as destinations in a file: offsets fixed by the plan, blobs written side by side, shown when all is there."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence

from imgmove.endpoints.archive.journal import Journal
from imgmove.endpoints.archive.shape import front_matter, merged
from imgmove.endpoints.blob_file import WrittenReader
from imgmove.endpoints.layout_reader import blob_path
from imgmove.errors import LocalError, SizeMismatch
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import DEFAULT_ALGORITHM, Digest
from imgmove.model.manifest import Node, parse_manifest
from imgmove.ports import BlobWriter, Files, FileWriter, LastingBlobWriter, NamedImage, Outline, Reader
from imgmove.rootfs.tar import END, make_header, padding
from imgmove.streams import BLOCK

_HEADER = 512
"""Bytes of the header before a blob under a sha256 name."""


class ArchiveFile:
    """An archive that replaces whatever lies at its path, when it is finished.

    What the outline names has its place from the beginning. What comes without having been named (a conversion, a
    pipe's blobs) is appended one at a time, and the front matter then goes to the end.
    """

    def __init__(self, files: Files, path: str) -> None:
        self._files = files
        self._path = path
        self._file: FileWriter | None = None
        self._journal: Journal | None = None
        self._given_up: set[Digest] = set()
        self._places: dict[Digest, int] = {}
        self._nodes: dict[Digest, Node] = {}
        self._roots: list[NamedImage] = []
        self._written: set[Digest] = set()
        self._is_whole = False
        self._end = 0
        self._lock = threading.Lock()
        self._tail = threading.Lock()

    def begin(self, outline: Outline) -> None:
        """Gives everything that is known its place, and writes all headers and manifests."""
        self._is_whole = outline.is_whole
        if outline.is_whole:
            self._begin_whole(outline)
        else:
            self._file = self._files.create(self._path)
        for blob in outline.blobs:
            if blob.digest not in self._nodes:
                self._places[blob.digest] = self._reserve(blob_path(blob.digest), blob.size)

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the archive holds it already, from earlier in the same command."""
        return descriptor.digest in self._written

    def put_blob(self, descriptor: Descriptor | None) -> BlobWriter:
        """Begins a blob in its place, or at the end if it has none."""
        if descriptor is not None and descriptor.digest in self._places:
            return _PlacedBlob(self, self._places[descriptor.digest], descriptor)
        return _AppendedBlob(self)

    def resume_blob(self, descriptor: Descriptor) -> LastingBlobWriter:
        """Goes on with a blob that an earlier run left in its place."""
        offset = self._places.get(descriptor.digest)
        if offset is None:
            raise LocalError(f"{self._path}: blob {descriptor.digest.short} has no place in the archive")
        self._given_up.discard(descriptor.digest)
        return _PlacedBlob(self, offset, descriptor)

    def put_manifest(
        self, content: bytes, media_type: str, names: Sequence[str], *, algorithm: str = DEFAULT_ALGORITHM
    ) -> None:
        """Writes a manifest, unless the outline had it."""
        node = parse_manifest(content, media_type, algorithm)
        descriptor = node.descriptor
        with self._tail, self._lock:
            if descriptor.digest not in self._nodes:
                self._nodes[descriptor.digest] = node
                self._append_node(node)
            if names and not self._is_whole:
                self._roots.append(NamedImage(descriptor, tuple(names)))

    def finish(self) -> None:
        """Closes the tar and shows it."""
        if not self._is_whole:
            for name, content in front_matter(merged(self._roots), self._nodes):
                self._append(name, content)
        missing = self._places.keys() - self._written
        if missing:
            raise LocalError(f"{self._path}: {len(missing)} blobs were not written")
        self.file.write_at(self._end, END)
        self.file.truncate(self._end + len(END))
        self.file.commit()
        if self._journal is not None:
            self._journal.remove()

    def close(self) -> None:
        """Leaves an archive that was not finished for a later run of the same plan, where that could finish it."""
        is_useful = self._journal is not None and not self._journal.is_empty and not self._given_up
        if self._journal is not None:
            self._journal.close() if is_useful else self._journal.remove()
        if self._file is not None:
            self._file.keep() if is_useful else self._file.abort()

    @property
    def file(self) -> FileWriter:
        """The file under its temporary name."""
        if self._file is None:
            raise LocalError(f"{self._path}: the archive was not begun")
        return self._file

    @property
    def journal(self) -> Journal | None:
        """What earlier runs wrote; None where no later run could go on."""
        return self._journal

    def give_up(self, digest: Digest) -> None:
        """A blob can't be had, so nobody is going to finish this archive unless it is begun once more."""
        self._given_up.add(digest)

    def wrote(self, digest: Digest) -> None:
        """Notes that a blob is complete."""
        with self._lock:
            self._written.add(digest)

    def _begin_whole(self, outline: Outline) -> None:
        self._nodes = {node.descriptor.digest: node for node in outline.manifests}
        self._roots = merged(outline.roots)
        front = self._front()
        key = _key(self._purpose(), front, outline)
        self._file = self._begun_file(key)
        self._journal = Journal(self._files.resume(self._path, f"{key}-ranges"))
        if not self._file.size:
            # It was left by a run that ended right after showing its archive.
            self._journal.clear()
        for name, content in front:
            self._append(name, content)
        for node in outline.manifests:
            self._append_node(node)

    def _front(self) -> Sequence[tuple[str, bytes]]:
        """The members that say what the archive holds, for an outline that is whole."""
        return front_matter(self._roots, self._nodes)

    def _purpose(self) -> str:
        """What else than the content decides whether a later run can go on."""
        return ""

    def _begun_file(self, key: str) -> FileWriter:
        """The file to write, which holds what an earlier run of the same key left."""
        self._files.forget_others(self._path, key)
        return self._files.resume(self._path, key)

    def _append_node(self, node: Node) -> None:
        digest = node.descriptor.digest
        self._append(blob_path(digest), node.content)
        self._written.add(digest)

    def _append(self, name: str, content: bytes) -> None:
        offset = self._reserve(name, len(content))
        self.file.write_at(offset, content)

    def _reserve(self, name: str, size: int) -> int:
        """Writes a member's header at the end; returns where its content goes."""
        header = make_header(name, size)
        self.file.write_at(self._end, header)
        offset = self._end + len(header)
        self._end = offset + size + padding(size)
        return offset

    # --- for blobs at the end: one at a time, as the next one's place depends on this one's size

    def hold_tail(self) -> int:
        """Waits until the end is free; returns where content may be written."""
        self._tail.acquire()
        return self._end + _HEADER

    def release_tail(self) -> None:
        """Lets the next one have it."""
        self._tail.release()

    def drop_tail(self) -> None:
        """Cuts off what was written at the held end."""
        self.file.truncate(self._end)

    def append_written(self, descriptor: Descriptor) -> None:
        """Puts the header before content that was written at the held end."""
        header = make_header(blob_path(descriptor.digest), descriptor.size)
        if len(header) != _HEADER:
            self._shift(self._end + _HEADER, descriptor.size, len(header) - _HEADER)
        self.file.write_at(self._end, header)
        self._end += len(header) + descriptor.size + padding(descriptor.size)
        self.file.truncate(self._end)
        self.wrote(descriptor.digest)

    def _shift(self, offset: int, size: int, by: int) -> None:
        """Moves content towards the end, last block first: a sha512 name needs a longer header than was left room."""
        while size > 0:
            count = min(size, BLOCK)
            size -= count
            self.file.write_at(offset + size + by, self.file.read_at(offset + size, count))


def _key(purpose: str, front: Sequence[tuple[str, bytes]], outline: Outline) -> str:
    """Stands for everything that decides what lies where, so that only a run of the same plan goes on."""
    hasher = hashlib.sha256(purpose.encode())
    for name, content in front:
        hasher.update(f"{name} {len(content)}\n".encode() + content)
    for node in outline.manifests:
        hasher.update(f"{node.descriptor.digest} {len(node.content)}\n".encode())
    for blob in outline.blobs:
        hasher.update(f"{blob.digest} {blob.size}\n".encode())
    return hasher.hexdigest()[:16]


class _PlacedBlob:
    """A blob whose place in the archive is fixed, and which may be there in part."""

    def __init__(self, archive: ArchiveFile, offset: int, descriptor: Descriptor) -> None:
        self._archive = archive
        self._offset = offset
        self._descriptor = descriptor
        held = archive.journal.reach(offset) - offset if archive.journal else 0
        self._count = min(held, descriptor.size)

    def resume(self) -> int:
        """All that was written is there."""
        return self._count

    def reread(self) -> Reader:
        """What was written."""
        return WrittenReader(self._archive.file, self._offset, self._offset + self._count)

    def write(self, reader: Reader) -> None:
        """Writes what comes, and nothing beyond the blob's own place."""
        while data := reader.read(BLOCK):
            if self._count + len(data) > self._descriptor.size:
                raise SizeMismatch(f"{self._descriptor.digest.short} is longer than its descriptor says")
            start = self._offset + self._count
            self._archive.file.write_at(start, data)
            self._count += len(data)
            if self._archive.journal is not None:
                self._archive.journal.note(start, start + len(data))

    def commit(self, descriptor: Descriptor) -> None:
        """Notes that the blob is there."""
        if self._count != descriptor.size:
            raise SizeMismatch(f"{descriptor.digest.short}: {self._count} bytes came instead of {descriptor.size}")
        self._archive.wrote(descriptor.digest)

    def keep(self) -> None:
        """The archive as a whole is left for a later run."""

    def abort(self) -> None:
        """What lies in the place is not to be relied on; without this blob the archive is never shown."""
        if not self._archive.has(self._descriptor):
            if self._archive.journal is not None:
                self._archive.journal.forget(self._offset)
            self._count = 0
            self._archive.give_up(self._descriptor.digest)


class _AppendedBlob:
    """A blob at the end, whose size and digest show when it has come."""

    def __init__(self, archive: ArchiveFile) -> None:
        self._archive = archive
        self._offset: int | None = None
        self._count = 0

    def resume(self) -> int:
        """Holds the end of the archive from now on."""
        if self._offset is None:
            self._offset = self._archive.hold_tail()
        return self._count

    def write(self, reader: Reader) -> None:
        """Writes what comes."""
        assert self._offset is not None
        while data := reader.read(BLOCK):
            self._archive.file.write_at(self._offset + self._count, data)
            self._count += len(data)

    def commit(self, descriptor: Descriptor) -> None:
        """Puts the header before it and gives the end free."""
        if self._offset is None:
            return
        if self._count != descriptor.size:
            raise SizeMismatch(f"{descriptor.digest.short}: {self._count} bytes came instead of {descriptor.size}")
        if self._archive.has(descriptor):
            self._archive.drop_tail()
        else:
            self._archive.append_written(descriptor)
        self._release()

    def abort(self) -> None:
        """Cuts it off and gives the end free."""
        if self._offset is not None:
            self._archive.drop_tail()
            self._release()

    def _release(self) -> None:
        self._offset = None
        self._archive.release_tail()
