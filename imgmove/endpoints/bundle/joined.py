"""Volumes read as the bundle that they are pieces of, whichever of them are at hand."""

from __future__ import annotations

import base64
import binascii
import bisect
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from imgmove.endpoints.bundle.index import Member
from imgmove.endpoints.bundle.volumes import VOLUME_NAME, Piece, Volume
from imgmove.errors import NotFound
from imgmove.ports import Files, FileStatus, Reader
from imgmove.rootfs.tar import BLOCK as TAR_BLOCK
from imgmove.rootfs.tar import make_header
from imgmove.streams import BLOCK


@dataclass(frozen=True, slots=True)
class Fault:
    """A volume that can't be used.

    Attributes:
        number: 0 where that can't be told.
        path: empty for one that is not at hand.
    """

    number: int
    path: str
    reason: str

    def __str__(self) -> str:
        named = f"volume {self.number}" if self.number else "a volume"
        return f"{named} ({self.path}): {self.reason}" if self.path else f"{named} {self.reason}"


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """A volume at hand whose headers are right."""

    volume: Volume
    path: str
    data: int

    @staticmethod
    def looks_like_one(files: Files, path: str, front: int) -> bool:
        """Whether what follows the first members is a volume's."""
        return files.read_at(path, front, TAR_BLOCK).startswith(VOLUME_NAME.encode() + b"\0")


class JoinedVolumes:
    """The whole bundle as one file, as far as it is at hand. Where a volume is missing, reading raises `NotFound`."""

    def __init__(self, files: Files, found: Sequence[VolumeFile], expected: Sequence[Volume], front: int) -> None:
        self._files = files
        self._front = front
        self.expected = tuple(expected)
        self.found = {item.volume.number: item for item in found}
        self.faults: list[Fault] = []
        self._starts = [volume.start for volume in expected]
        self.label = found[0].path

    def numbers(self, start: int, end: int) -> list[int]:
        """The volumes in which a region lies."""
        return [volume.number for volume, _, _ in self._parts(start, end)] if start >= self._front else []

    def covers(self, start: int, end: int) -> bool:
        """Whether a region is at hand."""
        return all(number in self.found for number in self.numbers(start, end))

    def open(self, path: str, offset: int = 0) -> Reader:  # noqa: ARG002 - there is one file only
        """The bytes from an offset on, volume after volume."""
        return _JoinedReader(self, offset)

    def read_at(self, path: str, offset: int, size: int) -> bytes:  # noqa: ARG002 - there is one file only
        """Part of the whole."""
        if offset < self._front:
            # Every volume begins alike, even one that was refused for what follows.
            return self._files.read_at(self.label, offset, min(size, self._front - offset))
        return b"".join(
            self._files.read_at(self._file(volume).path, self._place(volume, one), two - one)
            for volume, one, two in self._parts(offset, offset + size)
        )

    def segment(self, offset: int) -> tuple[Reader, int]:
        """The rest of the volume in which an offset lies, and how many bytes of the bundle that is."""
        if offset < self._front:
            return self._files.open(self.label, offset), self._front - offset
        volume = self.expected[self._position(offset)]
        return self._files.open(self._file(volume).path, self._place(volume, offset)), volume.end - offset

    def status(self, path: str) -> FileStatus | None:  # noqa: ARG002 - there is one file only
        """The size of the whole."""
        return FileStatus(is_folder=False, size=self.expected[-1].end, modified=0)

    def check_between(self, members: Sequence[Member]) -> None:
        """Takes volumes out whose bytes between the blobs are not what anybody would write there."""
        position = self._front
        for member in members:
            start, size = position, member.offset - position
            expected = bytes(member.start - position) + make_header(member.name, member.size)
            position = member.offset + member.size
            if not self.covers(start, start + size) or self.read_at("", start, size) == expected:
                continue
            for number in self.numbers(start, start + size):
                self._reject(number, f"the header of {member.name} was changed")
        tail = bytes(self.expected[-1].end - position)
        if self.covers(position, position + len(tail)) and self.read_at("", position, len(tail)) != tail:
            self._reject(len(self.expected), "it does not end as a bundle does")

    def check_signatures(self, accepts: Callable[[bytes, bytes], bool]) -> None:
        """Takes volumes out whose headers are not signed by a key."""
        for number, item in sorted(self.found.items()):
            try:
                signature = base64.b64decode(item.volume.signature, validate=True)
            except (binascii.Error, ValueError):
                signature = b""
            if not accepts(signature, item.volume.to_sign()):
                self._reject(number, "its header was changed, or signed by another key")

    def _reject(self, number: int, reason: str) -> None:
        item = self.found.pop(number)
        self.faults.append(Fault(number, item.path, reason))

    def damaged(self, blob: str) -> list[Fault]:
        """The volumes whose piece of a blob is not what they say themselves."""
        return [
            Fault(number, item.path, f"its piece of blob {blob.partition(':')[2][:12]} is damaged")
            for number, item in sorted(self.found.items())
            for piece in item.volume.pieces
            if piece.blob == blob and not self._is_right(item, piece)
        ]

    def _is_right(self, item: VolumeFile, piece: Piece) -> bool:
        hasher, left = hashlib.sha256(usedforsecurity=False), piece.size
        with closing(self._files.open(item.path, self._place(item.volume, piece.offset))) as reader:
            while left and (data := reader.read(min(left, BLOCK))):
                hasher.update(data)
                left -= len(data)
        return not left and hasher.hexdigest() == piece.sha256

    def _position(self, offset: int) -> int:
        return max(0, bisect.bisect_right(self._starts, offset) - 1)

    def _parts(self, start: int, end: int) -> Iterator[tuple[Volume, int, int]]:
        for volume in self.expected[self._position(start) :]:
            if volume.start >= end:
                return
            one, two = max(start, volume.start), min(end, volume.end)
            if one < two:
                yield volume, one, two

    def _file(self, volume: Volume) -> VolumeFile:
        found = self.found.get(volume.number)
        if found is None:
            raise NotFound(f"volume {volume.number} of {volume.count} is not at hand")
        return found

    def _place(self, volume: Volume, offset: int) -> int:
        return self._file(volume).data + offset - volume.start


class _JoinedReader:
    """Bytes of the bundle from an offset on."""

    def __init__(self, volumes: JoinedVolumes, offset: int) -> None:
        self._volumes = volumes
        self._offset = offset
        self._reader, self._left = volumes.segment(offset)

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        if not self._left:
            if self._offset >= self._volumes.expected[-1].end:
                return b""
            self._reader.close()
            self._reader, self._left = self._volumes.segment(self._offset)
        data = self._reader.read(min(size, self._left))
        self._offset += len(data)
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Closes the volume that is open."""
        self._reader.close()
