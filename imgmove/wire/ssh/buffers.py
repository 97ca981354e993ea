"""Buffers in place of paramiko's, which cost more than the encryption: one system call and two copies less a packet."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import paramiko

_READ = 256 << 10
_LARGE = 8 << 10
_MOST_SMALL_ONES = 8
"""Pieces after the last large one until no content seems to be coming any more."""


class BufferedSocket:
    """A socket that takes what has come in large pieces, and gives it out in the small ones that are asked for.

    It does so while content comes in. While it goes out, what comes are thousands of short answers, and taking many of
    them at once would have whoever sends wait for the interpreter and then for room in the host's window.

    Args:
        dialed: the socket, or what stands in for it.
    """

    def __init__(self, dialed: Any) -> None:
        self._socket = dialed
        self._buffer = memoryview(bytearray(_READ))
        self._unread = self._buffer[:0]
        self._small_ones = _MOST_SMALL_ONES

    def recv(self, size: int) -> bytes:
        """The next bytes; fewer than asked for when fewer have come."""
        self._small_ones = 0 if size >= _LARGE else self._small_ones + 1
        if not self._unread:
            if self._small_ones >= _MOST_SMALL_ONES:
                return bytes(self._socket.recv(size))
            self._unread = self._buffer[: self._socket.recv_into(self._buffer)]
        data, self._unread = self._unread[:size], self._unread[size:]
        return bytes(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class Chunks:
    """What came over a channel, as it came: a stand-in for the array in which paramiko moves all of it at each read."""

    def __init__(self, content: bytes = b"") -> None:
        self._chunks = deque([content] if content else [])
        self._size = len(content)

    def frombytes(self, data: bytes) -> None:
        """Adds what came."""
        self._chunks.append(data)
        self._size += len(data)

    def tobytes(self) -> bytes:
        """All of it."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

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
    with pipe._lock:  # noqa: SLF001 - its only way to be safe against the thread that fills it
        pipe._buffer = Chunks(pipe._buffer.tobytes())  # noqa: SLF001
    return channel
