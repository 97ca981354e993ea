"""One SFTP session: requests that are sent without waiting for the answers of earlier ones, and a thread that hands them out.

That is what makes distant hosts fast. How much is under way is for whoever asks to bound.
"""

from __future__ import annotations

import struct
import threading
import time
from concurrent.futures import Future

from imgmove.errors import AccessDenied, ImgmoveError, NetworkError, NotFound, ServerRefused
from imgmove.wire.ssh.connection import SshConnection
from imgmove.wire.ssh.errors import GREETING, ConnectionBroke, NoSession, printable, translated
from imgmove.wire.ssh.sftp_messages import (
    DATA,
    EXTENDED,
    INIT,
    NO_SUCH_FILE,
    OK,
    PERMISSION,
    STATUS,
    VERSION,
    Parts,
    packed_text,
)
from imgmove.wire.ssh.streams import RemoteStream

Answer = Future[tuple[int, bytes]]
"""The kind of an answer and what it says, once it has come."""

_WINDOW = 16 << 20
_LARGEST_ANSWER = 1 << 20
_HEAD = 9
"""Bytes of an answer's size, kind and number."""
_LENGTH = 4
"""Bytes of the length in front of content."""
_SLACK = 0.1


class SftpFailure(ServerRefused):
    """The host's SFTP server says that something failed, and not why."""


class SftpSession:
    """Requests and their answers. Safe for many threads.

    Args:
        patience: seconds to wait while the host takes no further session; None for the usual.

    Attributes:
        extensions: those that the server has, by name.
    """

    def __init__(self, connection: SshConnection, *, patience: float | None = None) -> None:
        self.name = connection.name
        self._connection = connection
        self._patience = connection.timeout
        self._stream = _subsystem(connection, patience)
        self._sending = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: dict[int, Answer] = {}
        self._number = 0
        self._broken: ImgmoveError | None = None
        self._last_sign = time.monotonic()
        self._is_greeted = False
        self.extensions: dict[str, bytes] = {}
        try:
            self._stream.sendall(struct.pack(">IBI", 5, INIT, 3))
            self._greet()
            self._is_greeted = True
        except BaseException:
            self._stream.close()
            raise
        threading.Thread(target=self._receive, name="imgmove-sftp", daemon=True).start()

    @property
    def is_broken(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._broken is not None

    def end(self) -> None:
        """Ends the session."""
        self._break(ConnectionBroke("the command has ended"))
        self._stream.close()

    def _greet(self) -> None:
        kind, _, body = self._answer()
        if kind != VERSION:
            raise ServerRefused(f"{self.name} does not speak SFTP")
        parts = Parts(body)
        while parts.is_left:
            name = parts.text().decode("utf-8", "replace")
            self.extensions[name] = parts.text()

    def _extended(self, name: str, rest: bytes = b"") -> Answer:
        return self._ask(EXTENDED, packed_text(name) + rest)

    def _ask(self, kind: int, body: bytes, data: bytes | memoryview = b"") -> Answer:
        answer: Answer = Future()
        with self._lock:
            if self._broken is not None:
                raise self._broken
            self._number = (self._number + 1) & 0xFFFFFFFF
            number = self._number
            if not self._waiting:
                self._last_sign = time.monotonic()
            self._waiting[number] = answer
        head = struct.pack(">IBI", 5 + len(body) + len(data), kind, number) + body
        try:
            with self._sending:
                if data:
                    self._stream.sendall(data, head)
                else:
                    self._stream.sendall(head)
        except ImgmoveError as error:
            self._break(error)
            raise
        return answer

    def _done(self, answer: Answer, path: str) -> tuple[int, bytes]:
        return self._checked(*answer.result(), path)

    def _checked(self, kind: int, body: bytes, path: str) -> tuple[int, bytes]:
        if kind != STATUS:
            return kind, body
        parts = Parts(body)
        code = parts.number()
        where = f"{self.name}: {path}"
        if code == OK:
            return kind, body
        if code == NO_SUCH_FILE:
            raise NotFound(f"{where}: no such file or folder")
        if code == PERMISSION:
            raise AccessDenied(f"{where}: permission denied")
        said = printable(parts.text().decode("utf-8", "replace")) if parts.is_left else ""
        raise SftpFailure(f"{where}: {said.lower() or f'SFTP error {code}'}")

    def _receive(self) -> None:
        try:
            while True:
                kind, number, body = self._answer()
                with self._lock:
                    answer = self._waiting.pop(number, None)
                if answer is not None:
                    answer.set_result((kind, body))
        except ImgmoveError as error:
            self._break(error)
        finally:
            self._stream.close()

    def _break(self, error: ImgmoveError) -> None:
        with self._lock:
            self._broken = self._broken or error
            waiting, self._waiting = list(self._waiting.values()), {}
        for answer in waiting:
            answer.set_exception(error)

    def _answer(self) -> tuple[int, int, bytes]:
        """The next answer: its kind, its number (at first the version), and the rest."""
        size, kind, number = struct.unpack(">IBI", self._exactly(_HEAD))
        if not _HEAD - 4 <= size <= _LARGEST_ANSWER:
            raise ServerRefused(
                f"{self.name} sends what is no SFTP",
                hint=GREETING,
            )
        left = size - _HEAD + 4
        if kind == DATA:
            # Content without its length, which would cost another copy to take off.
            length = self._exactly(min(left, _LENGTH))
            left -= len(length)
            if length != struct.pack(">I", left):
                raise ConnectionBroke("an SFTP message has not the length that it says")
        return kind, number, self._exactly(left)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._received(size - len(data))
            if not more:
                raise ConnectionBroke(f"the connection to {self.name} broke")
            data = data + more if data else more
        return data

    def _received(self, size: int) -> bytes:
        """What comes next, however long nobody asked for anything."""
        while True:
            try:
                data = self._stream.recv_much(size)
            except NetworkError as error:
                if not isinstance(error.__cause__, TimeoutError):
                    raise
                if self._is_stalled():
                    self._connection.drop_if_silent()
                    raise
            else:
                self._last_sign = time.monotonic()
                return data

    def _is_stalled(self) -> bool:
        """Whether somebody waits, and nothing came for too long."""
        with self._lock:
            silent = time.monotonic() - self._last_sign
            return (bool(self._waiting) or not self._is_greeted) and silent > self._patience - _SLACK


def _subsystem(connection: SshConnection, patience: float | None) -> RemoteStream:
    stream = connection.open_session(_WINDOW, patience=patience)
    try:
        stream.settimeout(connection.timeout)
        with translated(connection.name):
            stream.channel.invoke_subsystem("sftp")
    except ConnectionBroke:
        stream.close()
        if connection.is_alive:
            raise ServerRefused(
                f"{connection.name} offers no SFTP", hint="its sshd_config needs: Subsystem sftp internal-sftp"
            ) from None
        raise
    except NoSession:
        raise
    except BaseException:
        stream.close()
        raise
    return stream
