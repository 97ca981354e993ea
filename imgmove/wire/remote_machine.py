"""Another host over SSH, as a place where engines run: its programs, and what they pass through to its sockets."""

from __future__ import annotations

import contextlib
import re
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence

from imgmove.errors import AccessDenied, ImgmoveError, LocalError, NetworkError, ServerRefused
from imgmove.ports import ByteStream
from imgmove.wire.machine import NOT_RUNNING
from imgmove.wire.ssh import SshConnection
from imgmove.wire.ssh.errors import GREETING, printable
from imgmove.wire.ssh.listener import RemoteListener
from imgmove.wire.ssh.streams import RemoteProcess

_NOT_FOUND = 127
_TURN = 0.5
_HTTP = b"HTTP/"
_MOST_SHOWN = 200
_NOT_RUNNING = re.compile(r"dial unix (\S+): connect: (?:no such file|connection refused)")
_DENIED = ("permission denied", "access denied")


class RemoteMachine:
    """A host that we may run programs on."""

    def __init__(self, connection: SshConnection) -> None:
        self._connection = connection
        self.label = connection.name
        self._guard = threading.Lock()
        self._is_quiet = False

    def start(self, words: Sequence[str]) -> RemoteCommand:
        """Starts a program there, through the user's shell.

        Raises:
            ServerRefused: the shell itself prints something, which nobody could tell from what the program prints.
        """
        self._check_quiet()
        command = RemoteCommand(self._connection.execute(_joined(words)), words[0], self.label)
        # What unpacks gigabytes gives no sign of life; that the host is there the connection itself finds out.
        command.settimeout(None)
        return command

    def _check_quiet(self) -> None:
        with self._guard:
            if not self._is_quiet:
                with self._connection.execute("true") as process:
                    if said := process.read(_MOST_SHOWN):
                        raise _disturbed(self.label, said)
                self._is_quiet = True

    def connect(self, path: str) -> ByteStream:
        """Opens docker's socket there: docker's own command passes everything through, whoever may reach it."""
        address = ["-H", f"unix://{path}"] if path else []
        words = ["docker", *address, "system", "dial-stdio"]
        return DialedStream(RemoteCommand(self._connection.execute(_joined(words)), words[0], self.label))

    @contextlib.contextmanager
    def listening(self, take: Callable[[ByteStream], None]) -> Iterator[int]:
        """Has its sshd listen on a port of its loopback address."""
        try:
            listener = self._connection.listen()
        except AccessDenied as error:
            raise ServerRefused(error.message) from error
        thread = threading.Thread(target=_accept, args=(listener, take), name="imgmove-listen", daemon=True)
        thread.start()
        try:
            yield listener.port
        finally:
            listener.close()
            thread.join()


def _joined(words: Sequence[str]) -> str:
    """A command for whatever shell somebody has: between quotes csh looks for ``!``, and fish for backslashes."""
    return " ".join(re.sub(r"[\\!]", r"'\\\g<0>'", shlex.quote(word)) for word in words)


def _accept(listener: RemoteListener, take: Callable[[ByteStream], None]) -> None:
    # Closing the listener, or the end of the connection, is what ends it.
    with contextlib.suppress(ImgmoveError):
        while True:
            if (stream := listener.accept(_TURN)) is not None:
                take(stream)


class RemoteCommand:
    """A program that runs over there."""

    def __init__(self, process: RemoteProcess, name: str, host: str) -> None:
        self._process = process
        self._name = name
        self._host = host

    def write(self, data: bytes, /) -> None:
        """Feeds its input."""
        try:
            self._process.write(data)
        except ImgmoveError as error:
            if isinstance(error.__cause__, OSError | EOFError) and self._process.stream.channel.eof_received:
                # It ended by itself and says why on stderr; the connection is fine.
                raise BrokenPipeError from error
            raise

    def flush(self) -> None:
        """Nothing waits."""

    def end_input(self) -> None:
        """Closes its input."""
        self._process.close_input()

    def read(self, size: int = -1, /) -> bytes:
        """What it prints, as it comes."""
        if size >= 0:
            return self._process.read(size)
        return b"".join(iter(lambda: self._process.read(64 << 10), b""))

    def wait(self) -> tuple[int, str]:
        """How it ended."""
        status = self._process.wait()
        if status == _NOT_FOUND:
            raise LocalError(f"{self._host} has no program {self._name}", hint="or it is not on the PATH there")
        return status, self._process.said

    def settimeout(self, seconds: float | None, /) -> None:
        """How long to wait for bytes to come or to be taken."""
        self._process.stream.settimeout(seconds)

    def explained(self) -> ImgmoveError:
        """Why it ended."""
        status, said = self.wait()
        text = f"{self._host}: {self._name}: {said}" if said else f"{self._host}: {self._name} ended with {status}"
        if any(word in said.lower() for word in _DENIED):
            return AccessDenied(text)
        if dialed := _NOT_RUNNING.search(said):
            return ServerRefused(f"{self._host}: nothing listens at {dialed.group(1)}", hint=NOT_RUNNING)
        return ServerRefused(text) if status else NetworkError(text)

    def disturbed(self, data: bytes) -> ImgmoveError:
        """What to say where something else speaks first."""
        return _disturbed(self._host, data)

    def close(self) -> None:
        """Ends it, unless it has ended."""
        self._process.close()


def _disturbed(host: str, data: bytes) -> ImgmoveError:
    said = printable(data[:_MOST_SHOWN].decode("utf-8", "replace"))
    return ServerRefused(f"{host} greets with: {said}", hint=GREETING)


class DialedStream:
    """A socket behind a program that passes it through. If the program fails, its last words are the error."""

    def __init__(self, command: RemoteCommand) -> None:
        self._command = command
        self._has_heard = False

    def sendall(self, data: bytes, /) -> None:
        """Sends all of the bytes."""
        self._command.write(data)

    def recv(self, size: int, /) -> bytes:
        """The next bytes; none at the end."""
        data = self._command.read(size)
        if not self._has_heard:
            if not data:
                raise self._command.explained()
            if not data.startswith(_HTTP[: len(data)]):
                raise self._command.disturbed(data)
            self._has_heard = True
        return data

    def settimeout(self, seconds: float | None, /) -> None:
        """How long to wait for bytes."""
        self._command.settimeout(seconds)

    def close(self) -> None:
        """Ends the program."""
        self._command.close()
