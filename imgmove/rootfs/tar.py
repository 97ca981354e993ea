"""Tar: reading members in one pass, in place or from a pipe, and writing headers that never vary.

POSIX.1-1988 (ustar), GNU's long names and large sizes, and POSIX.1-2001 (pax) are read. Python's own module isn't used:
it re-encodes what it reads, and spends most of its time on members that nobody asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from imgmove.errors import MalformedContent, Truncated
from imgmove.ports import Files, PartOpener, Reader
from imgmove.rootfs.pax import make_record, read_records
from imgmove.streams import BLOCK as READ_BLOCK

BLOCK = 512
END = bytes(2 * BLOCK)

Kind = Literal["file", "folder", "symlink", "hardlink", "other"]

_LONGEST_EXTENSION = 1 << 20
_EXTENDED = frozenset({"path", "linkpath", "size"})
"""What is kept of pax headers, so that a chain of them without end takes no memory without end."""

_KINDS: Mapping[bytes, Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"5": "folder",
}
_BUFFER = 64 << 10
_FAR_BUFFER = 4 << 10


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a tar.

    Attributes:
        name: as it stands there, undecodable bytes as surrogates.
        offset: of the content's first byte from the start of the tar.
        size: of the content in bytes; 0 for what has none.
        target: what a link points at.
    """

    name: str
    kind: Kind
    offset: int
    size: int
    target: str = ""


class ByteStream(Protocol):
    """What a tar is read from: forwards only."""

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes, fewer only at the end."""
        ...

    def skip(self, size: int) -> int:
        """Passes over bytes; how many of them are known not to be there."""
        ...


class FileStream:
    """A file's bytes, read in blocks and skipped without reading."""

    def __init__(self, files: Files, path: str) -> None:
        self._files = files
        self._path = path
        self._position = 0
        self._start = 0
        self._buffer = b""
        # Headers mostly stand alone between large files.
        self._ahead = _FAR_BUFFER if isinstance(files, PartOpener) else _BUFFER

    def read(self, size: int) -> bytes:
        """The next bytes."""
        begin = self._position - self._start
        if begin < 0 or begin + size > len(self._buffer):
            self._start, begin = self._position, 0
            self._buffer = self._files.read_at(self._path, self._position, max(size, self._ahead))
        data = self._buffer[begin : begin + size]
        self._position += len(data)
        return data

    def skip(self, size: int) -> int:
        """Moves on."""
        self._position += size
        return 0


class PipeStream:
    """A pipe's bytes; skipping reads them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def read(self, size: int) -> bytes:
        """The next bytes."""
        parts: list[bytes] = []
        while size > 0 and (part := self._reader.read(size)):
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def some(self, size: int) -> bytes:
        """Up to ``size`` of the next bytes, as many as are at hand."""
        return self._reader.read(size)

    def skip(self, size: int) -> int:
        """Reads past bytes; how many of them did not come."""
        while size > 0 and (part := self._reader.read(min(size, READ_BLOCK))):
            size -= len(part)
        return size


def scan(stream: ByteStream) -> Iterator[Member]:
    """The members of a tar in order; content that is not read by whoever iterates is skipped.

    Whoever reads content from the same stream must read it to its end or not at all, and then say so by `Scan`.

    Raises:
        Truncated: the tar ends early.
        MalformedContent: it is none.
    """
    return iter(Scan(stream))


class Scan:
    """An iteration over the members of a tar, during which content may be read from the stream.

    Attributes:
        left: bytes of the current member's content that have not been read; to be counted down by who reads them.
        is_closed: whether the iteration ended at the block of zeros that closes a tar, and not merely where the bytes
            did.
    """

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._offset = 0
        self.left = 0
        self.is_closed = False

    def __iter__(self) -> Iterator[Member]:
        extensions: dict[str, str] = {}
        while (header := self._header()) is not None:
            size = number(header[124:136], "size")
            flag = header[156:157]
            if flag in (b"x", b"g", b"L", b"K"):
                extensions.update(_extension(flag, self._extended(size)))
                continue
            member = self._member(header, flag, size, extensions)
            extensions = {}
            self.left = member.size
            yield member
            padding = padded(member.size) - member.size
            if self._stream.skip(self.left + padding) > padding:
                raise Truncated(f"the tar ends in the middle of {member.name!r:.200}")
            self._offset += member.size + padding

    def _header(self) -> bytes | None:
        header = self._stream.read(BLOCK)
        self._offset += len(header)
        self.is_closed = header == bytes(BLOCK)
        if not header or self.is_closed:
            # Archives without the closing blocks exist, and are read by everybody.
            return None
        if len(header) < BLOCK:
            raise Truncated("the tar ends in the middle of a header")
        if not has_checksum(header):
            raise MalformedContent("not a tar: a header's checksum is wrong")
        return header

    def _member(self, header: bytes, flag: bytes, size: int, extensions: Mapping[str, str]) -> Member:
        kind: Kind = _KINDS.get(flag, "other")
        name = extensions.get("path") or _name(header)
        if kind == "file" and name.endswith("/"):
            kind = "folder"
        if "size" in extensions:
            size = _decimal(extensions["size"])
        # Links, folders and devices have no content, whatever their size field says (POSIX, ustar).
        if kind != "file" and flag in b"123456":
            size = 0
        target = extensions.get("linkpath") or _text(header[157:257])
        return Member(name, kind, self._offset, size, target if kind in ("symlink", "hardlink") else "")

    def _extended(self, size: int) -> bytes:
        if size > _LONGEST_EXTENSION:
            raise MalformedContent(f"a tar header of {size} bytes is over the limit of {_LONGEST_EXTENSION}")
        content = self._stream.read(padded(size))
        self._offset += len(content)
        if len(content) < padded(size):
            raise Truncated("the tar ends in the middle of a header")
        return content[:size]


def is_tar(start: bytes) -> bool:
    """Whether a stream that starts so (512 bytes) is a tar, an empty one included."""
    return len(start) >= BLOCK and (start[:BLOCK] == bytes(BLOCK) or has_checksum(start[:BLOCK]))


def has_checksum(header: bytes) -> bool:
    """Whether a header block's checksum is right, summed unsigned or, as some old programs did, signed."""
    try:
        stated = number(header[148:156], "checksum")
    except MalformedContent:
        return False
    blanked = header[:148] + b"        " + header[156:]
    unsigned = sum(blanked)
    return stated == unsigned or stated == unsigned - 256 * sum(byte > 127 for byte in blanked)


