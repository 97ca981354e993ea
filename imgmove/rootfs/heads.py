"""What precedes a member's content in a tar: its header block, and the blocks before and behind that say more.

Kept as they were wherever a member keeps its name, and written anew, all other fields untouched, where it doesn't.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imgmove.errors import MalformedContent
from imgmove.rootfs.pax import make_records, read_records
from imgmove.rootfs.tar import BLOCK, make_extension, number, padded

FILE, OLD_FILE, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO, CONTIGUOUS = b"0\x001234567"
"""Type flags (POSIX, *ustar Interchange Format*)."""

FILES = frozenset((FILE, OLD_FILE, CONTIGUOUS))
"""Of what is a file, or a folder if its name ends with a slash."""

SPARSE = ord("S")
"""GNU's old form of files with holes."""

RECORDS, GLOBAL_RECORDS, LONG_NAME, LONG_TARGET = b"xgLK"
"""Flags of blocks that say something of the member that follows."""

LARGEST = 4 << 20
"""Bytes that a head may take; names and attributes of real files come to some thousand at most."""

_LARGEST_EXTENSION = 1 << 20
_LONGEST_PATH = 4096
"""Bytes of a name, as of a path in Linux; the folders on the way to a longer one would take memory without end."""
_SPARSE_NAME = b"GNU.sparse.name"
_USTAR, _STAR = b"ustar\0", b"tar\0"


@dataclass(frozen=True, slots=True)
class Head:
    """A member's head, taken apart.

    Attributes:
        records: of pax headers, and GNU's long names under pax's keys for them; the later of two counts.
        header: the member's own block.
        tail: blocks between the header and the content, of GNU's old sparse files.
    """

    records: dict[bytes, bytes]
    header: bytes
    tail: bytes

    @property
    def flag(self) -> int:
        """The type flag."""
        return self.header[156]

    @property
    def path(self) -> bytes:
        """The name as it stands there.

        Raises:
            MalformedContent: no file can be called so.
        """
        given = self.records.get(_SPARSE_NAME) or self.records.get(b"path") or field_path(self.header)
        if len(given) > _LONGEST_PATH:
            raise MalformedContent(f"a member of a tar has a name of {len(given)} bytes, more than any path may have")
        return _without_zeros(given, "a name")

    @property
    def target(self) -> bytes:
        """What a link points at.

        Raises:
            MalformedContent: no link can point there.
        """
        return _without_zeros(self.records.get(b"linkpath") or _text(self.header[157:257]), "a link's target")

    @property
    def stored_size(self) -> int:
        """Bytes of content in the tar; links, folders and devices have none, whatever their field says."""
        if self.flag in (LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO):
            return 0
        stated = self.records.get(b"size")
        if stated is None:
            return number(self.header[124:136], "size")
        if not stated.isdigit() or len(stated) > 18:
            raise MalformedContent(f"a tar's pax header states the size {stated[:40]!r}")
        return int(stated)


def read_head(block: bytes, at: int) -> tuple[Head, int] | None:
    """The head that begins at ``at``, and where its content begins; None when the block ends before that.

    Headers for all members that follow (git's comments) count as a member of their own, as nothing in them is for
    them; engines do the same.

    Raises:
        MalformedContent: it is none.
    """
    records: dict[bytes, bytes] = {}
    position = at
    while True:
        header = block[position : position + BLOCK]
        if len(header) < BLOCK:
            return None
        flag = header[156]
        if flag not in (RECORDS, LONG_NAME, LONG_TARGET):
            break
        size = number(header[124:136], "size")
        if size > _LARGEST_EXTENSION or position - at > LARGEST:
            raise MalformedContent(f"a tar header of {size} bytes is over the limit of {_LARGEST_EXTENSION}")
        end = position + BLOCK + padded(size)
        if end > len(block):
            return None
        records.update(_extension(flag, block[position + BLOCK : position + BLOCK + size]))
        position = end
    tail = _sparse_tail(block, position, header) if flag == SPARSE else b""
    return None if tail is None else (Head(records, header, tail), position + BLOCK + len(tail))


def parse_head(raw: bytes) -> Head:
    """A whole head, as `read_head`."""
    found = read_head(raw, 0)
    assert found is not None
    return found[0]


def renamed(raw: bytes, name: bytes, target: bytes | None = None) -> bytes:
    """A head under another name; with a target, that of a hard link to it."""
    head = parse_head(raw)
    records = {key: value for key, value in head.records.items() if key not in (b"path", b"linkpath")}
    flag, link, size, tail = head.header[156:157], head.header[157:257], head.header[124:136], head.tail
    if target is not None:
        flag, size, tail = b"1", b"%011o\0" % 0, b""
        records = {key: value for key, value in records.items() if not key.startswith((b"GNU.sparse", b"size"))}
        link = _placed(records, b"linkpath", target)
    elif b"linkpath" in head.records:
        records[b"linkpath"] = head.records[b"linkpath"]
    if _SPARSE_NAME in records:
        records[_SPARSE_NAME] = name
        field = head.header[:100]
    else:
        field = _placed(records, b"path", name)
    front = field + head.header[100:124] + size + head.header[136:148]
    back = flag + link + head.header[257:345] + _without_prefix(head.header)
    checksum = sum(front) + sum(b"        ") + sum(back)
    block = front + b"%06o\0 " % checksum + back
    return (make_extension(make_records(records)) if records else b"") + block + tail


def field_path(header: bytes) -> bytes:
    """The name that a header block alone says."""
    name = _text(header[:100])
    if not header[345] or header[257:263] != _USTAR:
        # GNU's own format keeps times where ustar has its prefix.
        return name
    return _text(header[345 : 476 if header[508:] == _STAR else 500]) + b"/" + name


def _placed(records: dict[bytes, bytes], key: bytes, text: bytes) -> bytes:
    """The header's field for a text, and a record of it where the field is too small."""
    if len(text) > 100:
        records[key] = text
    return text[:100].ljust(100, b"\0")


def _without_prefix(header: bytes) -> bytes:
    if header[257:263] != _USTAR:
        return header[345:]
    end = 476 if header[508:] == _STAR else 500
    return bytes(end - 345) + header[end:]


def _extension(flag: int, content: bytes) -> Iterator[tuple[bytes, bytes]]:
    if flag == RECORDS:
        yield from read_records(content)
    else:
        yield (b"path" if flag == LONG_NAME else b"linkpath"), _text(content)


def _sparse_tail(block: bytes, position: int, header: bytes) -> bytes | None:
    """The blocks that go on with the map of an old sparse file; None when they are not all there."""
    end = begin = position + BLOCK
    more = header[482]
    while more:
        if end + BLOCK > len(block):
            return None
        if end - begin > LARGEST:
            raise MalformedContent("a sparse file in a tar has too many holes")
        more = block[end + 504]
        end += BLOCK
    return block[begin:end]


def _without_zeros(text: bytes, what: str) -> bytes:
    if b"\0" in text:
        raise MalformedContent(f"a member of a tar has {what} with a zero byte in it")
    return text


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]
