"""Files on their way: under a temporary name and locked until they are whole."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator

from imgmove.errors import LocalError, NotFound
from imgmove.wire.files.early_sync import EarlySync
from imgmove.wire.files.errors import explained

TEMPORARY = ".imgmove-"
"""How the names of files begin that are not whole yet."""

_WHILE_ONE_RUNS = ".part"
_FOR_LATER_RUNS = ".partial"
_LONGEST_NAME = 120
"""Bytes of the final name that the temporary one repeats."""
_KEPT_SECONDS = 7 * 24 * 3600
_SHORTEST_WAIT, _LONGEST_WAIT = 0.01, 0.2


class LocalWriter:
    """A file under a temporary name, locked while somebody writes it. Safe for many threads.

    It may be closed while others write: the system would give the number of the open file to the next one, so it is
    really closed when the last of them is done.

    Args:
        path: its name when it is whole.
        temporary: its name until then.
        descriptor: of the open file, which holds the lock.
        closed: called once, when it is committed, aborted or kept.
    """

    def __init__(self, path: str, temporary: str, descriptor: int, closed: Callable[[LocalWriter], None]) -> None:
        self._path = path
        self.temporary = temporary
        self._descriptor = descriptor
        self._closed = closed
        self._guard = threading.Lock()
        # The writer itself is one of them until it is closed.
        self._users = 1
        self._is_closed = False
        self._early = EarlySync(self._sync)

    def write_at(self, offset: int, data: bytes) -> None:
        """Writes all of ``data`` at ``offset``."""
        view = memoryview(data)
        with self._opened() as descriptor, explained(self._path):
            while view:
                written = os.pwrite(descriptor, view, offset)
                view, offset = view[written:], offset + written
        self._early.wrote(len(data))

    def read_at(self, offset: int, size: int) -> bytes:
        """What was written there."""
        with self._opened() as descriptor, explained(self._path):
            return os.pread(descriptor, size, offset)

    @property
    def size(self) -> int:
        """Bytes from the start to the furthest one written."""
        with self._opened() as descriptor, explained(self._path):
            return os.fstat(descriptor).st_size

    def truncate(self, size: int) -> None:
        """Cuts the file, or lengthens it with a hole."""
        with self._opened() as descriptor, explained(self._path):
            os.ftruncate(descriptor, size)

    def commit(self, path: str = "") -> None:
        """Makes the file appear under its name, or another one, with all bytes on the disk."""
        final = path or self._path
        with self._opened() as descriptor, explained(final):
            self._early.finish()
            os.fsync(descriptor)
            os.rename(self.temporary, final)
            sync_folder(os.path.dirname(final) or ".")
        self.keep()

    def keep(self) -> None:
        """Closes the file and leaves it where it is."""
        self._close()

    def abort(self) -> None:
        """Removes what was not committed."""
        self._close(before=self._unlink)

    def _unlink(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.temporary)

    def _close(self, before: Callable[[], None] = lambda: None) -> None:
        with self._guard:
            if self._is_closed:
                return
            self._is_closed = True
            # While the lock is held: afterwards the name may be somebody else's.
            before()
        self._leave()
        self._closed(self)

    def _sync(self) -> None:
        with self._opened() as descriptor:
            os.fdatasync(descriptor)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        with self._guard:
            if self._is_closed:
                raise LocalError(f"{self._path}: the file is closed already")
            self._users += 1
        try:
            yield self._descriptor
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._guard:
            self._users -= 1
            if not self._users:
                os.close(self._descriptor)


def temporary_name(path: str) -> str:
    """A name for a file of one run alone."""
    return beside(path, f"{os.getpid()}-{os.urandom(6).hex()}{_WHILE_ONE_RUNS}")


def lasting_name(path: str, key: str) -> str:
    """A name for a file that later runs go on with; ``key`` tells what it is going to hold."""
    return beside(path, f"{key}{_FOR_LATER_RUNS}")


def beside(path: str, ending: str) -> str:
    """A temporary name in the folder of a final one, which may be long."""
    folder, name = os.path.split(path)
    # Cut, so that a long final name does not make the temporary one too long.
    start = os.fsdecode(os.fsencode(name)[:_LONGEST_NAME])
    return os.path.join(folder, f"{TEMPORARY}{start}.{ending}")


def create_locked(path: str, temporary: str) -> int | None:
    """A new file that is locked; None when somebody who sweeps was quicker.

    Raises:
        LocalError: it can't be made.
    """
    with _made_below(path):
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    return descriptor if _locked(descriptor, temporary) else None


def open_locked(path: str, temporary: str, is_over: Callable[[], bool]) -> int:
    """Opens or makes a file that lasts, waiting while another process or thread writes it.

    Args:
        is_over: asked while waiting; the wait ends when it says so.

    Raises:
        LocalError: it can't be made, or the wait was given up.
    """
    pause = _SHORTEST_WAIT
    while not is_over():
        with _made_below(path):
            descriptor = _open_alone(temporary)
        if _locked(descriptor, temporary):
            return descriptor
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_WAIT)
    raise LocalError(f"{path}: the command has ended")


def sweep(folder: str) -> None:
    """Removes what killed processes left: what only they could use, and what nobody went on with for a week."""
    for name in _names(folder):
        path = os.path.join(folder, name)
        is_lasting = name.endswith(_FOR_LATER_RUNS)
        if name.endswith(_WHILE_ONE_RUNS) or (is_lasting and _age(path) > _KEPT_SECONDS):
            _remove_unlocked(path)


def sweep_others(path: str, key: str) -> None:
    """Removes what was begun for the same path with another content in mind."""
    folder = os.path.dirname(path)
    start = os.path.basename(beside(path, ""))
    for name in _names(folder):
        other = name.removeprefix(start).removesuffix(_FOR_LATER_RUNS)
        is_for_path = len(start) + len(other) + len(_FOR_LATER_RUNS) == len(name) and "." not in other
        if is_for_path and other.partition("-")[0] != key:
            _remove_unlocked(os.path.join(folder, name))


def sync_folder(path: str) -> None:
    """Puts a folder's names on the disk; without this a power cut may forget a new one (man fsync, NOTES)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Some network file systems can't sync folders.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_alone(path: str) -> int:
    """Opens or makes a file that has one name only: what lies elsewhere too was laid there for us to write into it.

    The name can be foreseen, so that later runs find it. Who owns the file is left to the system to judge: some network
    file systems know another owner than we do.
    """
    try:
        descriptor = _open_or_replace(path)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    else:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
            return descriptor
        os.close(descriptor)
    raise LocalError(f"{path}: it is a link or device and none of imgmove's files", hint="remove it")


