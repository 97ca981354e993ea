"""What flows through an SSH connection: streams that stand in for sockets, and the programs that run over there."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from imgmove.wire.ssh.contents import Outlet, wait_for
from imgmove.wire.ssh.errors import ConnectionBroke, printable, translated

if TYPE_CHECKING:
    import paramiko

_MOST_SAID = 16 << 10
_LISTEN_BLOCK = 4 << 10


class RemoteStream(io.RawIOBase):
    """A channel as a socket: what HTTP clients and servers need of one. For one reader and one writer at a time.

    Args:
        channel: paramiko's.
        name: of the host, for messages.
        closed: called once, when it is closed.
    """

    def __init__(self, channel: paramiko.Channel, name: str, closed: Callable[[], None] = lambda: None) -> None:
        self.channel = channel
        self.name = name
        self._on_close = closed
        self._outlet = Outlet(channel)
        # urllib3 counts the files over a socket there, as the standard library does.
        self._io_refs = 0

    def _decref_socketios(self) -> None:
        self._io_refs -= 1

    # --- as a socket

    def recv(self, size: int) -> bytes:
        """The next bytes; none at the end.

        Raises:
            NetworkError: nothing came in time, or the connection broke.
        """
        with translated(self.name):
            data = self.channel.recv(size)
        if not data and not self.channel.eof_received:
            raise ConnectionBroke(f"the connection to {self.name} broke")
        return data

    def recv_much(self, size: int) -> bytes:
        """The next bytes: all that are asked for, fewer only when no more come in time or at all.

        Raises:
            NetworkError: none came in time, or the connection broke.
        """
        with translated(self.name):
            wait_for(self.channel, size)
        return self.recv(size)

    def sendall(self, data: bytes | memoryview, head: bytes = b"") -> None:
        """Sends all of the bytes, a short head before them."""
        view = memoryview(data).cast("B")
        with translated(self.name):
            while view:
                view, head = view[self._outlet.send(view, head) :], b""

    def settimeout(self, seconds: float | None) -> None:
        """How long to wait for bytes to come, or for room to send; None waits as long as the connection lasts."""
        if not self.channel.closed:
            self.channel.settimeout(seconds)

    def setsockopt(self, *_: object) -> None:
        """Channels have no options."""

    def shutdown(self, _how: int = 2) -> None:
        """Says that nothing more will be sent."""
        with contextlib.suppress(OSError, EOFError):
            self.channel.shutdown_write()

    def makefile(self, mode: str = "r", buffering: int = -1, **_: Any) -> Any:
        """A file over the stream, in bytes, which may be closed without ending it."""
        raw = _Borrowed(self)
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        if buffering == 0:
            return raw
        return io.BufferedWriter(raw, size) if "w" in mode else io.BufferedReader(raw, size)

    # --- as a raw file

    def readable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """The next bytes into a buffer."""
        view = memoryview(buffer).cast("B")
        data = self.recv(len(view))
        view[: len(data)] = data
        return len(data)

    recv_into = readinto

    def write(self, data: Any, /) -> int:
        """Sends all of the bytes."""
        view = memoryview(data).cast("B")
        self.sendall(view)
        return len(view)

    def send(self, data: Any) -> int:
        """Sends all of the bytes."""
        return self.write(data)

    def close(self) -> None:
        """Ends the stream; safe to call twice."""
        if not self.closed:
            super().close()
            with contextlib.suppress(Exception):
                self.channel.close()
            self._on_close()


class _Borrowed(io.RawIOBase):
    """A stream for somebody who closes what he is done with."""

    def __init__(self, stream: RemoteStream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """The next bytes into a buffer."""
        return self._stream.readinto(buffer)

    def write(self, data: Any, /) -> int:
        """Sends all of the bytes."""
        return self._stream.write(data)


class RemoteProcess:
    """A program that runs on the other host: its stdin, stdout, stderr and exit status. A context manager.

    For one reader and one writer at a time, as its output has to be read while its input is written.
    """

    def __init__(self, stream: RemoteStream) -> None:
        self.stream = stream
        self._said = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def write(self, data: bytes | memoryview) -> None:
        """Sends bytes to its stdin, waiting while it takes none."""
        self.stream.sendall(data)

    def close_input(self) -> None:
        """Ends its stdin."""
        self.stream.shutdown()

    def read(self, size: int) -> bytes:
        """The next bytes of its stdout, none at the end."""
        self._listen()
        return self.stream.recv(size)

    def wait(self) -> int:
        """Waits until it ends, however long that takes; returns its exit status, -1 where the host tells none."""
        channel = self.stream.channel
        self.stream.settimeout(None)
        while self.stream.recv(_LISTEN_BLOCK):
            self._listen()
        with translated(self.stream.name):
            status = channel.recv_exit_status()
        self._listen()
        if status < 0 and (channel.transport is None or not channel.transport.is_active()):
            raise ConnectionBroke(f"the connection to {self.stream.name} broke")
        return status

    @property
    def said(self) -> str:
        """The beginning of what it wrote to stderr so far, in one line."""
        self._listen()
        return printable(self._said.decode("utf-8", "replace"))

    def close(self) -> None:
        """Ends it, or forgets it when it has ended; safe to call twice."""
        self.stream.close()

    def _listen(self) -> None:
        """Takes what came on stderr, which would otherwise fill the channel's window."""
        channel = self.stream.channel
        while channel.recv_stderr_ready():
            data = channel.recv_stderr(_LISTEN_BLOCK)
            self._said += data[: max(0, _MOST_SAID - len(self._said))]
