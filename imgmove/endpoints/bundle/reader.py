"""Bundles as sources: every byte that is not a blob's is checked when one is opened, and no member can hide."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from imgmove.endpoints.archive.members import Content, MemberFiles, Region
from imgmove.endpoints.bundle.index import (
    INDEX_NAME,
    LARGEST,
    SIGNATURE_NAME,
    BundleIndex,
    Member,
    blob_name,
    front_end,
    parse_index,
    total_size,
)
from imgmove.endpoints.bundle.joined import JoinedVolumes, VolumeFile
from imgmove.endpoints.index_file import IndexFile
from imgmove.endpoints.layout_reader import INDEX, LayoutReader
from imgmove.errors import (
    DigestMismatch,
    MalformedContent,
    NotFound,
    SignatureError,
    SizeMismatch,
    Truncated,
    UsageError,
)
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.ports import Files, Reader
from imgmove.rootfs.tar import BLOCK, END, FileStream, Scan, make_header


@dataclass(frozen=True, slots=True)
class Front:
    """The first members of a bundle's file, all of them read and whole.

    Attributes:
        document: the bytes of ``imgmove.json``.
        signature: None for an unsigned bundle.
        end: where they end.
    """

    document: bytes
    index: BundleIndex
    signature: bytes | None
    end: int

    @property
    def bundle_id(self) -> str:
        """SHA-256 of ``imgmove.json``."""
        return hashlib.sha256(self.document).hexdigest()


class Bundle(LayoutReader):
    """An air-gap bundle in one file or several volumes, some of which may be missing."""

    def __init__(self, files: Files, front: Front, label: str, volumes: JoinedVolumes | str) -> None:
        """Reads a bundle whose structure has been checked.

        Args:
            volumes: its volumes, or the path of its only file.
        """
        self.index = front.index
        self.signature = front.signature
        self.document = front.document
        self.bundle_id = front.bundle_id
        self.volumes = volumes if isinstance(volumes, JoinedVolumes) else None
        self._regions = {member.name: Region(member.offset, member.size) for member in front.index.members}
        self._checked: IndexFile | None = None
        self._assumed = {item.descriptor.digest for item in front.index.assumed}
        contents: Mapping[str, Content] = dict(self._regions)
        readable: Files | JoinedVolumes = self.volumes if self.volumes is not None else files
        path = label if isinstance(volumes, JoinedVolumes) else volumes
        super().__init__(MemberFiles(readable, path, contents), "", label)  # type: ignore[arg-type]

    def holds(self, descriptor: Descriptor) -> bool:
        """Whether all bytes of a blob or manifest are in the volumes at hand."""
        region = self._regions.get(blob_name(descriptor.digest))
        if region is None or region.size != descriptor.size:
            return False
        return self.volumes is None or self.volumes.covers(region.offset, region.offset + region.size)

    def assumes(self, digest: Digest) -> bool:
        """Whether the bundle leaves a blob out because the far side should have it."""
        return digest in self._assumed

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """The content of a digest."""
        if self.assumes(descriptor.digest):
            raise NotFound(f"{self._label} leaves out blob {descriptor.digest}, which it assumes to be there already")
        return super().open(descriptor, offset)

    def volumes_of(self, digest: Digest) -> Sequence[int]:
        """The numbers of the volumes in which a blob lies; none for a bundle in one file."""
        region = self._regions.get(blob_name(digest))
        if region is None or self.volumes is None:
            return ()
        return self.volumes.numbers(region.offset, region.offset + region.size)

    def check_signature(self, accepts: Callable[[bytes, bytes], bool]) -> None:
        """Makes sure that a key signed the index, and through it everything else.

        Volumes whose own headers it did not sign count as missing from here on.

        Args:
            accepts: whether a signature is the key's over some bytes.

        Raises:
            SignatureError: the bundle is not signed, or by another key.
        """
        if self.signature is None:
            raise SignatureError(f"{self._label} is not signed", hint="leave out --key to take it all the same")
        if not accepts(self.signature, self.document):
            raise SignatureError(f"{self._label} was signed by another key, or changed")
        if self.volumes is not None:
            self.volumes.check_signatures(accepts)

    def check_manifests(self) -> None:
        """Hashes everything that is not a blob, before anybody relies on it.

        Raises:
            ContentError: something is not what the index says.
        """
        for file in self.index.files:
            content = self._read.read_at(file.name, 0, file.size)
            if hashlib.sha256(content).hexdigest() != file.sha256:
                raise DigestMismatch(f"{self._label}: {file.name} was changed")
            if file.name == INDEX:
                self._checked = self._parse(content)
        for manifest in self.index.manifests:
            content = self._read.read_at(blob_name(manifest.digest), 0, manifest.size)
            if Digest.of(content, manifest.digest.algorithm) != manifest.digest:
                raise DigestMismatch(f"{self._label}: manifest {manifest.digest.short} was changed")
        if self._checked is None:
            raise MalformedContent(f"{self._label} has no {INDEX}")
        listed = {entry.descriptor.digest for entry in self._checked.entries}
        if listed != {image.descriptor.digest for image in (*self.index.images, *self.index.referrers)}:
            raise MalformedContent(f"{self._label}: index.json and {INDEX_NAME} list other images")

    def _index(self) -> IndexFile:
        # The one that was checked: whoever writes to the file since then changes nothing.
        return self._checked if self._checked is not None else super()._index()


def is_bundle(files: Files, path: str) -> bool:
    """Whether a file begins as a bundle does."""
    start = files.read_at(path, 0, BLOCK)
    return start.startswith(INDEX_NAME.encode() + b"\0")


def open_bundle(files: Files, paths: Sequence[str]) -> Bundle:
    """Opens a bundle: one file, or its volumes in any order.

    Volumes that are damaged or another bundle's count as missing; `JoinedVolumes.faults` says why.

    Raises:
        NotFound: a file is not there.
        UsageError: it is no bundle, or several bundles that are not volumes of one.
        ContentError, Truncated: it is damaged.
        NotAvailableYet: a later version wrote it.
    """
    if len(paths) == 1:
        front = read_front(files, paths[0])
        if (files.status(paths[0]) or _NOTHING).size == total_size(front.index.members) or not _is_volume(
            files, paths[0], front
        ):
            check_blob_headers(files, paths[0], front)
            return _checked(Bundle(files, front, paths[0], paths[0]))
    from imgmove.endpoints.bundle.joining import join

    front, volumes = join(files, paths, read_front)
    volumes.check_between(front.index.members[len(front.index.members) - len(front.index.blobs) :])
    return _checked(Bundle(files, front, volumes.label, volumes))


def _checked(bundle: Bundle) -> Bundle:
    bundle.check_manifests()
    return bundle


def read_front(files: Files, path: str) -> Front:
    """Reads the members before the first blob, each of which must be exactly where and what it has to be.

    Raises:
        NotFound, UsageError, ContentError, Truncated: they are not there, or not right.
    """
    status = files.status(path)
    if status is None:
        raise NotFound(f"{path}: no such file")
    if status.is_folder or not is_bundle(files, path):
        raise UsageError(f"{path} is not a bundle", hint="imgmove bundle create makes them")
    first = next(iter(Scan(FileStream(files, path))))
    if first.name != INDEX_NAME or first.offset != BLOCK or not 0 < first.size <= LARGEST or first.size % BLOCK:
        raise MalformedContent(f"{path}: its first member is not an {INDEX_NAME} as bundles have it")
    document = files.read_at(path, first.offset, first.size)
    if len(document) < first.size:
        raise Truncated(f"{path} ends in the middle of {INDEX_NAME}")
    try:
        index = parse_index(document)
    except MalformedContent as error:
        raise MalformedContent(f"{path}: {error.message}") from None
    end = front_end(index, index.members)
    small = index.members[: len(index.members) - len(index.blobs)]
    _check_headers(files, path, small, 0)
    return Front(document, index, _signature(files, path, index), end)


def _signature(files: Files, path: str, index: BundleIndex) -> bytes | None:
    if not index.is_signed:
        return None
    member = index.members[1]
    assert member.name == SIGNATURE_NAME
    text = files.read_at(path, member.offset, member.size)
    try:
        signature = base64.b64decode(text.removesuffix(b"\n"), validate=True)
    except (binascii.Error, ValueError):
        raise MalformedContent(f"{path}: the signature is not base64") from None
    if base64.b64encode(signature) + b"\n" != text:
        raise MalformedContent(f"{path}: the signature is not written as it should be")
    return signature


def check_blob_headers(files: Files, path: str, front: Front) -> None:
    """Makes sure that a bundle in one file has these members, no others, and nothing between or behind them.

    Raises:
        ContentError, Truncated: it is otherwise.
    """
    members = front.index.members
    _check_headers(files, path, members[len(members) - len(front.index.blobs) :], front.end)
    total = total_size(members)
    size = (files.status(path) or _NOTHING).size
    if size < total:
        raise Truncated(f"{path} has {size} of {total} bytes", hint="it was cut off; copy it again")
    if size > total or files.read_at(path, total - len(END), len(END)) != END:
        raise SizeMismatch(f"{path} has other members than its {INDEX_NAME} lists")


def _check_headers(files: Files, path: str, members: Sequence[Member], start: int) -> None:
    """Headers and padding, which are the same for everyone who writes this bundle."""
    position = start
    size = (files.status(path) or _NOTHING).size
    for member in members:
        expected = bytes(member.start - position) + make_header(member.name, member.size)
        found = files.read_at(path, position, len(expected))
        if len(found) < len(expected) or member.end > size:
            raise Truncated(f"{path} ends in or before {member.name}", hint="it was cut off; copy it again")
        if found != expected:
            raise MalformedContent(f"{path} does not hold {member.name} where its {INDEX_NAME} says")
        position = member.offset + member.size
    if members and files.read_at(path, position, members[-1].end - position) != bytes(members[-1].end - position):
        raise MalformedContent(f"{path} holds something between its members")


def _is_volume(files: Files, path: str, front: Front) -> bool:
    return VolumeFile.looks_like_one(files, path, front.end)


@dataclass(frozen=True, slots=True)
class _Nothing:
    size: int = 0


_NOTHING = _Nothing()
