"""This machine, as a place where engines run: its programs and its sockets."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence

from imgmove.errors import AccessDenied, LocalError, NetworkError, ServerRefused

NOT_RUNNING = "is the engine installed and running? ?socket=PATH names the socket of another one, such as a user's own"
"""What to do where nothing listens at a socket."""

_LARGEST_COMPLAINT = 4096
_GRACE = 3.0
"""Seconds that a program gets to end by itself."""


class LocalMachine:
    """The machine that this process runs on.

    Args:
        timeout: seconds without a byte after which a socket counts as stalled.
    """

    label = ""

    def __init__(self, timeout: float = 60.0) -> None:
        self._timeout = timeout

    def start(self, words: Sequence[str]) -> LocalCommand:
        """Starts a program, with no shell between."""
        return LocalCommand(words)

    def connect(self, path: str) -> socket.socket:
        """Opens a unix socket."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self._timeout)
            connection.connect(path)
        except OSError as error:
            connection.close()
            raise _no_socket(path, error) from error
        return connection

    @contextlib.contextmanager
    def listening(self, take: Callable[[socket.socket], None]) -> Iterator[int]:
        """Listens on a loopback port that nobody used."""
        try:
            listener = socket.create_server(("127.0.0.1", 0))
        except OSError as error:
            raise ServerRefused(f"can't listen on 127.0.0.1: {error.strerror}") from error
        thread = threading.Thread(target=_accept, args=(listener, take), name="imgmove-listen", daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            # A close alone would not wake the one that waits.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join()


def _accept(listener: socket.socket, take: Callable[[socket.socket], None]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        take(connection)


def _no_socket(path: str, error: OSError) -> LocalError | AccessDenied | NetworkError:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return LocalError(f"nothing listens at {path}", hint=NOT_RUNNING)
    if isinstance(error, PermissionError):
        return AccessDenied(f"no right to use the socket {path}", hint="as root, or as a member of the socket's group")
    return NetworkError(f"the socket {path} can't be reached: {error.strerror or error}")


class LocalCommand:
    """A process of ours. What it says on stderr goes to a temporary file, so that it never waits for a reader."""

    def __init__(self, words: Sequence[str]) -> None:
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the command
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the words are ours, names in them are checked
                list(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints
            )
        except OSError as error:
            self._complaints.close()
            if isinstance(error, FileNotFoundError):
                raise LocalError(f"the program {words[0]} is not installed") from error
            raise LocalError(f"the program {words[0]} can't be started: {error.strerror}") from error

    def write(self, data: bytes, /) -> None:
        """Feeds its input."""
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def flush(self) -> None:
        """Sends on what waits."""
        assert self._process.stdin is not None
        self._process.stdin.flush()

    def end_input(self) -> None:
        """Closes its input."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def read(self, size: int = -1, /) -> bytes:
        """What it prints, as it comes."""
        output = self._process.stdout
        assert output is not None
        return output.read() if size < 0 else output.read1(size)  # type: ignore[attr-defined]

    def wait(self) -> tuple[int, str]:
        """How it ended."""
        status = self._process.wait()
        self._complaints.seek(0, 2)
        self._complaints.seek(max(0, self._complaints.tell() - _LARGEST_COMPLAINT))
        return status, self._complaints.read().decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Ends it unless it has ended: without input and output it should, and then leaves nothing of its own behind."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # What waits to be sent is not: the program may have stopped reading for good.
        self._process.stdin.raw.close()  # type: ignore[attr-defined]
        self._process.stdout.close()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._complaints.close()