def make_header(name: str, size: int, *, is_folder: bool = False) -> bytes:
    """The header blocks of a member of ours: no owner, no time, the same each time for the same arguments."""
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) <= 100:
        return _ustar(encoded, size, b"5" if is_folder else b"0", 0o755 if is_folder else 0o644)
    return make_extension(make_record(b"path", encoded)) + _ustar(
        encoded[:100], size, b"5" if is_folder else b"0", 0o755 if is_folder else 0o644
    )


def make_extension(records: bytes) -> bytes:
    """The blocks that hold pax records for the header that follows."""
    return _ustar(b"pax", len(records), b"x", 0o644) + records + bytes(padding(len(records)))


def padding(size: int) -> int:
    """How many zeros follow content of ``size`` bytes."""
    return padded(size) - size


def padded(size: int) -> int:
    """``size`` bytes in whole blocks."""
    return (size + BLOCK - 1) // BLOCK * BLOCK


def _ustar(name: bytes, size: int, flag: bytes, mode: int) -> bytes:
    numbers = b"%07o\0" % mode + b"0000000\0" * 2
    # Eleven octal digits end at 8 GiB; beyond, GNU's binary form, which every reader of images knows.
    length = b"%011o\0" % size if size < 8 << 30 else b"\x80" + size.to_bytes(11, "big")
    time = b"%011o\0" % 0
    front = name.ljust(100, b"\0") + numbers + length + time
    back = flag + bytes(100) + b"ustar\0" + b"00" + bytes(64) + b"0000000\0" * 2 + bytes(167)
    checksum = sum(front) + sum(b"        ") + sum(back)
    return front + b"%06o\0 " % checksum + back


def _extension(flag: bytes, content: bytes) -> Mapping[str, str]:
    if flag == b"L":
        return {"path": _text(content)}
    if flag == b"K":
        return {"linkpath": _text(content)}
    # Global pax headers hold comments as a rule; a size or path for all members would make no sense.
    return _pax_records(content) if flag == b"x" else {}


def _pax_records(content: bytes) -> dict[str, str]:
    records = ((_text(key), value) for key, value in read_records(content))
    return {name: value.decode("utf-8", "surrogateescape") for name, value in records if name in _EXTENDED}


def _name(header: bytes) -> str:
    name = _text(header[:100])
    # The prefix field is ustar's; GNU's own format keeps times there.
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _decimal(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise MalformedContent(f"a tar's pax header states the size {text!r:.40}")
    return int(text)


def number(field: bytes, what: str) -> int:
    """What a header's octal field says, or GNU's binary form of it (first bit set).

    Raises:
        MalformedContent: it is no number that ``what`` can be.
    """
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    else:
        digits = field.strip(b"\0 ")
        if not all(byte in b"01234567" for byte in digits):
            raise MalformedContent(f"a tar header's {what} is no number")
        value = int(digits or b"0", 8)
    if value > 1 << 62:
        raise MalformedContent(f"a tar header's {what} is absurd")
    return value