def _open_or_replace(path: str) -> int:
    """Opens or makes a file; one that another user left, who shares the folder with us, is made anew."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except PermissionError:
        _remove_unlocked(path)
        return os.open(path, flags, 0o666)


@contextlib.contextmanager
def _made_below(path: str) -> Iterator[None]:
    try:
        with explained(path):
            yield
    except NotFound:
        raise LocalError(f"{os.path.dirname(path) or '.'}: no such folder to write to") from None


def _locked(descriptor: int, path: str) -> bool:
    """Takes the lock of the file that lies there now; closes the file where that can't be done at once."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had the lock before us may have renamed or removed the file meanwhile.
        is_ours = _is_at(descriptor, path)
    except BlockingIOError:
        is_ours = False
    except OSError:
        # Where a file system has no locks, nobody can take one and sweep either.
        is_ours = True
    if not is_ours:
        os.close(descriptor)
    return is_ours


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _names(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder or ".") if name.startswith(TEMPORARY)]
    except OSError:
        return []


def _age(path: str) -> float:
    try:
        return time.time() - os.stat(path).st_mtime
    except OSError:
        return 0.0


def _remove_unlocked(path: str) -> None:
    with contextlib.suppress(OSError):
        # Some network file systems lock for whoever may write alone.
        access = os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY
        descriptor = os.open(path, access | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one that was locked may be gone by now, and another one lie in its place.
            if _is_at(descriptor, path):
                os.unlink(path)
        finally:
            os.close(descriptor)
