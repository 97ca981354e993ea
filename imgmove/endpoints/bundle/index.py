"""``imgmove.json``: what a bundle holds and where, so that one signature over it covers every byte.

docs/bundle-format.md describes it for those who write their own reader.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from imgmove.errors import MalformedContent, NotAvailableYet, UsageError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import LARGEST_MANIFEST, read_json_object
from imgmove.model.reference import check_repository
from imgmove.ports import NamedImage
from imgmove.rootfs.tar import END, make_header, padding

INDEX_NAME = "imgmove.json"
SIGNATURE_NAME = "imgmove.json.sig"
FORMAT = "imgmove-bundle"
VERSION = 1
LARGEST = 16 << 20
SIGNATURE_SIZE = 89
"""Bytes: an Ed25519 signature in base64, and a line feed."""

_BLOCK = 512
_NO_CHECKSUM = "0" * 64


@dataclass(frozen=True, slots=True)
class File:
    """A member that is no blob: its name, size and SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Assumed:
    """A blob that a delta leaves out because the far side has it.

    Attributes:
        repositories: where the far side said that it has it; empty where nobody said.
    """

    descriptor: Descriptor
    repositories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the tar and where its content lies."""

    name: str
    offset: int
    size: int

    @property
    def start(self) -> int:
        """Where its header begins."""
        return self.offset - len(make_header(self.name, self.size))

    @property
    def end(self) -> int:
        """Where the next header begins."""
        return self.offset + self.size + padding(self.size)


@dataclass(frozen=True)
class BundleIndex:
    """The content of ``imgmove.json``.

    Attributes:
        images: in the order in which they were asked for, with their original names.
        referrers: signatures, attestations and SBOMs of the images; the names are tags that must travel with them.
        files: the other members before the manifests, such as ``index.json``.
        manifests: every manifest and index, children first.
        blobs: what the bundle holds, in the order of the file.
        assumed: what the images need beyond that.
        created: seconds since 1970; None where nobody said, so that the same inputs give the same bytes.
    """

    images: tuple[NamedImage, ...]
    referrers: tuple[NamedImage, ...]
    files: tuple[File, ...]
    manifests: tuple[Descriptor, ...]
    blobs: tuple[Descriptor, ...]
    assumed: tuple[Assumed, ...]
    tool: str
    is_signed: bool = False
    created: int | None = None
    members: tuple[Member, ...] = field(default=(), compare=False)

    def to_bytes(self) -> bytes:
        """The document, filled up with blanks to whole blocks, so that its own size moves nothing behind it."""
        size = _BLOCK
        while True:
            content = self._render(arrange(self, size))
            if len(content) <= size:
                return _with_checksum(content[:-1] + b" " * (size - len(content)) + b"\n", _NO_CHECKSUM)
            size = (len(content) + _BLOCK - 1) // _BLOCK * _BLOCK

    def arranged(self, size: int) -> tuple[Member, ...]:
        """Where everything lies when ``imgmove.json`` has ``size`` bytes."""
        return arrange(self, size)

    def _render(self, members: Sequence[Member]) -> bytes:
        offsets = {member.name: member.offset for member in members}
        document: dict[str, object] = {"format": FORMAT, "version": VERSION, "checksum": _NO_CHECKSUM}
        document["tool"] = self.tool
        if self.created is not None:
            document["created"] = self.created
        document |= {
            "signed": self.is_signed,
            "images": [_root(image) for image in self.images],
            "referrers": [_root(image) for image in self.referrers],
            "files": [
                {"name": file.name, "size": file.size, "sha256": file.sha256, "offset": offsets[file.name]}
                for file in self.files
            ],
            "manifests": [_placed(item, offsets) for item in self.manifests],
            "blobs": [_placed(item, offsets) for item in self.blobs],
            "assumed": [
                _content(item.descriptor) | ({"repositories": list(item.repositories)} if item.repositories else {})
                for item in self.assumed
            ],
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def arrange(index: BundleIndex, size: int) -> tuple[Member, ...]:
    """The members of a bundle in order."""
    named = [(INDEX_NAME, size)]
    if index.is_signed:
        named.append((SIGNATURE_NAME, SIGNATURE_SIZE))
    named += [(file.name, file.size) for file in index.files]
    named += [(blob_name(item.digest), item.size) for item in (*index.manifests, *index.blobs)]
    members: list[Member] = []
    position = 0
    for name, length in named:
        offset = position + len(make_header(name, length))
        members.append(Member(name, offset, length))
        position = offset + length + padding(length)
    return tuple(members)


def front_end(index: BundleIndex, members: Sequence[Member]) -> int:
    """Where the first blob's header begins: all before that is small, and stands in each volume."""
    count = 1 + index.is_signed + len(index.files) + len(index.manifests)
    return members[count - 1].end


def total_size(members: Sequence[Member]) -> int:
    """Bytes of the whole tar."""
    return members[-1].end + len(END)


