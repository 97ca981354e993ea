"""What channels carry: never more than the host has room for, and all of it."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import paramiko
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.wire.ssh.buffers import with_chunks
from imgmove.wire.ssh.contents import Outlet, feed, feed_stderr, wait_for, widen


class Way:
    """A transport that keeps what goes over it."""

    def __init__(self) -> None:
        self.pieces: deque[bytes] = deque()
        self.came = threading.Semaphore(0)

    def get_log_channel(self) -> str:
        return "paramiko"

    def _sanitize_packet_size(self, size: int) -> int:
        return size

    def _unlink_channel(self, _number: int) -> None:
        """There is no list of channels."""

    def _send_user_message(self, message: Any) -> None:
        for parts in message.pieces():
            self.pieces.append(b"".join(parts[3:]))
            self.came.release()


def channel(window: int, most: int = 1 << 15, timeout: float | None = 5.0) -> tuple[Any, Way]:
    """A channel to a host with so much room."""
    found: Any = paramiko.Channel(1)
    way = Way()
    found._set_transport(way)
    found._set_window(1 << 20, 1 << 15)
    found._set_remote_channel(2, window, most)
    found.settimeout(timeout)
    return with_chunks(found), way


def number(value: int) -> paramiko.Message:
    return paramiko.Message(value.to_bytes(4, "big"))


@given(st.integers(100, 5_000), st.integers(100, 2_000), st.binary(max_size=60), st.binary(min_size=1, max_size=20_000))
def test_no_more_than_there_is_room_for(window: int, most: int, head: bytes, content: bytes) -> None:
    found, way = channel(window, most)
    outlet = Outlet(found)

    def send() -> None:
        view, first = memoryview(content), head
        while view:
            view, first = view[outlet.send(view, first) :], b""

    sender = threading.Thread(target=send)
    sender.start()
    got = b""
    while len(got) < len(head) + len(content):
        assert way.came.acquire(timeout=5)
        piece = way.pieces.popleft()
        assert 0 < len(piece) <= most - 64
        got += piece
        assert len(piece) + sum(map(len, list(way.pieces))) <= window
        widen(found, number(len(piece)))
    sender.join()
    assert got == head + content


def test_little_room_is_used_when_no_more_comes_in_time() -> None:
    found, way = channel(800, timeout=0.05)
    outlet = Outlet(found)
    assert outlet.send(memoryview(bytes(797))) == 797
    assert outlet.send(memoryview(bytes(50))) == 3
    with pytest.raises(TimeoutError):
        outlet.send(memoryview(bytes(50)))
    widen(found, number(4))
    with pytest.raises(TimeoutError):
        outlet.send(memoryview(bytes(50)), b"head")
    assert sum(map(len, way.pieces)) == 800


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_nobody_waits_for_room_in_a_closed_channel(timeout: float | None) -> None:
    found, _ = channel(0, timeout=timeout)
    threading.Timer(0.05, found._unlink).start()
    with pytest.raises(EOFError):
        Outlet(found).send(memoryview(b"x"))


class Arrived:
    """A message with content."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def get_binary(self) -> memoryview:
        return memoryview(self._content)


@given(st.lists(st.binary(min_size=1, max_size=500), min_size=1, max_size=20), st.integers(1, 3_000))
def test_whoever_waits_gets_as_much_as_is_wanted(pieces: list[bytes], wanted: int) -> None:
    found, _ = channel(1 << 20)
    content = b"".join(pieces)

    def come() -> None:
        for piece in pieces:
            feed(found, Arrived(piece))
        found.in_buffer.close()

    comer = threading.Thread(target=come)
    comer.start()
    got = b""
    while len(got) < len(content):
        wait_for(found, wanted)
        part = found.in_buffer.read(wanted)
        assert len(part) == min(wanted, len(content) - len(got))
        got += part
    comer.join()
    assert got == content


def test_what_came_in_time_is_given_though_it_is_less() -> None:
    found, _ = channel(1 << 20, timeout=0.05)
    with pytest.raises(TimeoutError):
        wait_for(found, 5)
    feed(found, Arrived(b"abc"))
    wait_for(found, 5)
    assert found.in_buffer.read(5) == b"abc"


@pytest.mark.parametrize("is_stderr", [False, True])
def test_more_than_a_host_may_send_is_not_kept(is_stderr: bool) -> None:
    found, _ = channel(1 << 20)
    message = paramiko.Message()
    if is_stderr:
        message.add_int(1)
    message.add_string(bytes(1 << 20))

    def come() -> None:
        message.rewind()
        (feed_stderr if is_stderr else feed)(found, message)

    for _ in range(2):
        come()
    with pytest.raises(paramiko.SSHException, match="sends more than it may"):
        come()
