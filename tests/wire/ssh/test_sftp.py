"""SFTP servers that lie, stall or speak something else, and what is made of them."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import paramiko
import pytest

from imgmove.errors import ImgmoveError, NetworkError, ServerRefused
from imgmove.wire.ssh import Sftp
from imgmove.wire.ssh.buffers import with_chunks
from imgmove.wire.ssh.contents import Content, widen
from imgmove.wire.ssh.sftp import READ
from imgmove.wire.ssh.sftp_messages import DATA, EOF, HANDLE, NAME, STATUS, VERSION, packed
from imgmove.wire.ssh.streams import RemoteStream

Reply = Callable[[int, int, bytes], bytes]
"""What a server says to a request's kind and number, and to the rest of it."""


class FakeChannel(paramiko.Channel):
    """A channel whose content goes over a socket as it is, without a transport around it."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__(1)
        self._socket = end
        fake: Any = self
        fake._set_transport(self)
        fake._set_window(1 << 20, 1 << 15)
        fake._set_remote_channel(1, 1 << 20, 1 << 15)
        with_chunks(self)
        threading.Thread(target=self._receive, daemon=True).start()

    def invoke_subsystem(self, subsystem: Any) -> None:
        assert subsystem == "sftp"

    def close(self) -> None:
        super().close()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _receive(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._socket.recv(1 << 16):
                self.in_buffer.feed(data)
        self.eof_received = True
        self.in_buffer.close()

    # --- as its own transport

    def get_log_channel(self) -> str:
        return "paramiko"

    def _sanitize_packet_size(self, size: int) -> int:
        return size

    def _send_user_message(self, message: Any) -> None:
        if isinstance(message, Content):
            for _, _, size, *content in message.pieces():
                data = b"".join(content)
                assert int.from_bytes(size, "big") == len(data) < 1 << 15
                self._socket.sendall(data)
                # What is taken makes room at once.
                widen(self, paramiko.Message(len(data).to_bytes(4, "big")))

    def _unlink_channel(self, _number: int) -> None:
        """There is no list of channels."""


class FakeConnection:
    """A host with one SFTP server, which answers as it is told."""

    name = "edge"

    def __init__(self, reply: Reply, greeting: bytes, timeout: float) -> None:
        self.timeout = timeout
        self.is_alive = True
        self._here, self._there = socket.socketpair()
        self._reply = reply
        self._greeting = greeting
        threading.Thread(target=self._serve, daemon=True).start()

    def open_session(self, _window: int = 0, *, patience: float | None = None) -> RemoteStream:
        channel: Any = FakeChannel(self._here)
        return RemoteStream(channel, self.name)

    def drop_if_silent(self) -> None:
        self.is_alive = False

    def _serve(self) -> None:
        with contextlib.suppress(OSError), self._there, self._there.makefile("rb") as file:
            file.read(9)
            self._there.sendall(self._greeting)
            while head := file.read(9):
                size, kind, number = struct.unpack(">IBI", head)
                if answer := self._reply(kind, number, file.read(size - 5)):
                    self._there.sendall(answer)

    def close(self) -> None:
        self._here.close()


def message(kind: int, number: int, body: bytes) -> bytes:
    return struct.pack(">IBI", 5 + len(body), kind, number) + body


GREETING = message(VERSION, 3, packed(b"posix-rename@openssh.com") + packed(b"1"))


@contextlib.contextmanager
def session(reply: Reply, greeting: bytes = GREETING, timeout: float = 20.0) -> Iterator[Sftp]:
    connection: Any = FakeConnection(reply, greeting, timeout)
    found = None
    try:
        found = Sftp(connection)
        yield found
    finally:
        if found is not None:
            found.end()
        connection.close()


def ended(number: int) -> bytes:
    return message(STATUS, number, struct.pack(">I", EOF))


def only_later(reply: Reply) -> Reply:
    """A server that tells the truth of ``.``, for which each session asks first."""

    def checked(kind: int, number: int, rest: bytes) -> bytes:
        return message(105, number, struct.pack(">I", 0)) if number == 1 else reply(kind, number, rest)

    return checked


@pytest.mark.parametrize("greeting", [b"Welcome to edge!\nHave a nice day\n", b"\xff" * 40, message(77, 3, b"")])
def test_what_is_no_sftp(greeting: bytes) -> None:
    with pytest.raises(ServerRefused) as caught, session(lambda *_: b"", greeting):
        pass
    assert "SFTP" in caught.value.message
    assert "\n" not in caught.value.message


def test_more_than_was_asked_for() -> None:
    long = only_later(lambda _, number, __: message(DATA, number, packed(bytes(100))))
    with session(long) as sftp, pytest.raises(NetworkError, match="more of /x than was asked for"):
        sftp.content(sftp.read(b"h", 0, 10), 10, "/x")


@pytest.mark.parametrize("size", [256, 257, 60_000])
def test_handles_are_short(size: int) -> None:
    long = only_later(lambda _, number, __: message(HANDLE, number, packed(bytes(size))))
    with session(long) as sftp:
        if size <= 256:
            assert sftp.open("/x", READ) == bytes(size)
        else:
            with pytest.raises(NetworkError, match="a handle that is none"):
                sftp.open("/x", READ)


@pytest.mark.parametrize("body", [b"", b"\0", packed(b"abc")[:-1], b"\xff\xff\xff\xff"])
def test_answers_that_end_too_early(body: bytes) -> None:
    for kind in (DATA, HANDLE, NAME, STATUS, 105):
        with session(only_later(lambda _, number, __, kind=kind: message(kind, number, body))) as sftp:  # type: ignore[misc]
            for ask in (lambda: sftp.open("/x", READ), lambda: list(sftp.list("/x")), lambda: sftp.status("/x")):
                with pytest.raises(ImgmoveError):
                    ask()


def test_names_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgmove.wire.ssh.sftp._MOST_NAMES", 12_000)
    entry = packed(b"name") + packed(b"") + struct.pack(">I", 0)
    many = struct.pack(">I", 5000) + entry * 5000

    def reply(kind: int, number: int, _rest: bytes) -> bytes:
        return message(HANDLE, number, packed(b"h")) if kind == 11 else message(NAME, number, many)

    with session(only_later(reply)) as sftp, pytest.raises(NetworkError, match="does not come to an end"):
        list(sftp.list("/x"))


@pytest.mark.parametrize("wrong", [7, 0, 0xFFFFFFFF])
def test_answers_to_what_nobody_asked_count_for_nothing(wrong: int) -> None:
    def reply(_kind: int, number: int, _rest: bytes) -> bytes:
        return message(DATA, number + wrong & 0xFFFFFFFF if wrong else 0, packed(b"no")) + message(
            DATA, number, packed(b"yes")
        )

    with session(only_later(reply)) as sftp:
        assert sftp.content(sftp.read(b"h", 0, 10), 10, "/x") == b"yes"


def test_a_server_that_falls_silent_is_given_up() -> None:
    with session(only_later(lambda *_: b""), timeout=0.2) as sftp:
        with pytest.raises(NetworkError, match="did not answer in time"):
            sftp.status("/x")
        assert sftp.is_broken
    with pytest.raises(NetworkError, match="did not answer in time"), session(lambda *_: b"", b"", timeout=0.2):
        pass


def test_a_slow_answer_is_waited_for_as_long_as_others_come() -> None:
    waiting: list[int] = []

    def reply(_kind: int, number: int, _rest: bytes) -> bytes:
        waiting.append(number)
        # The first question is answered last.
        return ended(number) + (ended(waiting[0]) if len(waiting) == 8 else b"") if len(waiting) > 1 else b""

    with session(only_later(reply), timeout=0.3) as sftp:
        late = sftp.read(b"h", 0, 10)
        for _ in range(7):
            threading.Event().wait(0.1)
            sftp.content(sftp.read(b"h", 0, 10), 10, "/x")
        assert sftp.content(late, 10, "/x") == b""
        # Nobody asks, so nobody is waited for.
        threading.Event().wait(0.5)
        assert not sftp.is_broken
