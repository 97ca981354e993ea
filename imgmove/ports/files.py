"""Where file formats live: files on this machine or another, and programs there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from imgmove.ports.readers import Reader


class ByteStream(Protocol):
    """A connection that carries bytes both ways, with the words that sockets have for it."""

    def sendall(self, data: bytes, /) -> object: ...

    def recv(self, size: int, /) -> bytes: ...

    def settimeout(self, seconds: float | None, /) -> object: ...

    def close(self) -> object: ...


class Command(Protocol):
    """A command that runs. Its output has to be read before it can be waited for."""

    def write(self, data: bytes, /) -> object:
        """Feeds its input.

        Raises:
            BrokenPipeError: it takes no more.
        """
        ...

    def flush(self) -> object: ...

    def end_input(self) -> None:
        """Nothing more will be written; safe to call twice."""
        ...

    def read(self, size: int = -1, /) -> bytes:
        """What it prints."""
        ...

    def wait(self) -> tuple[int, str]:
        """Its exit status and what it said on stderr, once it has ended."""
        ...

    def close(self) -> None:
        """Ends it, if it still runs; safe to call twice."""
        ...


class Machine(Protocol):
    """A computer on which an engine runs: this one, or another one over SSH."""

    @property
    def label(self) -> str:
        """What people call it; empty for this one."""
        ...

    def start(self, words: Sequence[str]) -> Command:
        """Starts a command.

        Raises:
            LocalError: there is no such program.
        """
        ...

    def connect(self, path: str) -> ByteStream:
        """Opens a unix socket there.

        Raises:
            LocalError, AccessDenied, NetworkError: it can't be had.
        """
        ...

    def listening(self, take: Callable[[ByteStream], None]) -> AbstractContextManager[int]:
        """Listens on its loopback address for as long as the block lasts, on the port that it gives.

        Args:
            take: called with each connection, which is then its to close; from another thread, and quick.

        Raises:
            ServerRefused: it allows no such thing.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileStatus:
    """What `Files.status` tells. ``size`` is in bytes, 0 for folders."""

    is_folder: bool
    size: int
    modified: float


class FileWriter(Protocol):
    """A file that comes to be under a temporary name; for several threads as long as their ranges differ."""

    def write_at(self, offset: int, data: bytes) -> None: ...

    def read_at(self, offset: int, size: int) -> bytes:
        """What was written before; fewer bytes at the end."""
        ...

    @property
    def size(self) -> int: ...

    def truncate(self, size: int) -> None: ...

    def commit(self, path: str = "") -> None:
        """Flushes to the disk and renames to the final name, replacing what was there.

        Args:
            path: a final name in the same file system, where it was not known at the beginning.
        """
        ...

    def abort(self) -> None:
        """Removes the temporary file; safe after `commit`."""
        ...

    def keep(self) -> None:
        """Closes the file and leaves it for a later `Files.resume`; safe after `commit`."""
        ...


class ReadableFiles(Protocol):
    """Files that can be read: of a file system, or the members of an archive.

    Paths are texts with ``/`` between their parts. Errors are `NotFound` for what is absent, `LocalError` here and
    `NetworkError` or `AccessDenied` on another host.
    """

    def open(self, path: str, offset: int = 0) -> Reader: ...

    def read_at(self, path: str, offset: int, size: int) -> bytes: ...

    def status(self, path: str) -> FileStatus | None:
        """None when nothing is there. Symbolic links are followed."""
        ...

    def list(self, path: str) -> Sequence[str]:
        """The names in a folder, sorted; none when the folder is absent. Files that are being written don't show."""
        ...


@runtime_checkable
class PartOpener(Protocol):
    """Files of which more than is wanted would come in vain, so that it has to be said how much that is."""

    def open_part(self, path: str, offset: int, size: int) -> Reader:
        """The ``size`` bytes from ``offset`` on, or fewer where the file ends."""
        ...


@dataclass(frozen=True, slots=True)
class FilePart:
    """Bytes of a file: ``size`` of them from ``offset`` on, or all when ``size`` is None."""

    path: str
    offset: int = 0
    size: int | None = None


@runtime_checkable
class PartHasher(Protocol):
    """Files that lie where reading them is dear, and that may be hashed there."""

    def hash_parts(self, parts: Sequence[FilePart], algorithm: str) -> Iterator[tuple[FilePart, str]]:
        """The hexadecimal hash of each part, in any order; what can't be hashed there is left out."""
        ...


class Files(ReadableFiles, Protocol):
    """A file system, here or on another host."""

    def make_folder(self, path: str) -> None:
        """With its parents; fine when it is there."""
        ...

    def write(self, path: str, content: bytes) -> None:
        """Replaces a small file in one step."""
        ...

    def create(self, path: str) -> FileWriter:
        """Begins a file that appears at ``path`` when committed."""
        ...

    def resume(self, path: str, key: str) -> FileWriter:
        """Goes on with a file that an earlier run left unfinished, or begins it.

        While another process or thread writes it, this waits until that one is done with it; whether it did the
        work then has to be looked at.

        Args:
            key: letters and digits that stand for the content, and ``-`` with a word for what belongs to it.
        """
        ...

    def forget_others(self, path: str, key: str) -> None:
        """Removes what was left for the same path under other keys, unless somebody is writing it."""
        ...

    def remove(self, path: str) -> None:
        """Fine when it is not there."""
        ...

    def lock(self, path: str) -> AbstractContextManager[None]:
        """Keeps other processes (and threads) that lock the same path waiting. Something has to lie there."""
        ...

    def free_space(self, path: str) -> int | None:
        """Bytes that can still be written below ``path``; None when nobody knows."""
        ...
