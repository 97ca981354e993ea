"""Files with holes, as GNU tar stores them: in its old form (flag S) and as pax records of versions 0.1 and 1.0."""

from __future__ import annotations

from collections.abc import Sequence

from imgmove.errors import MalformedContent
from imgmove.rootfs.heads import SPARSE, Head
from imgmove.rootfs.tar import BLOCK, number, padded

Piece = tuple[int, int]
"""Where a piece of a file begins, and how many bytes it has."""

_LARGEST_MAP = 1 << 20
"""Bytes; as numbers a map takes some thirty times as many."""


class SparseContent:
    """Puts what is stored of a file where it belongs; what is in between is holes.

    Attributes:
        size: of the file, holes included.
    """

    def __init__(self, head: Head) -> None:
        self._pieces: list[Piece] | None = None
        self._waiting = b""
        self._piece = 0
        self._at = 0
        records = head.records
        if head.flag == SPARSE:
            self.size = number(head.header[483:495], "size")
            self._pieces = _old_map(head)
        elif records.get(b"GNU.sparse.major") == b"1":
            self.size = _decimal(records.get(b"GNU.sparse.realsize", b""))
        elif b"GNU.sparse.map" in records:
            self.size = _decimal(records.get(b"GNU.sparse.size", b""))
            self._pieces = _pairs(records[b"GNU.sparse.map"].split(b",") if records[b"GNU.sparse.map"] else [])
        else:
            raise MalformedContent("a file with holes is stored in a form that is not known")

    def placed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Where the next stored bytes belong.

        Raises:
            MalformedContent: the map is broken, or there are more bytes than it says.
        """
        if self._pieces is None:
            data = self._read_map(data)
            if self._pieces is None:
                return []
        found = []
        while data:
            if self._piece == len(self._pieces):
                raise MalformedContent("a file with holes has more content than its map says")
            offset, length = self._pieces[self._piece]
            if offset + length > self.size:
                raise MalformedContent("a file with holes has content behind its end")
            part, data = data[: length - self._at], data[length - self._at :]
            if part:
                found.append((offset + self._at, part))
            self._at += len(part)
            if self._at == length:
                self._piece += 1
                self._at = 0
        return found

    def finish(self) -> None:
        """Says that nothing more is stored.

        Raises:
            MalformedContent: the map says that there is.
        """
        if self._pieces is None or any(length for _, length in self._pieces[self._piece :]):
            raise MalformedContent("a file with holes has less content than its map says")

    def _read_map(self, data: bytes) -> bytes:
        """Reads the map that version 1.0 puts before the content; what follows it."""
        self._waiting += data
        first, end, _ = self._waiting.partition(b"\n")
        # Counted first, as whoever sends a long map in small pieces would have it taken apart each time.
        if not end or self._waiting.count(b"\n") <= 2 * _decimal(first):
            if len(self._waiting) > _LARGEST_MAP:
                raise MalformedContent("a file with holes has too many of them")
            return b""
        lines = self._waiting.split(b"\n")
        count = 2 * _decimal(first)
        length = padded(sum(len(line) + 1 for line in lines[: count + 1]))
        if len(self._waiting) < length:
            return b""
        self._pieces = _pairs(lines[1 : count + 1])
        return self._waiting[length:]


def is_sparse(head: Head) -> bool:
    """Whether a member is stored with holes."""
    return head.flag == SPARSE or any(key.startswith(b"GNU.sparse.") for key in head.records)


def _old_map(head: Head) -> list[Piece]:
    maps = [head.header[386:482], *(head.tail[at : at + 504] for at in range(0, len(head.tail), BLOCK))]
    pieces = []
    for part in maps:
        for at in range(0, len(part), 24):
            if part[at] == 0:
                break
            pieces.append((number(part[at : at + 12], "offset"), number(part[at + 12 : at + 24], "size")))
    return pieces


def _pairs(texts: Sequence[bytes]) -> list[Piece]:
    numbers = [_decimal(text) for text in texts]
    if len(numbers) % 2:
        raise MalformedContent("the map of a file with holes is broken")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 18:
        raise MalformedContent("the map of a file with holes is broken")
    return int(text)
