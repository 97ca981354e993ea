"""HTTP over any stream of bytes (a unix socket, an SSH channel), as engines speak it.

It is the standard library's: requests knows no unix sockets, and docker's own SDK reads the environment by itself and
has no way to say how it connects.
"""

from __future__ import annotations

import contextlib
import http.client
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from imgmove.errors import LocalError, MalformedContent, NetworkError, ServerRefused, Truncated
from imgmove.model.manifest import read_json
from imgmove.ports import ByteStream

_LONGEST_WORK = 3600.0
"""Seconds after which nobody still works on what was asked for."""

_LARGEST_ANSWER = 16 << 20
_LONGEST_STORY = 1 << 30
"""Bytes that are told of work while it goes on, some for each layer each moment."""
_LAST_WORDS = 64 << 10
_BLOCK = 256 << 10


class StreamHttp:
    """Asks one server, each request over a stream of its own or one that an earlier request has finished with.

    Args:
        connect: opens a stream to the server.
        label: what people call the server, for messages.
    """

    def __init__(self, connect: Callable[[], ByteStream], label: str) -> None:
        self._connect = connect
        self._label = label
        self._idle: list[_Connection] = []
        self._has_answered = False

    def ask(self, method: str, path: str) -> tuple[int, bytes]:
        """Sends a request without a body, for a quick answer; returns the status and the whole answer.

        Raises:
            NetworkError: the connection broke.
        """
        connection, is_fresh = self._taken()
        try:
            with self._translated():
                try:
                    response = connection.exchange(method, path, None)
                except (OSError, http.client.HTTPException):
                    # What lay idle may have been closed by the server meanwhile.
                    connection.close()
                    if is_fresh:
                        raise
                    connection = self._connected()
                    response = connection.exchange(method, path, None)
                content = response.read(_LARGEST_ANSWER)
        except BaseException:
            connection.close()
            raise
        self._has_answered = True
        self._give_back(connection, response)
        return response.status, content

    def order(self, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Has the server do something that may take long, by a POST without a body that is sent once.

        Returns:
            The status, and the last words of the answer.

        Raises:
            NetworkError: the connection broke.
        """
        with contextlib.closing(self._connected()) as connection, self._translated():
            connection.be_patient()
            response = connection.exchange("POST", path, headers)
            return response.status, _last_words(response)

    def open(self, path: str) -> tuple[int, AnswerReader]:
        """Asks for something large; its bytes come as they are read."""
        connection = self._connected()
        try:
            with self._translated():
                # Much may have to be gathered before the first byte comes.
                connection.be_patient()
                response = connection.exchange("GET", path, None)
        except BaseException:
            connection.close()
            raise
        return response.status, AnswerReader(connection, response, self._label)

    def upload(self, path: str, headers: Mapping[str, str] | None = None) -> Upload:
        """Begins a POST whose body is written in pieces."""
        connection = self._connected()
        try:
            with self._translated():
                connection.putrequest("POST", path)
                for name, value in {"Transfer-Encoding": "chunked", **(headers or {})}.items():
                    connection.putheader(name, value)
                connection.endheaders()
        except BaseException:
            connection.close()
            raise
        return Upload(connection, self._label)

    def close(self) -> None:
        """Closes what lies idle."""
        while self._idle:
            self._idle.pop().close()

    def _taken(self) -> tuple[_Connection, bool]:
        try:
            return self._idle.pop(), False
        except IndexError:
            return self._connected(), True

    def _connected(self) -> _Connection:
        with self._translated():
            return _Connection(self._connect())

    def _give_back(self, connection: _Connection, response: http.client.HTTPResponse) -> None:
        if response.isclosed() and not response.will_close:
            self._idle.append(connection)
        else:
            connection.close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with translated(self._label):
                yield
        except (LocalError, ServerRefused) as error:
            if not self._has_answered:
                raise
            # Who answered before and is gone now is being started again.
            raise NetworkError(error.message, hint=error.hint) from error


@contextlib.contextmanager
def translated(label: str) -> Iterator[None]:
    """Turns what sockets and the library raise into a `NetworkError`."""
    try:
        yield
    except TimeoutError as error:
        raise NetworkError(f"{label} did not answer in time") from error
    except (OSError, http.client.HTTPException, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else ""
        raise NetworkError(f"the connection to {label} broke" + (f": {reason}" if reason else "")) from error


class _Connection(http.client.HTTPConnection):
    def __init__(self, stream: ByteStream) -> None:
        super().__init__("engine")
        self.sock = _AsSocket(stream)

    def exchange(self, method: str, path: str, headers: Mapping[str, str] | None) -> http.client.HTTPResponse:
        self.request(method, path, headers=dict(headers or {}))
        return self.getresponse()

    def be_patient(self) -> None:
        """Waits for long: work on gigabytes gives no sign of life, and a server that hangs for good gives none either."""
        self.sock.settimeout(_LONGEST_WORK)

    def connect(self) -> None:
        # The stream was there before the connection; a closed one is never opened again behind our back.
        raise ConnectionError("the connection was closed")


class _AsSocket:
    """The few words of a socket that the library uses."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._files = 0
        self._is_closed = False

    def sendall(self, data: bytes, /) -> None:
        self._stream.sendall(data)

    def settimeout(self, seconds: float | None, /) -> None:
        self._stream.settimeout(seconds)

    def makefile(self, mode: str, *_: Any, **__: Any) -> io.BufferedReader:  # noqa: ARG002 - as a socket's
        self._files += 1
        return io.BufferedReader(_RawInput(self._stream, self._file_closed), _BLOCK)

    def close(self) -> None:
        """As of a socket: the stream ends when the last file over it is closed too."""
        self._is_closed = True
        if not self._files:
            self._stream.close()

    def _file_closed(self) -> None:
        self._files -= 1
        if self._is_closed and not self._files:
            self._stream.close()


class _RawInput(io.RawIOBase):
    def __init__(self, stream: ByteStream, closed: Callable[[], None]) -> None:
        self._stream = stream
        self._when_closed: Callable[[], None] | None = closed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        super().close()
        tell, self._when_closed = self._when_closed, None
        if tell is not None:
            tell()


class AnswerReader:
    """The body of an answer."""

    def __init__(self, connection: _Connection, response: http.client.HTTPResponse, label: str) -> None:
        self._connection = connection
        self._response = response
        self._label = label

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes.

        Raises:
            NetworkError, Truncated: the connection ended before the answer did.
        """
        with translated(self._label):
            try:
                return self._response.read() if size < 0 else self._response.read1(size)
            except http.client.IncompleteRead as error:
                raise Truncated(f"{self._label} ended before its answer did") from error

    def close(self) -> None:
        """Ends the connection."""
        self._response.close()
        self._connection.close()


class Upload:
    """A body on its way. After a failure the server's answer, if one came, says more than the broken connection.

    The last piece waits for the end: docker takes an archive for whole when its last block has come, even where the body
    that it came in breaks off after it.

    Attributes:
        is_broken: the server stopped listening before the end.
        is_whole: all of it was sent.
    """

    def __init__(self, connection: _Connection, label: str) -> None:
        self._connection = connection
        self._label = label
        self._waiting = b""
        self.is_broken = False
        self.is_whole = False

    def write(self, data: bytes, /) -> None:
        """Sends the next bytes.

        Raises:
            BrokenPipeError: the server stopped listening; `finish` may tell why.
        """
        if data:
            # Nothing at first, which a server that has hung up would refuse all the same.
            if self._waiting:
                self._send(self._waiting)
            self._waiting = b"%x\r\n%b\r\n" % (len(data), data)

    def flush(self) -> None:
        """What waits is for the end."""

    def _send(self, data: bytes) -> None:
        try:
            self._connection.send(data)
        except TimeoutError as error:
            raise NetworkError(f"{self._label} stopped taking data") from error
        except OSError as error:
            self.is_broken = True
            raise BrokenPipeError from error

    def finish(self) -> tuple[int, bytes]:
        """Ends the body; returns the status and the last words of the answer."""
        with translated(self._label):
            self._connection.be_patient()
            if not self.is_broken:
                with contextlib.suppress(BrokenPipeError):
                    self._send(self._waiting + b"0\r\n\r\n")
                    self.is_whole = True
            # Not through the connection, which listens only after a body that it sent itself.
            response = http.client.HTTPResponse(self._connection.sock, method="POST")
            with contextlib.closing(response):
                response.begin()
                content, status = _last_words(response), response.status
        self.close()
        return status, content

    def close(self) -> None:
        """Ends the connection; a server that has not got the whole body forgets it."""
        self._connection.close()


def _last_words(response: http.client.HTTPResponse) -> bytes:
    """The end of an answer that tells of work as long as that goes on, and says at last how it ended."""
    kept = b""
    left = _LONGEST_STORY
    while left > 0 and (data := response.read(_LAST_WORDS)):
        kept = (kept + data)[-_LAST_WORDS:]
        left -= len(data)
    if left <= 0:
        raise MalformedContent("an answer without end")
    return kept


def json_lines(content: bytes) -> Iterator[dict[str, Any]]:
    """The objects of a stream of JSON lines, such as engines answer with; other lines are passed over."""
    for line in content.splitlines():
        with contextlib.suppress(MalformedContent):
            value = read_json(line)
            if isinstance(value, dict):
                yield value
