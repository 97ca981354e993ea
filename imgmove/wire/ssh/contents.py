"""What channels carry (RFC 4254, section 5.2), taken and given in larger pieces than paramiko's, with fewer copies.

Whoever waits for content, or for room to send some, is woken when there is as much as is wanted, not for each packet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_LARGEST = 256 << 10
"""Bytes that are sent at a time."""
_PART_OF_WINDOW = 8
"""The part of a host's window that is waited for; less would be sent in small pieces, more would leave the way empty."""
_OVERHEAD = 64
"""Bytes of a packet that hold no content; what paramiko reckons with."""
_CONTENT = bytes([94])
"""The kind of a message that holds a channel's content (RFC 4250, section 4.1.2)."""


class Content:
    """A channel's content that came in a message, or goes to the host in as many as it takes.

    Args:
        channel: its number, which is the host's for what goes there.
        head: goes before the content.
        most: bytes that the host takes in one message.
    """

    def __init__(self, channel: bytes | memoryview, content: memoryview, head: bytes = b"", most: int = 0) -> None:
        self._channel = channel
        self._content = content
        self._head = head
        self._most = most
        self.seqno = 0

    @classmethod
    def arrived(cls, payload: memoryview) -> Content:
        """What came, behind the kind of the message.

        Raises:
            ValueError: it is not as long as it says.
        """
        if int.from_bytes(payload[4:8], "big") != len(payload) - 8:
            raise ValueError("a message is not as long as it says")
        return cls(payload[:4], payload[8:])

    def get_int(self) -> int:
        """The channel that it came over."""
        return int.from_bytes(self._channel, "big")

    def get_binary(self) -> bytes | memoryview:
        """What came."""
        return self._content

    def pieces(self) -> Iterator[list[bytes | memoryview]]:
        """The messages, each in its parts."""
        left, head = self._content, self._head
        while left:
            room = self._most - len(head)
            piece, left = left[:room], left[room:]
            yield [_CONTENT, self._channel, (len(head) + len(piece)).to_bytes(4, "big"), head, piece]
            head = b""


class Outlet:
    """Where a channel's content goes. For one thread at a time.

    Args:
        channel: paramiko's.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._to = channel.remote_chanid.to_bytes(4, "big")
        self._most = channel.out_max_packet_size - _OVERHEAD
        self._wanted = max(1, min(_LARGEST, channel.out_window_size // _PART_OF_WINDOW))

    def send(self, content: memoryview, head: bytes = b"") -> int:
        """Sends the head and as much of the content as there is room for; returns how many bytes of it those were.

        Raises:
            EOFError: the channel is closed.
            TimeoutError: there is no room in time.
        """
        channel = self._channel
        with channel.lock:
            channel.wanted = wanted = max(min(self._wanted, len(content)), len(head) + 1)
            channel.out_buffer_cv.wait_for(lambda: self._is_over or channel.out_window_size >= wanted, channel.timeout)
            if self._is_over:
                raise EOFError
            size: int = min(channel.out_window_size - len(head), len(content), _LARGEST)
            if size <= 0:
                raise TimeoutError
            channel.out_window_size -= len(head) + size
        # Not under the lock: it may have to wait until new keys are agreed on.
        channel.transport._send_user_message(Content(self._to, content[:size], head, self._most))
        return size

    @property
    def _is_over(self) -> bool:
        return bool(self._channel.closed or self._channel.eof_sent)


def widen(channel: Any, message: Any) -> None:
    """Makes room for what the host is willing to take, and wakes whoever waits for so much."""
    with channel.lock:
        channel.out_window_size += message.get_int()
        if channel.out_window_size >= getattr(channel, "wanted", 0):
            channel.out_buffer_cv.notify_all()


def feed(channel: Any, message: Any) -> None:
    """Gives a channel what came, and wakes whoever waits for so much.

    Raises:
        paramiko.SSHException: more lies there unread than the host may send.
    """
    content = message.get_binary()
    pipe = channel.in_buffer
    with pipe._lock:
        pipe._buffer.frombytes(content)
        if len(pipe._buffer) >= getattr(pipe._buffer, "wanted", 0):
            pipe._cv.notify_all()
    _check_room(channel, pipe)


def feed_stderr(channel: Any, message: Any) -> None:
    """Gives a channel what came beside its content.

    Raises:
        paramiko.SSHException: as `feed`.
    """
    channel._feed_extended(message)
    _check_room(channel, channel.in_stderr_buffer)


def _check_room(channel: Any, pipe: Any) -> None:
    # Once more than the window, as hosts may reckon otherwise; paramiko keeps whatever comes.
    if len(pipe) > 2 * channel.in_window_size:
        import paramiko

        raise paramiko.SSHException("it sends more than it may")


def wait_for(channel: Any, size: int) -> None:
    """Waits until so much has come over a channel that keeps it in chunks, it ends, or no more comes in time.

    Raises:
        TimeoutError: nothing has come.
    """
    pipe = channel.in_buffer
    with pipe._lock:
        chunks = pipe._buffer
        chunks.wanted = size
        pipe._cv.wait_for(lambda: len(chunks) >= size or pipe._closed, channel.timeout)
        chunks.wanted = 0
        if not len(chunks) and not pipe._closed:
            raise TimeoutError
