"""A host whose files are in memory, with an SFTP server that loses answers and lies as it is told."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from imgmove.wire.ssh.sftp import CREATE, EXCLUSIVE
from imgmove.wire.ssh.sftp_messages import (
    ASK_CLOSE,
    ASK_OPEN,
    ASK_READ,
    ASK_WRITE,
    ATTRS,
    DATA,
    EOF,
    EXTENDED,
    FAILURE,
    FILE,
    FOLDER,
    FSETSTAT,
    FSTAT,
    HANDLE,
    HAS_MODE,
    HAS_SIZE,
    HAS_TIMES,
    LSTAT,
    MKDIR,
    NAME,
    NO_SUCH_FILE,
    OK,
    OPENDIR,
    PERMISSION,
    READDIR,
    REMOVE,
    RENAME,
    STAT,
    STATUS,
    VERSION,
    Parts,
    packed,
    packed_text,
)
from imgmove.wire.ssh.streams import RemoteStream
from tests.wire.ssh.test_sftp import FakeChannel, message

REPLACE, SYNC = "posix-rename@openssh.com", "fsync@openssh.com"

Answer = tuple[int, bytes]
"""The kind of an answer, and what it says after its number."""


@dataclass
class StoredFile:
    """A file in memory."""

    content: bytearray = field(default_factory=bytearray)
    modified: int = 2**31 - 1
    is_ours: bool = True


class MemoryHost:
    """Stands in for a connection to a host; each session of it has a thread.

    Args:
        can_replace: whether it has OpenSSH's extensions, without which a rename replaces nothing.

    Attributes:
        files: by their paths; folders are wherever files are wanted.
        requests: that came, by kind; an extension counts under its name.
        breaks_at: the number of requests after which the connection breaks, once; None for never.
        hears_last: whether the last request before that is done all the same.
        twist: given a request's kind (or its extension's name) and the answer; what it returns is answered instead, and
            the connection breaks where that is None.
    """

    name, is_alive, timeout = "edge", True, 20.0

    def __init__(self, *, can_replace: bool = True) -> None:
        self._extensions = (REPLACE, SYNC) if can_replace else ()
        self.files: dict[str, StoredFile] = {}
        self.requests: list[int | str] = []
        self.breaks_at: int | None = None
        self.hears_last = True
        self.twist: Callable[[int | str, Answer], Answer | None] = lambda _, answer: answer
        self._lock = threading.Lock()

    def open_session(self, _window: int = 0, *, patience: float | None = None) -> RemoteStream:
        here, there = socket.socketpair()
        threading.Thread(target=self._serve, args=(there,), daemon=True).start()
        channel: Any = FakeChannel(here)
        return RemoteStream(channel, self.name)

    def drop_if_silent(self) -> None:
        """It is never silent."""

    def _serve(self, there: socket.socket) -> None:
        session = _Session(self)
        with contextlib.suppress(OSError), there, there.makefile("rb") as file:
            file.read(9)
            there.sendall(
                message(VERSION, 3, b"".join(packed_text(word) + packed_text("1") for word in self._extensions))
            )
            while head := file.read(9):
                size, kind, number = struct.unpack(">IBI", head)
                body = file.read(size - 5)
                with self._lock:
                    what = Parts(body).text().decode() if kind == EXTENDED else kind
                    self.requests.append(what)
                    is_last = len(self.requests) == self.breaks_at
                    if is_last and not self.hears_last:
                        return
                    answer = self.twist(what, session.answer(kind, Parts(body)))
                if answer is None or is_last:
                    return
                there.sendall(message(answer[0], number, answer[1]))


def status(code: int) -> Answer:
    """An answer that says no more than how it went."""
    return STATUS, struct.pack(">I", code) + packed(b"") + packed(b"")


def attributes(size: int, mode: int = FILE, modified: int = 2**31 - 1) -> bytes:
    """What is told of a file."""
    return struct.pack(">IQIII", HAS_SIZE | HAS_MODE | HAS_TIMES, size, mode, modified, modified)


class _Session:
    def __init__(self, host: MemoryHost) -> None:
        self._files = host.files
        self._handles: dict[bytes, StoredFile | str] = {}

    def answer(self, kind: int, parts: Parts) -> Answer:
        if kind in (ASK_OPEN, OPENDIR):
            return self._open(kind, parts)
        if kind in (ASK_CLOSE, ASK_READ, ASK_WRITE, FSTAT, FSETSTAT, READDIR):
            return self._handled(kind, parts.text(), parts)
        word = parts.text().decode()
        if kind == EXTENDED:
            return self._renamed(parts.text().decode(), parts.text().decode()) if word == REPLACE else status(OK)
        if kind == RENAME:
            after = parts.text().decode()
            return status(FAILURE) if after in self._files else self._renamed(word, after)
        if kind == REMOVE:
            return status(OK if self._files.pop(word, None) else NO_SUCH_FILE)
        assert kind in (STAT, LSTAT, MKDIR), kind
        return status(OK) if kind == MKDIR else self._status(word)

    def _status(self, path: str) -> Answer:
        if (found := self._files.get(path)) is not None:
            return ATTRS, attributes(len(found.content), modified=found.modified)
        is_folder = any(other.startswith(f"{path.rstrip('/')}/") for other in self._files) or path in (".", "/")
        return (ATTRS, attributes(0, FOLDER)) if is_folder else status(NO_SUCH_FILE)

    def _open(self, kind: int, parts: Parts) -> Answer:
        path = parts.text().decode()
        target: StoredFile | str | None = path if kind == OPENDIR else self._files.get(path)
        flags = 0 if kind == OPENDIR else parts.number()
        if target is not None and flags & EXCLUSIVE:
            return status(FAILURE)
        if isinstance(target, StoredFile) and not target.is_ours:
            return status(PERMISSION)
        if target is None:
            if not flags & CREATE:
                return status(NO_SUCH_FILE)
            target = self._files[path] = StoredFile()
        handle = str(len(self._handles)).encode()
        self._handles[handle] = target
        return HANDLE, packed(handle)

    def _handled(self, kind: int, handle: bytes, parts: Parts) -> Answer:
        file = self._handles[handle]
        if isinstance(file, str):
            self._handles[handle] = StoredFile()
            return self._names(file) if kind == READDIR else status(OK)
        if kind == ASK_READ:
            offset, size = parts.long(), parts.number()
            data = bytes(file.content[offset : offset + size])
            return (DATA, packed(data)) if data else status(EOF)
        if kind == ASK_WRITE:
            offset, data = parts.long(), parts.text()
            file.content.extend(bytes(max(0, offset - len(file.content))))
            file.content[offset : offset + len(data)] = data
        elif kind == FSETSTAT:
            parts.number()
            size = parts.long()
            file.content[:] = file.content[:size].ljust(size, b"\0")
        elif kind == FSTAT:
            return ATTRS, attributes(len(file.content))
        return status(EOF if kind == READDIR else OK)

    def _names(self, folder: str) -> Answer:
        found = {
            path.rpartition("/")[2]: file for path, file in self._files.items() if path.rpartition("/")[0] == folder
        }
        entries = (
            packed_text(name) + packed(b"") + attributes(len(file.content), modified=file.modified)
            for name, file in found.items()
        )
        return (NAME, struct.pack(">I", len(found)) + b"".join(entries)) if found else status(EOF)

    def _renamed(self, before: str, after: str) -> Answer:
        if before not in self._files:
            return status(NO_SUCH_FILE)
        self._files[after] = self._files.pop(before)
        return status(OK)
