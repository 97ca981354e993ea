"""Files on this machine, as the `Files` port that all file formats speak to."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from imgmove.errors import ImgmoveError, LocalError, NotFound
from imgmove.ports import FileStatus, FileWriter, Reader

_EXPLAINED = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.ENOTDIR: "a part of the path is no folder",
    errno.EISDIR: "it is a folder",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EFBIG: "the file system can't hold so large a file",
    errno.EIO: "the device failed",
}
_TEMPORARY = ".imgmove-"
_PARTIAL = ".part"


class LocalFiles:
    """The file system of this machine. Safe for many threads."""

    def __init__(self) -> None:
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._swept: set[str] = set()
        self._open: set[_LocalWriter] = set()
        self._is_closed = False

    def open(self, path: str, offset: int = 0) -> Reader:
        """Opens a regular file for reading from ``offset`` on."""
        with _explained(path):
            # Opening a named pipe would otherwise wait until somebody writes to it; other files don't care.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                os.close(descriptor)
                raise _not_a_file(path, mode, hint=f"a pipe is read with - < {path}")
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
            with _explained(path):
                found = os.stat(path)
        except NotFound:
            return None
        return FileStatus(stat.S_ISDIR(found.st_mode), found.st_size, found.st_mtime)

    def list(self, path: str) -> Sequence[str]:
        """The names in a folder, sorted, without those of files that are not committed."""
        try:
            with _explained(path):
                return sorted(name for name in os.listdir(path) if not name.startswith(_TEMPORARY))
        except NotFound:
            return []

    def make_folder(self, path: str) -> None:
        """Makes a folder with its parents."""
        try:
            with _explained(path):
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
        _refuse_to_replace(path)
        path = os.path.realpath(path) if os.path.islink(path) else path
        folder = os.path.dirname(path)
        with self._guard:
            if self._is_closed:
                raise LocalError(f"{path}: the command has ended")
            if folder not in self._swept:
                self._swept.add(folder)
                _sweep(folder)
            # Under the guard, so that `close` sees every file that lies there.
            return _LocalWriter(path, self._open)

    def close(self) -> None:
        """Removes every file that was begun and not committed, when the command ends before it is done."""
        with self._guard:
            self._is_closed = True
            for writer in list(self._open):
                writer.forget()

    def remove(self, path: str) -> None:
        """Removes a file, if it is there."""
        with contextlib.suppress(NotFound), _explained(path):
            os.unlink(path)

    @contextlib.contextmanager
    def lock(self, path: str) -> Iterator[None]:
        """Holds a file or folder that exists against all processes and threads that lock it too."""
        with self._guard:
            mutex = self._locks.setdefault(os.path.abspath(path), threading.Lock())
        with mutex:
            with _explained(path):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                with _explained(path):
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


class _FileReader:
    def __init__(self, file: object, path: str) -> None:
        self._file = file
        self._path = path

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        with _explained(self._path):
            data: bytes | None = self._file.read(size)  # type: ignore[attr-defined]
            return data or b""

    def close(self) -> None:
        """Closes the file."""
        self._file.close()  # type: ignore[attr-defined]


class _LocalWriter:
    """A file that lies under a temporary name of its own until it is committed.

    It is locked while somebody writes it, so that what a killed process left behind can be told apart and removed.
    """

    def __init__(self, path: str, begun: set[_LocalWriter]) -> None:
        self._path = path
        self._begun = begun
        folder, name = os.path.split(path)
        self._temporary = ""
        self._descriptor: int | None = None
        while self._descriptor is None:
            # The name is cut, so that a long final name does not make the temporary one too long.
            unique = f"{os.getpid()}-{os.urandom(6).hex()}"
            self._temporary = os.path.join(folder, f"{_TEMPORARY}{name[:80]}.{unique}{_PARTIAL}")
            # Before it lies there: a signal may end us right afterwards.
            begun.add(self)
            try:
                with _explained(path):
                    self._descriptor = _created_and_locked(self._temporary)
            except NotFound:
                raise LocalError(f"{folder or '.'}: no such folder to write to") from None

    def write_at(self, offset: int, data: bytes) -> None:
        """Writes all of ``data`` at ``offset``."""
        view = memoryview(data)
        with _explained(self._path):
            while view:
                written = os.pwrite(self._opened, view, offset)
                view, offset = view[written:], offset + written

    def read_at(self, offset: int, size: int) -> bytes:
        """What was written there."""
        with _explained(self._path):
            return os.pread(self._opened, size, offset)

    @property
    def size(self) -> int:
        """Bytes from the start to the furthest one written."""
        return os.fstat(self._opened).st_size

    def truncate(self, size: int) -> None:
        """Cuts the file, or lengthens it with a hole."""
        with _explained(self._path):
            os.ftruncate(self._opened, size)

    def commit(self, path: str = "") -> None:
        """Makes the file appear under its name, or another one, with all bytes on the disk."""
        final = path or self._path
        with _explained(final):
            os.fsync(self._opened)
            os.rename(self._temporary, final)
            _sync_folder(os.path.dirname(final) or ".")
        os.close(self._opened)
        self._descriptor = None
        self._begun.discard(self)

    def abort(self) -> None:
        """Removes what was not committed."""
        if self._descriptor is None:
            return
        os.close(self._descriptor)
        self._descriptor = None
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)
        self._begun.discard(self)

    def forget(self) -> None:
        """Removes the name alone: a thread that is still writing keeps its descriptor, which nobody else may get."""
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)

    @property
    def _opened(self) -> int:
        if self._descriptor is None:
            raise LocalError(f"{self._path}: the file is closed already")
        return self._descriptor


def _created_and_locked(path: str) -> int | None:
    """A new file that is locked; None when a sweeper was quicker."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        # Where a file system has no locks, nobody can take one and sweep either.
        return descriptor
    if os.fstat(descriptor).st_nlink:
        return descriptor
    os.close(descriptor)
    return None


def _sweep(folder: str) -> None:
    """Removes the partial files of processes that were killed: those that nobody holds a lock on."""
    try:
        names = [name for name in os.listdir(folder or ".") if name.startswith(_TEMPORARY) and name.endswith(_PARTIAL)]
    except OSError:
        return
    for name in names:
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
            finally:
                os.close(descriptor)


def _refuse_to_replace(path: str) -> None:
    with contextlib.suppress(NotFound), _explained(path):
        mode = os.stat(path).st_mode
        # A folder can't be replaced by accident, and whoever writes into it knows better what to say.
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise _not_a_file(path, mode, hint=f"an archive is sent there with - > {path}")


def _not_a_file(path: str, mode: int, *, hint: str) -> LocalError:
    if stat.S_ISDIR(mode):
        return LocalError(f"{path}: {_EXPLAINED[errno.EISDIR]}")
    return LocalError(f"{path}: it is a device or pipe, not a file", hint=hint)


def _sync_folder(path: str) -> None:
    # Without this a power cut may forget the new name (man fsync, NOTES).
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Some network file systems can't sync folders.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Turns what the system says into one line of ours."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file or folder") from None
    except OSError as error:
        raise _translated(path, error) from error
    except ValueError as error:
        raise LocalError(f"{path!r:.200}: {error}") from error


def _translated(path: str, error: OSError) -> ImgmoveError:
    reason = _EXPLAINED.get(error.errno or 0) or error.strerror or type(error).__name__
    return LocalError(f"{path}: {reason}")
