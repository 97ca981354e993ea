"""SFTP, version 3 with OpenSSH's extensions: what can be asked of files and paths (draft-ietf-secsh-filexfer-02)."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator

from imgmove.errors import NotFound
from imgmove.wire.ssh.connection import SshConnection
from imgmove.wire.ssh.errors import ConnectionBroke
from imgmove.wire.ssh.sftp_messages import (
    ASK_CLOSE,
    ASK_OPEN,
    ASK_READ,
    ASK_WRITE,
    DATA,
    EOF,
    FSETSTAT,
    FSTAT,
    HAS_MODE,
    HAS_SIZE,
    LSTAT,
    MKDIR,
    OPENDIR,
    READDIR,
    REALPATH,
    REMOVE,
    RENAME,
    STAT,
    STATUS,
    Attributes,
    Parts,
    attributes,
    packed,
    packed_text,
)
from imgmove.wire.ssh.sftp_session import Answer, SftpFailure, SftpSession

READ, WRITE, CREATE, EXCLUSIVE = 0x01, 0x02, 0x08, 0x20

_SMALL = 32 << 10
_LARGEST = 255 << 10
"""Bytes of content a request, as OpenSSH takes them."""
_LONGEST_HANDLE = 256
"""Bytes (draft-ietf-secsh-filexfer-02, section 6.3)."""
_MOST_NAMES = 1 << 20
_REPLACING = "posix-rename@openssh.com"


class Sftp(SftpSession):
    """One SFTP session, and what can be asked over it. Safe for many threads.

    Args:
        patience: seconds to wait while the host takes no further session; None for the usual.

    Attributes:
        largest: bytes of content that one request may carry.
        round_trip: seconds that an answer takes.
    """

    def __init__(self, connection: SshConnection, *, patience: float | None = None) -> None:
        super().__init__(connection, patience=patience)
        self.largest = _SMALL
        began = time.monotonic()
        if "limits@openssh.com" in self.extensions:
            answer = Parts(self._done(self._extended("limits@openssh.com"), "its limits")[1])
            limits = [answer.long() for _ in range(3)]
            self.largest = max(_SMALL, min([limit or _SMALL for limit in limits[1:]] + [_LARGEST]))
        else:
            # Whatever is answered: the folder may be none of ours.
            self.ask_status(".").result()
        self.round_trip = time.monotonic() - began

    # --- files

    def open(self, path: str, flags: int) -> bytes:
        """Opens a file; returns its handle."""
        return self.handle(self.ask_open(path, flags), path)

    def ask_open(self, path: str, flags: int) -> Answer:
        """Asks for a file to be opened; `handle` waits for it."""
        mode = struct.pack(">II", HAS_MODE, 0o644) if flags & CREATE else struct.pack(">I", 0)
        return self._ask(ASK_OPEN, packed_text(path) + struct.pack(">I", flags) + mode)

    def handle(self, answer: Answer, path: str) -> bytes:
        """The handle of a file that was asked for.

        Raises:
            ConnectionBroke: it is longer than any may be.
        """
        handle = Parts(self._done(answer, path)[1]).text()
        if len(handle) > _LONGEST_HANDLE:
            raise ConnectionBroke(f"{self.name} gives {path} a handle that is none")
        return handle

    def close(self, handle: bytes) -> None:
        """Gives a handle back, without waiting for the answer."""
        if self._broken is None:
            self._ask(ASK_CLOSE, packed(handle))

    def read(self, handle: bytes, offset: int, size: int) -> Answer:
        """Asks for bytes; `content` waits for them."""
        return self._ask(ASK_READ, packed(handle) + struct.pack(">QI", offset, size))

    def content(self, answer: Answer, size: int, path: str) -> bytes:
        """The bytes that were asked for, or fewer; none at the end of the file.

        Raises:
            ConnectionBroke: there are more than ``size``.
        """
        kind, body = answer.result()
        if kind == STATUS and Parts(body).number() == EOF:
            return b""
        data = self._checked(kind, body, path)[1]
        if kind != DATA or len(data) > size:
            raise ConnectionBroke(f"{self.name} sends more of {path} than was asked for")
        return data

    def write(self, handle: bytes, offset: int, data: bytes | memoryview) -> Answer:
        """Sends bytes; `finish` waits until they are written."""
        head = packed(handle) + struct.pack(">QI", offset, len(data))
        return self._ask(ASK_WRITE, head, data)

    def finish(self, answer: Answer, path: str) -> None:
        """Waits for something that was asked for.

        Raises:
            ImgmoveError: it failed.
        """
        self._done(answer, path)

    def ask_size(self, handle: bytes) -> Answer:
        """Asks how long an open file is; `size` waits for it."""
        return self._ask(FSTAT, packed(handle))

    def size(self, answer: Answer, path: str) -> int:
        """How long a file is that was asked about."""
        return attributes(self._done(answer, path)[1]).size

    def truncate(self, handle: bytes, size: int, path: str) -> None:
        """Cuts an open file, or lengthens it with a hole."""
        self._done(self._ask(FSETSTAT, packed(handle) + struct.pack(">IQ", HAS_SIZE, size)), path)

    def sync(self, handle: bytes) -> Answer | None:
        """Has an open file's content put on the disk, where the server can; `finish` waits for it."""
        can = "fsync@openssh.com" in self.extensions
        return self._extended("fsync@openssh.com", packed(handle)) if can else None

    # --- paths

    def status(self, path: str) -> Attributes | None:
        """What lies at a path, links followed; None for nothing."""
        return self.found(self.ask_status(path), path)

    def ask_status(self, path: str) -> Answer:
        """Asks what lies at a path; `found` waits for it."""
        return self._ask(STAT, packed_text(path))

    def found(self, answer: Answer, path: str) -> Attributes | None:
        """What lies at a path that was asked about."""
        try:
            return attributes(self._done(answer, path)[1])
        except NotFound:
            return None

    def look(self, path: str) -> tuple[Attributes | None, bool]:
        """What lies at a path, links followed, None for nothing; and whether a symbolic link lies there."""
        answers = self.ask_status(path), self._ask(LSTAT, packed_text(path))
        followed, plain = (self.found(answer, path) for answer in answers)
        return followed, plain is not None and plain.is_link

    def real_path(self, path: str) -> str:
        """The path with all links followed."""
        parts = Parts(self._done(self._ask(REALPATH, packed_text(path)), path)[1])
        if parts.number() != 1:
            raise SftpFailure(f"{self.name}: {path}: where it leads is not told")
        return parts.text().decode("utf-8", "surrogateescape")

    def list(self, path: str) -> Iterator[tuple[str, Attributes]]:
        """What lies in a folder, in the server's order, links not followed.

        Raises:
            ConnectionBroke: it tells of more than any folder has.
        """
        handle = self.handle(self._ask(OPENDIR, packed_text(path)), path)
        left = _MOST_NAMES
        try:
            while True:
                kind, body = self._ask(READDIR, packed(handle)).result()
                if kind == STATUS and Parts(body).number() == EOF:
                    return
                parts = Parts(self._checked(kind, body, path)[1])
                left -= (count := parts.number())
                if left < 0 or not count:
                    raise ConnectionBroke(f"{self.name} does not come to an end with the names in {path}")
                for _ in range(count):
                    name = parts.text().decode("utf-8", "surrogateescape")
                    parts.text()
                    found = parts.attributes()
                    # A name with a slash would lead out of the folder.
                    if name not in (".", "..") and "/" not in name:
                        yield name, found
        finally:
            self.close(handle)

    def make_folder(self, path: str) -> None:
        """Makes one folder."""
        self._done(self._ask(MKDIR, packed_text(path) + struct.pack(">I", 0)), path)

    def remove(self, path: str) -> None:
        """Removes a file."""
        self._done(self._ask(REMOVE, packed_text(path)), path)

    @property
    def can_replace(self) -> bool:
        """Whether a file can take the place of another one in one step."""
        return _REPLACING in self.extensions

    def rename(self, before: str, after: str) -> None:
        """Gives a file another name, in place of what had it.

        Raises:
            SftpFailure: something has it, and the server can't replace it (`can_replace`).
        """
        names = packed_text(before) + packed_text(after)
        self._done(self._extended(_REPLACING, names) if self.can_replace else self._ask(RENAME, names), after)

    def free_space(self, path: str) -> int | None:
        """Bytes that may still be written below a folder; None where the server doesn't tell."""
        if "statvfs@openssh.com" not in self.extensions:
            return None
        parts = Parts(self._done(self._extended("statvfs@openssh.com", packed_text(path)), path)[1])
        _, unit, _, _, available = (parts.long() for _ in range(5))
        return unit * available