def blob_name(digest: Digest) -> str:
    """The member that holds a blob."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def describe_file(name: str, content: bytes) -> File:
    """A small member, for the index."""
    return File(name, len(content), hashlib.sha256(content).hexdigest())


def _with_checksum(content: bytes, stated: str) -> bytes:
    """The document with its right checksum, which is over the document with zeros in its place."""
    before, mark, after = content.partition(f'"checksum":"{stated}"'.encode())
    if not mark:
        raise MalformedContent(f"{INDEX_NAME} has no checksum")
    blank = before + f'"checksum":"{_NO_CHECKSUM}"'.encode() + after
    return blank.replace(_NO_CHECKSUM.encode(), hashlib.sha256(blank).hexdigest().encode(), 1)


def parse_index(content: bytes) -> BundleIndex:
    """Reads ``imgmove.json`` and makes sure that it says of everything where it really lies.

    Raises:
        MalformedContent: it is no bundle's, or contradicts itself.
        NotAvailableYet: a later version wrote it.
    """
    document = read_json_object(content, most=LARGEST)
    if document.get("format") != FORMAT:
        raise MalformedContent(f"{INDEX_NAME} is not a bundle's")
    version = document.get("version")
    if not isinstance(version, int) or version < 1:
        raise MalformedContent(f"{INDEX_NAME} has no version")
    if version > VERSION:
        raise NotAvailableYet(
            f"the bundle is of version {version}, and this imgmove reads versions up to {VERSION}",
            hint="a newer imgmove reads it",
        )
    if _with_checksum(content, str(document.get("checksum"))) != content:
        raise MalformedContent(f"{INDEX_NAME} was changed or damaged")
    created = document.get("created")
    index = BundleIndex(
        images=tuple(_parse_root(item) for item in _list(document, "images")),
        referrers=tuple(_parse_root(item) for item in _list(document, "referrers")),
        files=tuple(_parse_file(item) for item in _list(document, "files")),
        manifests=tuple(Descriptor.from_json(item) for item in _list(document, "manifests")),
        blobs=tuple(Descriptor.from_json(item) for item in _list(document, "blobs")),
        assumed=tuple(_parse_assumed(item) for item in _list(document, "assumed")),
        tool=str(document.get("tool", ""))[:100],
        is_signed=document.get("signed") is True,
        created=created if isinstance(created, int) else None,
    )
    members = arrange(index, len(content))
    _check_offsets(index, members, document)
    return replace(index, members=members)


def _check_offsets(index: BundleIndex, members: Sequence[Member], document: Mapping[str, object]) -> None:
    names = [member.name for member in members]
    if len(set(names)) != len(names):
        raise MalformedContent(f"{INDEX_NAME} lists something twice")
    stated = [
        item.get("offset") if isinstance(item, dict) else None
        for key in ("files", "manifests", "blobs")
        for item in _list(document, key)
    ]
    if stated != [member.offset for member in members[1 + index.is_signed :]]:
        raise MalformedContent(f"{INDEX_NAME} states offsets that can't be")
    if not index.manifests or any(manifest.size > LARGEST_MANIFEST for manifest in index.manifests):
        raise MalformedContent(f"{INDEX_NAME} lists no manifests, or larger ones than there can be")


def _root(image: NamedImage) -> dict[str, object]:
    return {"names": list(image.names), **_content(image.descriptor)}


def _content(descriptor: Descriptor) -> dict[str, object]:
    return {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size}


def _placed(descriptor: Descriptor, offsets: Mapping[str, int]) -> dict[str, object]:
    return {**_content(descriptor), "offset": offsets[blob_name(descriptor.digest)]}


def _list(document: Mapping[str, object], key: str) -> list[object]:
    items = document.get(key)
    if not isinstance(items, list):
        raise MalformedContent(f"{INDEX_NAME} has no list of {key}")
    return items


def _parse_root(item: object) -> NamedImage:
    names = item.get("names") if isinstance(item, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise MalformedContent(f"an image in {INDEX_NAME} has no list of names")
    return NamedImage(Descriptor.from_json(item), tuple(names))


def _parse_file(item: object) -> File:
    if isinstance(item, dict):
        name, size, sha256 = item.get("name"), item.get("size"), item.get("sha256")
        if isinstance(name, str) and isinstance(size, int) and 0 <= size <= LARGEST and isinstance(sha256, str):
            return File(name, size, sha256)
    raise MalformedContent(f"a file in {INDEX_NAME} is not described as one")


def _parse_assumed(item: object) -> Assumed:
    repositories = item.get("repositories", []) if isinstance(item, dict) else []
    if not isinstance(repositories, list) or not all(isinstance(name, str) for name in repositories):
        raise MalformedContent(f"the repositories of a blob in {INDEX_NAME} are no list of names")
    try:
        for name in repositories:
            check_repository(name)
    except UsageError as error:
        raise MalformedContent(f"{INDEX_NAME}: {error.message}") from None
    return Assumed(Descriptor.from_json(item), tuple(repositories))
