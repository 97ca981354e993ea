"""Records of pax headers (POSIX.1-2001, *pax Extended Header*): what tar's fixed fields can't say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from imgmove.errors import MalformedContent


def make_record(key: bytes, value: bytes) -> bytes:
    """One record; its length counts itself."""
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode("ascii") + body


def make_records(records: Mapping[bytes, bytes]) -> bytes:
    """Several records, in the mapping's order."""
    return b"".join(make_record(key, value) for key, value in records.items())


def read_records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The records of a pax header's content, keys and values as they stand there.

    Raises:
        MalformedContent: it is broken.
    """
    position = 0
    while position < len(content):
        digits, blank, _ = content[position : position + 20].partition(b" ")
        length = int(digits) if blank and digits.isdigit() else 0
        record = content[position + len(digits) + 1 : position + length]
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        is_inside = len(digits) < length <= len(content) - position
        if not is_inside or not equals or not record.endswith(b"\n"):
            raise MalformedContent("a tar's pax header is broken")
        yield key, value
        position += length
