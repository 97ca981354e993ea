"""Bundles cut into volumes: which bytes each one carries, and how it describes itself.

A volume is a tar of its own. It begins with the bundle's own first members, all manifests among them, and then holds
``volume.json`` and ``data``: a piece of the bundle as it would be in one file.
"""

from __future__ import annotations

import bisect
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from imgmove.endpoints.bundle.index import BundleIndex, Member, front_end, total_size
from imgmove.errors import MalformedContent, UsageError
from imgmove.model.manifest import read_json_object
from imgmove.rootfs.tar import END, make_header, padding

VOLUME_NAME = "volume.json"
DATA_NAME = "data"
LARGEST = 64 << 20
"""Bytes of ``volume.json``."""

_FORMAT = "imgmove-volume"
_BLOCK = 512
_UNKNOWN = "0" * 64
_MOST = 99_999
_SIGNATURE = "A" * 88
_PREFIX = "blobs/"


@dataclass(frozen=True, slots=True)
class Piece:
    """A blob, or the part of one, that lies in a volume.

    Attributes:
        start: of the piece, from the blob's first byte.
        offset: of the piece, from the first byte of the whole bundle.
        sha256: of the piece's bytes; zeros before it is known.
    """

    blob: str
    start: int
    size: int
    offset: int
    sha256: str = _UNKNOWN

    @property
    def is_known(self) -> bool:
        """Whether the checksum is."""
        return self.sha256 != _UNKNOWN


@dataclass(frozen=True, slots=True)
class Volume:
    """What ``volume.json`` says.

    Attributes:
        bundle: SHA-256 of the bundle's ``imgmove.json``.
        number: from 1 on.
        start: of its data, from the first byte of the whole bundle.
        end: of its data; multiples of 512, as is ``start``.
        signature: base64, over the document with this field empty; empty in bundles that are not signed.
    """

    bundle: str
    number: int
    count: int
    volume_size: int
    start: int
    end: int
    pieces: tuple[Piece, ...]
    signature: str = ""

    def to_bytes(self) -> bytes:
        """The document; its length does not depend on the checksums."""
        document = {
            "format": _FORMAT,
            "version": 1,
            "bundle": f"sha256:{self.bundle}",
            "number": self.number,
            "of": self.count,
            "volume_size": self.volume_size,
            "start": self.start,
            "end": self.end,
            "pieces": [
                {"blob": piece.blob, "from": piece.start, "size": piece.size, "sha256": piece.sha256}
                for piece in self.pieces
            ],
            "signature": self.signature,
        }
        return json.dumps(document, separators=(",", ":")).encode() + b"\n"

    def to_sign(self) -> bytes:
        """What the signature is over."""
        return replace(self, signature="").to_bytes()

    def head(self) -> bytes:
        """Everything between the bundle's own first members and the data."""
        content = self.to_bytes()
        header = make_header(VOLUME_NAME, len(content))
        return header + content + bytes(padding(len(content))) + make_header(DATA_NAME, self.end - self.start)

    def tail(self) -> bytes:
        """Everything after the data."""
        return END


def cut(index: BundleIndex, bundle: str, volume_size: int) -> tuple[Volume, ...]:
    """Where the volumes of a size begin and end. The same for everyone who asks.

    Args:
        bundle: SHA-256 of the index's document.

    Raises:
        UsageError: volumes of this size have no room for what each one repeats, or there would be too many.
    """
    front, total = front_end(index, index.members), total_size(index.members)
    blobs = index.members[len(index.members) - len(index.blobs) :]
    signature = _SIGNATURE if index.is_signed else ""
    cuts = [front]
    while cuts[-1] < total:
        most = min(total, cuts[-1] + max(0, volume_size - front))
        pieces = pieces_between(blobs, cuts[-1], most)
        largest = Volume(bundle, _MOST, _MOST, volume_size, total, total, pieces, signature)
        room = volume_size - front - len(largest.head()) - len(END)
        if room < _BLOCK:
            raise UsageError(
                f"volumes of {volume_size} bytes are too small for this bundle",
                hint=f"each one repeats {front} bytes of manifests",
            )
        cuts.append(min(total, cuts[-1] + room // _BLOCK * _BLOCK))
        if len(cuts) > _MOST:
            raise UsageError(f"volumes of {volume_size} bytes would be more than {_MOST}")
    return tuple(
        Volume(bundle, number, len(cuts) - 1, volume_size, *bounds, pieces_between(blobs, *bounds), signature)
        for number, bounds in enumerate(pairwise(cuts), 1)
    )


def pieces_between(blobs: Sequence[Member], start: int, end: int) -> tuple[Piece, ...]:
    """The parts of blobs whose bytes lie in a region; ``blobs`` are in the order of the file."""
    first = max(0, bisect.bisect_right(blobs, start, key=lambda member: member.offset) - 1)
    found: list[Piece] = []
    for member in blobs[first:]:
        if member.offset >= end:
            break
        one, two = max(start, member.offset), min(end, member.offset + member.size)
        if one < two:
            name = member.name.removeprefix(_PREFIX).replace("/", ":", 1)
            found.append(Piece(name, one - member.offset, two - one, one, _whole_hash(name, member, two - one)))
    return tuple(found)


def parse_volume(content: bytes, expected: Sequence[Volume]) -> Volume:
    """Reads ``volume.json``, which must say what anybody can work out from the index, but for the checksums.

    Raises:
        MalformedContent: it says something else.
    """
    document = read_json_object(content, most=LARGEST)
    number, items = document.get("number"), document.get("pieces")
    if not isinstance(number, int) or not 1 <= number <= len(expected) or not isinstance(items, list):
        raise MalformedContent(f"{VOLUME_NAME} describes no volume of this bundle")
    volume = expected[number - 1]
    checksums = [str(item.get("sha256")) if isinstance(item, dict) else "" for item in items]
    if len(checksums) != len(volume.pieces):
        raise MalformedContent(f"{VOLUME_NAME} does not list the pieces of volume {number}")
    found = replace(with_checksums(volume, checksums), signature=str(document.get("signature")))
    is_known = all(
        mine.sha256 == piece.sha256 for mine, piece in zip(volume.pieces, found.pieces, strict=True) if mine.is_known
    )
    if found.to_bytes() != content or not is_known or len(found.head()) != len(volume.head()):
        raise MalformedContent(f"{VOLUME_NAME} is not that of volume {number}")
    return found


def with_checksums(volume: Volume, checksums: Sequence[str]) -> Volume:
    """The volume with what was found out about its pieces."""
    pieces = [replace(piece, sha256=text) for piece, text in zip(volume.pieces, checksums, strict=True)]
    return replace(volume, pieces=tuple(pieces))


def stated_size(content: bytes) -> int:
    """The size of volumes that ``volume.json`` states.

    Raises:
        MalformedContent: it states none.
    """
    size = read_json_object(content, most=LARGEST).get("volume_size")
    if not isinstance(size, int) or size <= 0:
        raise MalformedContent(f"{VOLUME_NAME} states no size")
    return size


def _whole_hash(name: str, member: Member, size: int) -> str:
    return name.removeprefix("sha256:") if size == member.size and name.startswith("sha256:") else _UNKNOWN
