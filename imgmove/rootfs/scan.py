"""The members of a tar, found in large blocks, and the bytes of those that stay passed on as they are.

What a member costs here is what an image of many small files takes: so no object is made for one, fields are cut out of
the block only when they are needed, and members that stay one after another are passed on in one piece.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import adler32

from imgmove.errors import MalformedContent, Truncated
from imgmove.ports import Reader
from imgmove.rootfs.heads import (
    GLOBAL_RECORDS,
    LONG_NAME,
    LONG_TARGET,
    RECORDS,
    SPARSE,
    Head,
    parse_head,
    read_head,
)
from imgmove.rootfs.tar import BLOCK, PipeStream, has_checksum, padded

Write = Callable[[bytes | memoryview], object]

Verdict = bool | bytes
"""Whether a member stays; bytes stand in the place of its head, with its content as it is behind them."""

READ = 1 << 20
"""Bytes to feed at a time."""

_SLOW = frozenset((RECORDS, GLOBAL_RECORDS, LONG_NAME, LONG_TARGET, SPARSE))
_WITHOUT_CONTENT = frozenset(b"123456")
_ENDS = frozenset(b"\0 ")
_ZEROS = bytes(BLOCK)
_ADLER = 65521


class RawScan:
    """Takes a tar block by block, asks about each member, and writes what stays.

    Args:
        member: is told each member's name and type flag as they stand in the tar, and says what becomes of it. While it
            runs, the properties below tell more.
        write: takes the bytes that stay, in order.

    Attributes:
        after: set by ``member`` to bytes that are to follow the member's content.
        size: of the present member's content, as it is stored.
        is_over: whether the block of zeros came that closes a tar; what follows is passed over.
    """

    def __init__(self, member: Callable[[bytes, int], Verdict], write: Write) -> None:
        self._member = member
        self._write = write
        self._rest = b""
        self._left = 0
        self._stays = False
        self._block = b""
        self._at = self._begin = self._flag = 0
        self._path = b""
        self.after = b""
        self.size = 0
        self.is_over = False

    @property
    def raw(self) -> bytes:
        """The present member's head as it stands in the tar."""
        return self._block[self._at : self._begin]

    @property
    def head(self) -> Head:
        """The same, taken apart."""
        return parse_head(self.raw)

    def feed(self, block: bytes) -> None:
        """Takes the next bytes of the tar.

        Raises:
            MalformedContent: they are none of a tar.
        """
        if self._rest:
            block, self._rest = self._rest + block, b""
        self._block, end = block, len(block)
        at = min(self._left, end)
        self._left -= at
        if self._stays:
            self._pass_on(0, at)
        # What stays in one piece begins at "kept"; -1 when the last member did not stay, or was passed on already.
        kept = -1
        while not self._left:
            if self.after:
                self._pass_on(kept, at)
                self._write(self.after)
                self.after, kept = b"", -1
            if at >= end or self.is_over or not self._find(block, at):
                break
            verdict = self._flag != GLOBAL_RECORDS and self._member(self._path, self._flag)
            if verdict is True:
                kept = at if kept < 0 else kept
            else:
                self._pass_on(kept, at)
                kept = -1
            at = self._begin + padded(self.size)
            self._left = max(0, at - end)
            self._stays, at = verdict is not False, min(at, end)
            if isinstance(verdict, bytes):
                # Before the next member is asked about: whoever writes heads of its own wants this one's content first.
                self._write(verdict)
                self._pass_on(self._begin, at)
        self._pass_on(kept, at)
        self._rest = b"" if self.is_over else block[at:]

    def finish(self) -> None:
        """Says that the tar has no more bytes.

        Raises:
            Truncated: it ends in the middle of a member. The blocks that close a tar may be missing, as they often do.
        """
        if self._left or self._rest:
            raise Truncated("the tar ends in the middle of a member")

    def _pass_on(self, begin: int, end: int) -> None:
        if 0 <= begin < end:
            whole = begin == 0 and end == len(self._block)
            self._write(self._block if whole else memoryview(self._block)[begin:end])

    def _find(self, block: bytes, at: int) -> bool:
        """Looks at the head that begins at ``at``; False when the block ends before that, or the tar."""
        header = block[at : at + BLOCK]
        if len(header) < BLOCK:
            return False
        size, flag = header[124:135], header[156]
        if flag in _SLOW or header[345] or not size.isdigit() or header[135] not in _ENDS or not _is_sound(header):
            return self._find_slowly(block, at, header)
        try:
            self.size = 0 if flag in _WITHOUT_CONTENT else int(size, 8)
        except ValueError:
            return self._find_slowly(block, at, header)
        length = header.find(0, 0, 100)
        self._path = header[:length] if length >= 0 else header[:100]
        self._flag, self._at, self._begin = flag, at, at + BLOCK
        return True

    def _find_slowly(self, block: bytes, at: int, header: bytes) -> bool:
        if header == _ZEROS:
            self.is_over = True
            return False
        if not has_checksum(header):
            raise MalformedContent("not a tar: a header's checksum is wrong")
        found = read_head(block, at)
        if found is None:
            return False
        head, self._begin = found
        self._path, self._flag, self.size, self._at = head.path, head.flag, head.stored_size, at
        return True


def scan_all(scan: RawScan, reader: Reader) -> None:
    """Feeds everything that a reader has.

    Raises:
        MalformedContent, Truncated: it is no whole tar.
    """
    stream = PipeStream(reader)
    while block := stream.read(READ):
        scan.feed(block)
    scan.finish()


def _is_sound(header: bytes) -> bool:
    """Whether the checksum is right, in the usual form; adler32 holds the sum of all bytes in its lower half."""
    field = header[148:156]
    try:
        stated = int(field[:6], 8)
    except ValueError:
        return False
    return ((adler32(header) & 0xFFFF) - 1 - sum(field) + 256 - stated) % _ADLER == 0
