"""Files on another host over SFTP, as the `Files` port."""

from __future__ import annotations

import contextlib
import os
import posixpath
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from imgmove.errors import AccessDenied, ImgmoveError, NetworkError, NotFound, ServerRefused, UsageError
from imgmove.ports import FilePart, FileStatus, FileWriter, Reader
from imgmove.wire.files.remote_flows import IN_FLIGHT, Flows
from imgmove.wire.files.remote_hashing import hash_there
from imgmove.wire.files.remote_lanes import FAR, Lanes
from imgmove.wire.files.remote_leftovers import Leftovers
from imgmove.wire.files.remote_lock import LOCK_ENDING, STALE, RemoteLocks
from imgmove.wire.files.remote_reader import RemoteReader
from imgmove.wire.files.remote_replacing import names_of, status_of
from imgmove.wire.files.remote_writer import RemoteWriter
from imgmove.wire.files.writers import TEMPORARY, lasting_name
from imgmove.wire.ssh import SftpFailure, SshConnection

Result = TypeVar("Result")

_ATTEMPTS = 3


class RemoteFiles:
    """The file system of another host. Safe for many threads.

    Paths that begin with ``~/`` are below the home folder there. Everything is done over SFTP: its answers say what was
    done, so that a broken connection leaves no doubt, and a host needs no shell.

    Args:
        connection: to the host.
        note: told what a person should know.
        far: seconds of round trip from which transfers are spread over several sessions.
        stale: seconds without a sign of life after which a lock counts as left.
    """

    def __init__(
        self,
        connection: SshConnection,
        note: Callable[[str], None] = lambda _: None,
        *,
        far: float = FAR,
        stale: float = STALE,
    ) -> None:
        self.name = connection.name
        self.lanes = Lanes(connection, far)
        self.flows = Flows()
        self._connection = connection
        self._folders: set[str] = set()
        self._leftovers = Leftovers(self.lanes.first)
        self._locks = RemoteLocks(self.lanes.first, f"{socket.gethostname()} {os.getpid()}", note, stale)

    # --- reading

    def open(self, path: str, offset: int = 0) -> Reader:
        """Opens a regular file for reading from ``offset`` on."""
        return self._reader(path, offset, None)

    def open_part(self, path: str, offset: int, size: int) -> Reader:
        """Opens a part of a regular file; nothing beyond it is fetched."""
        return self._reader(path, offset, size)

    def read_at(self, path: str, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset`` on, fewer only at the end."""

        def read() -> bytes:
            with contextlib.closing(self._reader(path, offset, size)) as reader:
                return b"".join(iter(lambda: reader.read(size), b""))

        return self.again(read)

    def hash_parts(self, parts: Sequence[FilePart], algorithm: str) -> Iterator[tuple[FilePart, str]]:
        """Has the host hash files, as far as it has a shell and the program for it."""
        there = {FilePart(_plain(part.path), part.offset, part.size): part for part in parts}
        for part, value in hash_there(self._connection, list(there), algorithm):
            yield there[part], value

    def status(self, path: str) -> FileStatus | None:
        """What lies at a path; None for nothing."""
        found = self.again(lambda: status_of(self.lanes.first(), _plain(path)))
        return None if found is None else FileStatus(found.is_folder, found.size, found.modified)

    def list(self, path: str) -> Sequence[str]:
        """The names in a folder, sorted, without those of files that are not committed."""
        try:
            names = self.again(lambda: [name for name, _ in self.lanes.first().list(_plain(path))])
        except NotFound:
            return []
        return sorted(name for name in names if not name.startswith(TEMPORARY))

    # --- writing

    def make_folder(self, path: str) -> None:
        """Makes a folder with its parents."""
        path = _plain(path)
        if path and path not in self._folders:
            found = self.again(lambda: self.lanes.first().status(path))
            if found is None:
                self._make_missing(path)
            elif not found.is_folder:
                raise ServerRefused(f"{self.name}: {path} is no folder")
            self._folders.add(path)

    def _make_missing(self, path: str) -> None:
        try:
            self._make_one(path)
        except NotFound:
            # Its parent isn't there either.
            if (parent := posixpath.dirname(path)) in ("", path):
                raise
            self.make_folder(parent)
            self._make_one(path)

    def _make_one(self, path: str) -> None:
        try:
            self.lanes.first().make_folder(path)
        except SftpFailure:
            # Somebody else may have been quicker.
            if self.status(path) is None:
                raise self.explained(path) from None

    def write(self, path: str, content: bytes) -> None:
        """Replaces a small file in one step."""
        writer = self.create(path)
        try:
            writer.write_at(0, content)
            writer.commit()
        finally:
            writer.abort()

    def create(self, path: str) -> FileWriter:
        """Begins a file under a temporary name beside its final one.

        Raises:
            AccessDenied, ServerRefused: it can't be made, or would take the place of a device or pipe.
        """
        path = self._checked(path)
        temporary = self._leftovers.begin(path)
        return self.again(lambda: RemoteWriter(self, path, temporary, lambda: self._leftovers.ended(temporary)))

    def resume(self, path: str, key: str) -> FileWriter:
        """Goes on with a file that an earlier run of the same purpose left unfinished, or begins it.

        Raises:
            AccessDenied, ServerRefused: it can't be made, or would take the place of a device or pipe.
        """
        path = self._checked(path)
        temporary = lasting_name(path, key)
        lock = f"{temporary}{LOCK_ENDING}"
        try:
            was_left = self.again(lambda: self._locks.take(lock))
        except NotFound:
            folder = posixpath.dirname(path) or "."
            raise ServerRefused(f"{self.name}: {folder}: no such folder to write to") from None
        try:
            writer = self._resumed(path, temporary, lock)
            if was_left:
                # Whoever was killed may have had so much under way, of which any part may be missing.
                writer.truncate(max(0, writer.size - IN_FLIGHT))
            return writer
        except BaseException:
            self._locks.give_back(lock)
            raise

    def _resumed(self, path: str, temporary: str, lock: str) -> RemoteWriter:
        def begin() -> RemoteWriter:
            return RemoteWriter(self, path, temporary, lambda: self._locks.give_back(lock), is_begun=True)

        try:
            return self.again(begin)
        except AccessDenied:
            # Another user's, who shares the folder with us and is not at it, as the lock is ours.
            self.remove(temporary)
            return self.again(begin)

    def forget_others(self, path: str, key: str) -> None:
        """Removes what earlier runs began for the same path under other keys, unless somebody is at it."""
        self.again(lambda: self._leftovers.forget_others(_plain(path), key))

    def remove(self, path: str) -> None:
        """Removes a file, if it is there."""
        with contextlib.suppress(NotFound):
            self.again(lambda: self.lanes.first().remove(_plain(path)))

    @contextlib.contextmanager
    def lock(self, path: str) -> Iterator[None]:
        """Holds a folder that exists against all others that lock it so."""
        lock = posixpath.join(_plain(path), f"{TEMPORARY}index{LOCK_ENDING}")
        self._locks.take(lock)
        try:
            yield
        finally:
            self._locks.give_back(lock)

    def free_space(self, path: str) -> int | None:
        """Bytes that may still be written below the nearest folder that exists; None where the host doesn't tell."""
        path = _plain(path)
        while path and self.status(path) is None:
            path = posixpath.dirname(path)
        try:
            return self.again(lambda: self.lanes.first().free_space(path or "."))
        except (SftpFailure, NotFound):
            return None

    def close(self) -> None:
        """Removes every file that was begun and not committed, but for those that a later run can go on with.

        On a host that fell silent all stays as it is: whoever waited for it waits no longer.
        """
        if self.lanes.is_closed:
            return
        if self._leftovers.are_there or self._locks.are_held:
            self._connection.drop_if_silent()
            if not self._connection.is_alive:
                self.lanes.close()
        self._leftovers.close()
        self._locks.close()
        self.lanes.close()

    # --- for the streams

    def explained(self, path: str, error: SftpFailure | None = None) -> ImgmoveError:
        """The reason of a failure that the host did not give: a full disk is the likely one."""
        if (space := self.free_space(posixpath.dirname(path) or ".")) is not None and space < 1 << 20:
            return ServerRefused(f"{self.name}: {path}: no space left on the device")
        return error or ServerRefused(f"{self.name}: {path}: it can't be made")

    # --- what is below

    def _reader(self, path: str, offset: int, size: int | None) -> RemoteReader:
        *others, last = names_of(self.lanes.first(), _plain(path))
        try:
            for name in others:
                with contextlib.suppress(NotFound):
                    return self._begun(name, offset, size)
            return self._begun(last, offset, size)
        except SftpFailure as error:
            found = self.status(path)
            if found is not None and found.is_folder:
                raise UsageError(f"{self.name}: {path}: it is a folder") from None
            raise error from None

    def _begun(self, path: str, offset: int, size: int | None) -> RemoteReader:
        reader = RemoteReader(self, path, offset, size)
        reader.begin()
        return reader

    def _checked(self, path: str) -> str:
        """A path that may be written; what lies in the folder from killed runs is removed meanwhile, the first time.

        A link is followed, not replaced, as on this machine.
        """
        path = _plain(path)
        found, is_link = self.again(lambda: self.lanes.first().look(path))
        if found is not None and not (found.is_file or found.is_folder):
            raise ServerRefused(f"{self.name}: {path}: it is a device or pipe, not a file")
        if is_link:
            path = self.again(lambda: self.lanes.first().real_path(path))
        self._leftovers.sweep(posixpath.dirname(path))
        return path

    def again(self, ask: Callable[[], Result]) -> Result:
        """Asks once more over a new connection when one broke; for what may be asked twice."""
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(NetworkError):
                return ask()
            if self.lanes.is_closed:
                break
        return ask()


def _plain(path: str) -> str:
    """A path as SFTP has it, where all that is relative is below the home folder."""
    if path in ("~", ".", ""):
        return "."
    return path[2:].lstrip("/") or "." if path.startswith("~/") else path
