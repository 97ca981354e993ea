"""The messages of SFTP, version 3, as bytes (draft-ietf-secsh-filexfer-02, sections 3 to 7)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from imgmove.wire.ssh.errors import ConnectionBroke

INIT, VERSION, ASK_OPEN, ASK_CLOSE, ASK_READ, ASK_WRITE, FSTAT = 1, 2, 3, 4, 5, 6, 8
SETSTAT, FSETSTAT, OPENDIR, READDIR, REMOVE, MKDIR, STAT, EXTENDED = 9, 10, 11, 12, 13, 14, 17, 200
STATUS, HANDLE, DATA, NAME, ATTRS, EXTENDED_REPLY = 101, 102, 103, 104, 105, 201
OK, EOF, NO_SUCH_FILE, PERMISSION, FAILURE, UNSUPPORTED = 0, 1, 2, 3, 4, 8
HAS_SIZE, HAS_OWNER, HAS_MODE, HAS_TIMES, HAS_MORE = 0x1, 0x2, 0x4, 0x8, 0x80000000
FOLDER, FILE, LINK = 0o040000, 0o100000, 0o120000
LSTAT, REALPATH, RENAME = 7, 16, 18


@dataclass(frozen=True, slots=True)
class Attributes:
    """What the host tells of a file."""

    size: int
    mode: int
    modified: int

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.mode & 0o170000 == FOLDER

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self.mode & 0o170000 == LINK

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.mode & 0o170000 == FILE


class Parts:
    """The fields of a message, one after another.

    Raises:
        ConnectionBroke: from all that read, where the message ends too early.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_left(self) -> bool:
        return self._at < len(self._data)

    def number(self) -> int:
        return int.from_bytes(self._next(4))

    def long(self) -> int:
        return int.from_bytes(self._next(8))

    def text(self) -> bytes:
        return self._next(self.number())

    def attributes(self) -> Attributes:
        flags = self.number()
        size = self.long() if flags & HAS_SIZE else 0
        if flags & HAS_OWNER:
            self._next(8)
        mode = self.number() if flags & HAS_MODE else 0
        modified = 0
        if flags & HAS_TIMES:
            self._next(4)
            modified = self.number()
        if flags & HAS_MORE:
            for _ in range(2 * self.number()):
                self.text()
        return Attributes(size, mode, modified)

    def _next(self, size: int) -> bytes:
        data = self._data[self._at : self._at + size]
        if len(data) != size:
            raise ConnectionBroke("an SFTP message ends too early")
        self._at += size
        return data


def attributes(body: bytes) -> Attributes:
    """What an answer tells of a file."""
    return Parts(body).attributes()


def packed(data: bytes) -> bytes:
    """Bytes as a field of a message."""
    return struct.pack(">I", len(data)) + data


def packed_text(text: str) -> bytes:
    """A path or name as a field of a message."""
    return packed(text.encode("utf-8", "surrogateescape"))
