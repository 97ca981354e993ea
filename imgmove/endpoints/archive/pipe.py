"""Archives out of a pipe: one pass, nothing stored but the small documents that say what it all means.

Three orders exist in the wild: docker before 25 sends layers first and its manifest last; docker since 25 sends
``blobs/sha256/*`` by hash and the index later; imgmove sends the index first. Whatever may be a manifest or a config is
kept; all else is handed on as it comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from imgmove.endpoints.archive import docker_format
from imgmove.endpoints.archive.docker_format import parse_docker_manifest
from imgmove.endpoints.archive.members import MOST_MEMBERS, Content, MemberFiles, link_target, safe_name
from imgmove.endpoints.archive.reader import layer_type, virtual_layout
from imgmove.endpoints.index_file import IndexFile
from imgmove.endpoints.layout_reader import INDEX, LayoutReader
from imgmove.errors import DigestMismatch, LocalError, MalformedContent, NotFound, Truncated, UsageError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import LARGEST_MANIFEST, read_json
from imgmove.ports import Arrival, NamedImage, Reader
from imgmove.rootfs.tar import BLOCK as TAR_BLOCK
from imgmove.rootfs.tar import Member, PipeStream, Scan, is_tar
from imgmove.streams import BytesReader, PeekReader, drain
from imgmove.wire import codec
from imgmove.wire.files import LocalFiles

_MOST_KEPT = 16 << 20
_LONGEST_CHAIN = 16
_HEX = frozenset("0123456789abcdef")
_TAR_SUFFIX = ".tar"


class ArchivePipe:
    """An archive that is read once, from a binary stream. For one thread."""

    def __init__(self, stream: BinaryIO | Reader, label: str = "the pipe") -> None:
        self._stream = stream
        self._label = label
        self._kept: dict[str, bytes] = {}
        self._kept_size = 0
        self._links: dict[str, str] = {}
        self._stored: dict[str, tuple[Descriptor, Digest | None]] = {}
        self._layout: LayoutReader | None = None
        self._is_closed = False

    def arrivals(self) -> Iterator[Arrival]:
        """Every blob in the order of the pipe; documents are kept and do not arrive.

        Raises:
            UsageError: this is no archive.
            Truncated, MalformedContent: it is broken.
        """
        peek = PeekReader(_StreamReader(self._stream), TAR_BLOCK)
        if not peek.start:
            raise UsageError("nothing came out of the pipe")
        compression = codec.sniff(peek.start)
        if compression == "none" and not is_tar(peek.start):
            raise UsageError("what comes out of the pipe is no archive")
        content = codec.decompressing(peek, compression)
        stream = PipeStream(content)
        scan = Scan(stream)
        for member in scan:
            name = safe_name(member.name)
            if len(self._links) + len(self._stored) + len(self._kept) > MOST_MEMBERS:
                raise MalformedContent(f"{self._label} holds more than {MOST_MEMBERS} members")
            if member.kind in ("symlink", "hardlink"):
                self._links[name] = link_target(member)
            elif member.kind == "file":
                yield from self._arrived(member, name, _MemberReader(stream, scan, member))
        self._is_closed = scan.is_closed
        # Whoever writes the pipe may pad it and would fail if nobody took that; and a compressed stream shows only at
        # its end whether it is whole.
        drain(content)
        self._layout = self._understood()

    def became(self, key: str, descriptor: Descriptor, diff_id: Digest | None) -> None:
        """Remembers what a layer without a digest is at the destination."""
        self._stored[key] = (descriptor, diff_id)

    def images(self) -> Sequence[NamedImage]:
        """The roots, once all has come."""
        return self._understanding.images()

    def referrers(self, subject: Digest) -> Sequence[NamedImage]:
        """What refers to a manifest, once all has come."""
        return self._understanding.referrers(subject)

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """A document that was kept."""
        try:
            return self._understanding.open(descriptor, offset)
        except NotFound as error:
            if self._is_closed:
                raise
            raise Truncated(f"{self._label} ended before the archive did: {error.message}") from None

    def close(self) -> None:
        """The stream is its owner's to close."""

    @property
    def _understanding(self) -> LayoutReader:
        if self._layout is None:
            raise LocalError("the pipe has not been read to its end")
        return self._layout

    # --- what comes

    def _arrived(self, member: Member, name: str, reader: Reader) -> Iterator[Arrival]:
        digest = _digest_of_path(name)
        peek = PeekReader(reader, TAR_BLOCK)
        if member.size <= LARGEST_MANIFEST and peek.start.lstrip()[:1] in (b"{", b"["):
            content = peek.read()
            if _is_document(content):
                if digest is not None and Digest.of(content, digest.algorithm) != digest:
                    raise DigestMismatch(f"{self._label}: {digest.short} has other content than its digest says")
                self._keep(name, content)
                return
            peek = PeekReader(BytesReader(content), TAR_BLOCK)
        compression = codec.sniff(peek.start)
        kind = layer_type(compression)
        if digest is not None:
            if kind is not None:
                diff_id = digest if compression == "none" else None
                self._stored[name] = (Descriptor(kind, digest, member.size), diff_id)
            yield Arrival(name, digest, member.size, None, peek, compression)
        elif kind is not None and (compression != "none" or is_tar(peek.start)):
            yield Arrival(name, None, member.size, _diff_id_of_path(name, compression), peek, compression)

    def _keep(self, name: str, content: bytes) -> None:
        self._kept_size += len(content)
        if self._kept_size > _MOST_KEPT:
            raise LocalError(
                f"the pipe holds more than {_MOST_KEPT >> 20} MiB of manifests and configs",
                hint="write it to a file first",
            )
        self._kept[name] = content

    # --- what it meant

    def _understood(self) -> LayoutReader:
        contents: dict[str, Content] = dict(self._kept)
        index = self._kept.get(INDEX)
        if index is None or not IndexFile.parse(index).entries:
            if docker_format.MANIFEST not in self._kept:
                raise self._not_an_archive()
            contents.update(virtual_layout(parse_docker_manifest(self._kept[docker_format.MANIFEST]), self))
        return LayoutReader(MemberFiles(LocalFiles(), self._label, contents), "", self._label)

    def _not_an_archive(self) -> UsageError | Truncated:
        if docker_format.LEGACY in self._kept:
            return UsageError(
                "a docker older than 1.10 wrote this", hint="load it into a newer docker and save it again"
            )
        if not self._is_closed:
            return Truncated("the pipe ended before the archive did")
        return UsageError("what came out of the pipe is a tar, but not an archive of images")

    def config(self, name: str) -> tuple[bytes, Content]:
        """A config that was kept, for the manifests that are made up."""
        content = self._kept[self._followed(name, self._kept)]
        return content, content

    def layer(self, name: str, diff_id: Digest) -> tuple[Descriptor, Content | None]:
        """What a layer became at the destination, for the manifests that are made up."""
        descriptor, came_as = self._stored[self._followed(name, self._stored)]
        if came_as is not None and came_as.algorithm == diff_id.algorithm and came_as != diff_id:
            raise DigestMismatch(f"layer {name!r:.120} is {came_as}, but the config says {diff_id}")
        return descriptor, None

    def _followed(self, name: str, known: dict[str, bytes] | dict[str, tuple[Descriptor, Digest | None]]) -> str:
        for _ in range(_LONGEST_CHAIN):
            if name in known:
                return name
            if name not in self._links:
                break
            name = self._links[name]
        raise MalformedContent(f"{docker_format.MANIFEST} names {name!r:.200}, which did not come out of the pipe")


