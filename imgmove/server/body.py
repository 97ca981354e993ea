"""Request bodies, read straight from the connection, so that no upload is ever held as a whole."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Protocol

from imgmove.errors import Truncated
from imgmove.server.exchange import Refusal

BLOCK = 1 << 18
"""Bytes read or sent at once; measured: smaller costs throughput, larger gains none."""

_LONGEST_LINE = 4096
_MOST_TRAILERS = 32


class BodyInput(Protocol):
    """The part of `io.BufferedReader` that bodies are read with."""

    def read1(self, size: int = -1, /) -> bytes: ...
    def readline(self, size: int | None = -1, /) -> bytes: ...


class KnownBody:
    """A body whose length the client announced; of length 0 when there is none."""

    def __init__(self, connection: BodyInput, size: int, on_first_read: Callable[[], None]) -> None:
        self._connection = connection
        self._left = size
        self._on_first_read: Callable[[], None] | None = on_first_read
        self.size: int | None = size
        self.received = 0

    @property
    def is_finished(self) -> bool:
        """Whether everything was read."""
        return self._left == 0

    def read(self, size: int = -1, /) -> bytes:
        """What is at hand, at most a block unless all is asked for.

        Raises:
            Truncated: the client went away.
        """
        if size < 0:
            return _read_to_end(self)
        if not self._left or not size:
            return b""
        if self._on_first_read:
            self._on_first_read()
            self._on_first_read = None
        data = self._connection.read1(min(size, self._left, BLOCK))
        if not data:
            raise Truncated(f"the client went away with {self._left} bytes of the body missing")
        self._left -= len(data)
        self.received += len(data)
        return data

    def close(self) -> None:
        """Does nothing: the connection outlives the body."""


class ChunkedBody:
    """A body in chunks (RFC 9112, *Chunked Transfer Coding*); however large a chunk, it is read in blocks."""

    size: int | None = None

    def __init__(self, connection: BodyInput, on_first_read: Callable[[], None]) -> None:
        self._connection = connection
        self._on_first_read: Callable[[], None] | None = on_first_read
        self._left = 0
        self._is_first = True
        self.is_finished = False
        self.received = 0

    def read(self, size: int = -1, /) -> bytes:
        """As `KnownBody.read`.

        Raises:
            Truncated: the client went away.
            Refusal: that is no chunk.
        """
        if size < 0:
            return _read_to_end(self)
        if self.is_finished or not size:
            return b""
        if self._on_first_read:
            self._on_first_read()
            self._on_first_read = None
        if not self._left and not self._begin_chunk():
            return b""
        data = self._connection.read1(min(size, self._left, BLOCK))
        if not data:
            raise Truncated("the client went away in the midst of a chunk")
        self._left -= len(data)
        self.received += len(data)
        return data

    def close(self) -> None:
        """Does nothing: the connection outlives the body."""

    def _begin_chunk(self) -> bool:
        if not self._is_first and self._line():
            raise Refusal(400, "UNSUPPORTED", "a chunk is longer than it says")
        self._is_first = False
        text = self._line().partition(b";")[0].strip()
        # int() would also take signs, underscores and 0x, which another server on the way may read otherwise.
        if not text or len(text) > 16 or text.strip(b"0123456789abcdefABCDEF"):
            raise Refusal(400, "UNSUPPORTED", "a chunk without a size")
        self._left = int(text, 16)
        if self._left == 0:
            self._skip_trailers()
            self.is_finished = True
        return not self.is_finished

    def _skip_trailers(self) -> None:
        for _ in range(_MOST_TRAILERS):
            if not self._line():
                return
        raise Refusal(400, "UNSUPPORTED", "too many trailers")

    def _line(self) -> bytes:
        line = self._connection.readline(_LONGEST_LINE)
        if not line:
            raise Truncated("the client went away between two chunks")
        if not line.endswith(b"\n"):
            raise Refusal(400, "UNSUPPORTED", "a chunk's size line is too long")
        return line.rstrip(b"\r\n")


def _read_to_end(body: KnownBody | ChunkedBody) -> bytes:
    everything = io.BytesIO()
    while block := body.read(BLOCK):
        everything.write(block)
    return everything.getvalue()
