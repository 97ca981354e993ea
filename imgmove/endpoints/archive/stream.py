"""Archives as destinations in one forward stream: stdout, or a file that is compressed as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from imgmove.endpoints.archive.shape import front_matter, merged
from imgmove.endpoints.layout_reader import blob_path
from imgmove.errors import LocalError, SizeMismatch, UsageError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import DEFAULT_ALGORITHM, Digest
from imgmove.model.manifest import Node, parse_manifest
from imgmove.ports import BlobWriter, Files, FileWriter, NamedImage, Outline, Reader
from imgmove.rootfs.tar import END, make_header, padding
from imgmove.streams import BLOCK
from imgmove.wire import codec


class Sink(Protocol):
    """Where a stream of bytes goes."""

    def write(self, data: bytes, /) -> object: ...

    def flush(self) -> object: ...


class ArchiveStream:
    """An archive that is written from its first byte to its last; blobs come in the order of the outline.

    For one thread at a time.
    """

    def __init__(self, sink: Sink, label: str = "stdout") -> None:
        self._sink = sink
        self._label = label
        self._order: tuple[Descriptor, ...] = ()
        self._nodes: dict[Digest, Node] = {}
        self._roots: list[NamedImage] = []
        self._written: set[Digest] = set()
        self._is_whole = False

    def begin(self, outline: Outline) -> None:
        """Writes the front matter and the manifests, if they are known."""
        self._is_whole = outline.is_whole
        if not outline.is_whole:
            return
        self._nodes = {node.descriptor.digest: node for node in outline.manifests}
        self._order = tuple(blob for blob in outline.blobs if blob.digest not in self._nodes)
        self._roots = merged(outline.roots)
        for name, content in self._front():
            self._put(name, content)
        for node in outline.manifests:
            self._put_node(node)

    def order(self) -> Sequence[Descriptor]:
        """The outline's own order."""
        return self._order

    def has(self, descriptor: Descriptor) -> bool:
        """Whether it went by already."""
        return descriptor.digest in self._written

    def put_blob(self, descriptor: Descriptor | None) -> BlobWriter:
        """Begins a blob; its size is written before its content, so it must be known.

        Raises:
            UsageError: it isn't.
        """
        if descriptor is None:
            raise UsageError("a stream takes only content whose size is known", hint="write to a file first")
        return _StreamedBlob(self, descriptor)

    def put_manifest(
        self, content: bytes, media_type: str, names: Sequence[str], *, algorithm: str = DEFAULT_ALGORITHM
    ) -> None:
        """Writes a manifest, unless the outline had it."""
        node = parse_manifest(content, media_type, algorithm)
        if node.descriptor.digest not in self._nodes:
            self._nodes[node.descriptor.digest] = node
            self._put_node(node)
        if names and not self._is_whole:
            self._roots.append(NamedImage(node.descriptor, tuple(names)))

    def finish(self) -> None:
        """Writes what is left and closes the tar."""
        if not self._is_whole:
            for name, content in front_matter(merged(self._roots), self._nodes):
                self._put(name, content)
        self.emit(END)
        self._guarded(self._sink.flush)

    def close(self) -> None:
        """The stream is its owner's to close."""

    def emit(self, data: bytes) -> None:
        """Sends bytes on.

        Raises:
            LocalError: nobody takes them any more.
        """
        self._guarded(lambda: self._sink.write(data))

    def wrote(self, digest: Digest) -> None:
        """Notes that a blob is complete."""
        self._written.add(digest)

    def _front(self) -> Sequence[tuple[str, bytes]]:
        """The members that say what the archive holds, for an outline that is whole."""
        return front_matter(self._roots, self._nodes)

    def _guarded(self, write: Callable[[], object]) -> None:
        try:
            write()
        except BrokenPipeError:
            raise LocalError(f"whoever read {self._label} stopped before the end") from None
        except OSError as error:
            raise LocalError(f"can't write to {self._label}: {error.strerror}") from error

    def _put_node(self, node: Node) -> None:
        self._put(blob_path(node.descriptor.digest), node.content)
        self._written.add(node.descriptor.digest)

    def _put(self, name: str, content: bytes) -> None:
        self.emit(make_header(name, len(content)) + content + bytes(padding(len(content))))


class CompressedArchiveFile(ArchiveStream):
    """A file that holds an archive compressed as a whole; it appears when it is finished."""

    def __init__(self, files: Files, path: str, compression: str) -> None:
        self._files = files
        self._path = path
        self._output = _PackedFile(compression)
        super().__init__(self._output, path)

    def begin(self, outline: Outline) -> None:
        """Makes the file under a temporary name."""
        self._output.file = self._files.create(self._path)
        super().begin(outline)

    def finish(self) -> None:
        """Shows the file."""
        super().finish()
        assert self._output.file is not None
        self._output.file.commit()

    def close(self) -> None:
        """Forgets a file that was not finished."""
        if self._output.file is not None:
            self._output.file.abort()


class _PackedFile:
    def __init__(self, compression: str) -> None:
        self._packer = codec.packer(compression)
        self._position = 0
        self.file: FileWriter | None = None

    def write(self, data: bytes, /) -> None:
        """Compresses and writes."""
        self._out(self._packer.compress(data))

    def flush(self) -> None:
        """Ends the compressed stream."""
        self._out(self._packer.flush())

    def _out(self, packed: bytes) -> None:
        assert self.file is not None
        self.file.write_at(self._position, packed)
        self._position += len(packed)


class _StreamedBlob:
    """A blob on its way through; it can't be taken back once it has begun."""

    def __init__(self, stream: ArchiveStream, descriptor: Descriptor) -> None:
        self._stream = stream
        self._descriptor = descriptor
        self._count = 0
        self._has_begun = False

    def resume(self) -> int:
        """What went by is gone; the rest may follow."""
        if not self._has_begun:
            self._stream.emit(make_header(blob_path(self._descriptor.digest), self._descriptor.size))
            self._has_begun = True
        return self._count

    def write(self, reader: Reader) -> None:
        """Sends on what comes, and nothing beyond what the header promises."""
        while data := reader.read(BLOCK):
            self._count += len(data)
            if self._count > self._descriptor.size:
                raise SizeMismatch(f"{self._descriptor.digest.short} is longer than its descriptor says")
            self._stream.emit(data)

    def commit(self, descriptor: Descriptor) -> None:
        """Fills up the last block."""
        if self._count != descriptor.size:
            raise SizeMismatch(f"{descriptor.digest.short}: {self._count} bytes came instead of {descriptor.size}")
        self._stream.emit(bytes(padding(descriptor.size)))
        self._stream.wrote(descriptor.digest)

    def abort(self) -> None:
        """Leaves a broken stream, which no reader takes for a whole one."""
