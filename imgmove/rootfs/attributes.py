"""What a tar says of a file besides its content: owner, mode, times, extended attributes, device numbers."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from imgmove.errors import MalformedContent
from imgmove.rootfs.heads import Head
from imgmove.rootfs.tar import number

_TIME = re.compile(rb"(-?)([0-9]{1,12})(?:\.([0-9]*))?")
_SCHILY = b"SCHILY.xattr."
_LIBARCHIVE = b"LIBARCHIVE.xattr."


@dataclass(frozen=True, slots=True)
class Attributes:
    """As the system takes them: times in nanoseconds, numbers for owners."""

    mode: int
    owner: int
    group: int
    modified: int
    accessed: int
    device: tuple[int, int]
    xattrs: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def of(cls, head: Head) -> Attributes:
        """Reads them from a member's head; what pax records say counts more than the header's fields.

        Raises:
            MalformedContent: one of them is no number.
        """
        header, records = head.header, head.records
        modified = _time(records[b"mtime"]) if b"mtime" in records else _signed(header[136:148]) * 10**9
        return cls(
            mode=number(header[100:108], "mode") & 0o7777,
            owner=_decimal(records[b"uid"]) if b"uid" in records else number(header[108:116], "owner"),
            group=_decimal(records[b"gid"]) if b"gid" in records else number(header[116:124], "group"),
            modified=modified,
            accessed=_time(records[b"atime"]) if b"atime" in records else modified,
            device=(number(header[329:337], "device"), number(header[337:345], "device")),
            xattrs=tuple(_xattrs(records)),
        )


def _xattrs(records: dict[bytes, bytes]) -> Iterator[tuple[bytes, bytes]]:
    for key, value in records.items():
        if key.startswith(_SCHILY):
            yield key[len(_SCHILY) :], value
        elif key.startswith(_LIBARCHIVE):
            name = unquote_to_bytes(key[len(_LIBARCHIVE) :])
            if _SCHILY + name not in records:
                try:
                    yield name, base64.b64decode(value + b"=" * (-len(value) % 4))
                except binascii.Error as error:
                    raise MalformedContent("an extended attribute in a tar can't be read") from error


def _time(text: bytes) -> int:
    match = _TIME.fullmatch(text)
    if not match:
        raise MalformedContent(f"a tar's pax header states the time {text[:40]!r}")
    sign, seconds, fraction = match.groups()
    value = int(seconds) * 10**9 + int((fraction or b"")[:9].ljust(9, b"0"))
    return -value if sign else value


def _signed(field: bytes) -> int:
    """A header's time, which GNU's binary form has before 1970 too."""
    return int.from_bytes(field, "big", signed=True) if field[0] == 0xFF else number(field, "time")


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 10:
        raise MalformedContent(f"a tar's pax header states the owner {text[:40]!r}")
    return int(text)
