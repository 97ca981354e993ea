"""Files on this machine, as the `Files` port."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from imgmove.errors import LocalError, NotFound
from imgmove.ports import FileStatus, FileWriter, Reader
from imgmove.wire.files.errors import explained, not_a_file
from imgmove.wire.files.writers import (
    TEMPORARY,
    LocalWriter,
    create_locked,
    lasting_name,
    open_locked,
    sweep,
    sweep_others,
    temporary_name,
)

_STAT_BLOCK = 512
"""Bytes in which ``st_blocks`` counts, whatever the file system's own blocks are (POSIX)."""


class LocalFiles:
    """The file system of this machine. Safe for many threads."""

    def __init__(self) -> None:
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._swept: set[str] = set()
        self._begun: set[str] = set()
        self._is_closed = False

    def open(self, path: str, offset: int = 0) -> Reader:
        """Opens a regular file for reading from ``offset`` on."""
        with explained(path):
            # Opening a named pipe would otherwise wait until somebody writes to it; other files don't care.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                os.close(descriptor)
                raise not_a_file(path, mode, hint=f"a pipe is read with - < {path}")
            file = os.fdopen(descriptor, "rb", buffering=0)
            if offset:
                file.seek(offset)
            return _FileReader(file, path)

    def read_at(self, path: str, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset`` on, fewer only at the end."""
        with contextlib.closing(self.open(path, offset)) as reader:
            parts: list[bytes] = []
            while size > 0 and (part := reader.read(size)):
                parts.append(part)
                size -= len(part)
            return b"".join(parts)

    def status(self, path: str) -> FileStatus | None:
        """What lies at a path; None for nothing."""
        try:
            with explained(path):
                found = os.stat(path)
        except NotFound:
            return None
        return FileStatus(stat.S_ISDIR(found.st_mode), found.st_size, found.st_mtime)

    def list(self, path: str) -> Sequence[str]:
        """The names in a folder, sorted, without those of files that are not committed."""
        try:
            with explained(path):
                return sorted(name for name in os.listdir(path) if not name.startswith(TEMPORARY))
        except NotFound:
            return []

    def make_folder(self, path: str) -> None:
        """Makes a folder with its parents."""
        try:
            with explained(path):
                os.makedirs(path, exist_ok=True)
        except NotFound:
            raise LocalError(f"{path}: no folder can be made there") from None

    def write(self, path: str, content: bytes) -> None:
        """Replaces a small file in one step."""
        writer = self.create(path)
        try:
            writer.write_at(0, content)
            writer.commit()
        finally:
            writer.abort()

    def create(self, path: str) -> FileWriter:
        """Begins a file under a temporary name beside its final one; a link is followed, not replaced.

        Raises:
            LocalError: it can't be made, or would take the place of a device or pipe.
        """
        path = self._resolved(path)
        # Under the guard, so that `close` sees every file that lies there.
        with self._guard:
            self._check_open(path)
            while True:
                temporary = temporary_name(path)
                # Before it lies there: a signal may end us right afterwards.
                self._begun.add(temporary)
                descriptor = create_locked(path, temporary)
                if descriptor is not None:
                    return LocalWriter(path, temporary, descriptor, self._ended)

    def resume(self, path: str, key: str) -> FileWriter:
        """Goes on with a file that an earlier run of the same purpose left unfinished, or begins it.

        Raises:
            LocalError: it can't be made, or would take the place of a device or pipe.
        """
        path = self._resolved(path)
        with self._guard:
            self._check_open(path)
        temporary = lasting_name(path, key)
        descriptor = open_locked(path, temporary, lambda: self._is_closed)
        return LocalWriter(path, temporary, descriptor, self._ended)

    def forget_others(self, path: str, key: str) -> None:
        """Removes what earlier runs began for the same path under other keys, unless somebody is at it."""
        sweep_others(self._resolved(path), key)

    def close(self) -> None:
        """Removes every file that was begun and not committed, but for those that a later run can go on with."""
        with self._guard:
            self._is_closed = True
            for temporary in list(self._begun):
                with contextlib.suppress(OSError):
                    os.unlink(temporary)

    def _resolved(self, path: str) -> str:
        """Where a file really goes; what lies in the folder from killed runs is removed the first time."""
        _refuse_to_replace(path)
        path = os.path.realpath(path) if os.path.islink(path) else path
        folder = os.path.dirname(path)
        with self._guard:
            if folder not in self._swept:
                self._swept.add(folder)
                sweep(folder)
        return path

    def _check_open(self, path: str) -> None:
        if self._is_closed:
            raise LocalError(f"{path}: the command has ended")

    def _ended(self, writer: LocalWriter) -> None:
        with self._guard:
            self._begun.discard(writer.temporary)

    def remove(self, path: str) -> None:
        """Removes a file, if it is there."""
        with contextlib.suppress(NotFound), explained(path):
            os.unlink(path)

    @contextlib.contextmanager
    def lock(self, path: str) -> Iterator[None]:
        """Holds a file or folder that exists against all processes and threads that lock it too."""
        with self._guard:
            mutex = self._locks.setdefault(os.path.abspath(path), threading.Lock())
        with mutex:
            with explained(path):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                with explained(path):
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)

    def free_space(self, path: str) -> int | None:
        """Bytes that may still be written below the nearest folder that exists."""
        folder = PurePosixPath(os.path.abspath(path))
        for candidate in (folder, *folder.parents):
            with contextlib.suppress(OSError):
                found = os.statvfs(candidate)
                return found.f_bavail * found.f_frsize
        return None

    def unfinished_bytes(self, path: str) -> int:
        """What earlier runs left on the disk for a path, and for paths that it is the beginning of."""
        folder, name = os.path.split(path)
        start = os.path.basename(lasting_name(os.path.join(folder, name), "")).removesuffix("..partial")
        total = 0
        for other in os.listdir(folder or ".") if os.path.isdir(folder or ".") else ():
            if other.startswith(start):
                with contextlib.suppress(OSError):
                    total += os.stat(os.path.join(folder, other)).st_blocks * _STAT_BLOCK
        return total


class _FileReader:
    def __init__(self, file: object, path: str) -> None:
        self._file = file
        self._path = path

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        with explained(self._path):
            data: bytes | None = self._file.read(size)  # type: ignore[attr-defined]
            return data or b""

    def close(self) -> None:
        """Closes the file."""
        self._file.close()  # type: ignore[attr-defined]


def _refuse_to_replace(path: str) -> None:
    with contextlib.suppress(NotFound), explained(path):
        mode = os.stat(path).st_mode
        # A folder can't be replaced by accident, and whoever writes into it knows better what to say.
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise not_a_file(path, mode, hint=f"an archive is sent there with - > {path}")
