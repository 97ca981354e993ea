"""Buffers in place of paramiko's, which cost more than the encryption: one system call and two copies less a packet."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import paramiko

_SIZE = 512 << 10
"""Bytes of a connection's buffer; no packet is as large."""
_SMALL = 4 << 10
"""Bytes of a piece that is worth keeping as it is."""


class BufferedSocket:
    """A socket that takes what has come in large pieces, and gives it out in the small ones that are asked for.

    Args:
        dialed: the socket, or what stands in for it.

    Attributes:
        heard: when something came the last time, by `time.monotonic`.
    """

    def __init__(self, dialed: Any) -> None:
        self.heard = time.monotonic()
        self._socket = dialed
        self._buffer = memoryview(bytearray(_SIZE))
        self._begin = self._end = 0
        # What stands in for a socket may only have the method that hands out its own bytes.
        self._receive_into = getattr(dialed, "recv_into", self._copied)

    @property
    def is_begun(self) -> bool:
        """Whether something has come that nobody took."""
        return self._begin < self._end

    def take(self, size: int) -> memoryview:
        """The next bytes, all that are asked for; they are there until the next call.

        Raises:
            EOFError: the connection has ended before.
            TimeoutError: not so many have come yet; what has is kept.
        """
        while self._end - self._begin < size:
            if not self._receive(size):
                raise EOFError
        self._begin += size
        return self._buffer[self._begin - size : self._begin]

    def recv(self, size: int) -> bytes:
        """The next bytes; fewer than asked for when fewer have come, and none at the end."""
        if not self.is_begun and not self._receive(1):
            return b""
        return bytes(self.take(min(size, self._end - self._begin)))

    def _receive(self, size: int) -> int:
        if self._begin == self._end:
            self._begin = self._end = 0
        elif self._begin + size > _SIZE:
            left = bytes(self._buffer[self._begin : self._end])
            self._begin, self._end = 0, len(left)
            self._buffer[: self._end] = left
        got = int(self._receive_into(self._buffer[self._end :]))
        self._end += got
        self.heard = time.monotonic()
        return got

    def _copied(self, buffer: memoryview) -> int:
        data = self._socket.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class Chunks:
    """What came over a channel, as it came: a stand-in for the array in which paramiko moves all of it at each read."""

    def __init__(self, content: bytes = b"") -> None:
        self._chunks: deque[bytes | bytearray | memoryview] = deque([content] if content else [])
        self._size = len(content)
        self.wanted = 0

    def frombytes(self, data: bytes | bytearray | memoryview) -> None:
        """Adds what came; small pieces to one another, as each would take much more memory than it is long."""
        self._size += len(data)
        if len(data) >= _SMALL:
            self._chunks.append(data)
        elif self._chunks and isinstance(last := self._chunks[-1], bytearray) and len(last) < _SMALL:
            last += data
        else:
            self._chunks.append(bytearray(data))

    def tobytes(self) -> bytes:
        """All of it."""
        return bytes(self._chunks[0]) if len(self._chunks) == 1 else b"".join(self._chunks)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> Chunks:
        """The beginning."""
        if part.stop is None or part.stop >= self._size:
            return self
        found, left = Chunks(), part.stop
        for chunk in self._chunks:
            found.frombytes(chunk[:left])
            left -= len(chunk)
            if left <= 0:
                break
        return found

    def __delitem__(self, part: slice) -> None:
        """Takes the beginning away."""
        left = self._size if part.stop is None else min(part.stop, self._size)
        self._size -= left
        while left:
            chunk = self._chunks.popleft()
            if len(chunk) > left:
                self._chunks.appendleft(chunk[left:])
                return
            left -= len(chunk)


def with_chunks(channel: paramiko.Channel) -> paramiko.Channel:
    """Has a channel keep what comes in chunks; it may have begun to come."""
    pipe: Any = channel.in_buffer
    # Against the thread that fills it.
    with pipe._lock:
        pipe._buffer = Chunks(pipe._buffer.tobytes())
    return channel