class _StreamReader:
    """The pipe itself, with its errors as ours."""

    def __init__(self, stream: BinaryIO | Reader) -> None:
        # A buffered stream would wait for all that was asked for; what is at hand may be sent on at once.
        self._read = getattr(stream, "read1", stream.read)

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        try:
            data: bytes = self._read(size)
        except OSError as error:
            raise LocalError(f"can't read the pipe: {error.strerror}") from error
        return data

    def close(self) -> None:
        """The stream is its owner's to close."""


class _MemberReader:
    """The content of the member at which the scan stands."""

    def __init__(self, stream: PipeStream, scan: Scan, member: Member) -> None:
        self._stream = stream
        self._scan = scan
        self._name = member.name

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes of the member."""
        left = self._scan.left
        data = self._stream.some(left if size < 0 else min(size, left)) if left else b""
        if left and not data and size:
            raise Truncated(f"the pipe ended in the middle of {self._name!r:.200}")
        self._scan.left -= len(data)
        return data + self.read() if size < 0 and data and self._scan.left else data

    def close(self) -> None:
        """What is left is skipped by the scan."""


def _is_document(content: bytes) -> bool:
    try:
        return isinstance(read_json(content), dict | list)
    except MalformedContent:
        return False


def _digest_of_path(name: str) -> Digest | None:
    parts = name.split("/")
    if len(parts) != 3 or parts[0] != "blobs":
        return None
    try:
        return Digest.parse(f"{parts[1]}:{parts[2]}")
    except MalformedContent:
        return None


def _diff_id_of_path(name: str, compression: str) -> Digest | None:
    """The diffID that podman names plain layers by; a guess that is checked when the layer has been read."""
    stem = name.removesuffix(_TAR_SUFFIX)
    if stem == name or len(stem) != 64 or not set(stem) <= _HEX or compression != "none":
        return None
    return Digest("sha256", stem)
