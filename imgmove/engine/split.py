"""Large blobs over several connections.

One connection to a distant or throttled server carries only so much. When reading is what a large blob waits for,
further connections fetch parts that lie ahead; they are given out in order, so hashing and writing stay as they are.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from imgmove.engine.ahead import popped
from imgmove.engine.run import Run
from imgmove.errors import ImgmoveError, NetworkError
from imgmove.model.descriptor import Descriptor
from imgmove.ports import RangedSource, Reader
from imgmove.streams import BLOCK

OpenRange = Callable[[int, int], Reader | None]
"""Opens the bytes from one offset up to another; None when the server does not serve ranges."""

SPLIT_FROM = 8 << 20
"""Bytes that must be left for further connections to pay."""

_PART = 2 << 20
_MOST_LANES = 7
_FIRST_LANES = 3
"""Connections to begin with, so that the blobs of one image share the memory; each takes more as long as there is some."""
_FAST = 64 << 20
"""Bytes a second at which it is not the connection that holds us."""
_LOOKED_AT_AFTER = 0.1


def split(run: Run, source: object, descriptor: Descriptor, raw: Reader, offset: int) -> SplitReader | None:
    """Reads a blob's rest over several connections when one proves slow; None where that would not pay.

    Args:
        raw: the blob from ``offset`` on.
    """
    may_split = descriptor.size - offset >= SPLIT_FROM and run.limit is None
    if not may_split or not isinstance(source, RangedSource):
        return None
    return SplitReader(run, raw, partial(source.open_range, descriptor), offset, descriptor.size)


class SplitReader:
    """A large blob that is read over one connection, and over several as soon as that proves slow.

    The first connection has no thread of its own: what waits in the system's buffers is read ahead already, and on a
    connection so fast that hashing is what holds us, handing blocks over costs more than it gains.

    Args:
        run: gives patience to the parts, and the memory that they may take.
        first: the blob from ``start`` on; closed in the end.
        open_range: further connections.
        start: where ``raw`` begins.
        size: of the whole blob, in bytes.
    """

    def __init__(self, run: Run, first: Reader, open_range: OpenRange, start: int, size: int) -> None:
        self._run = run
        self._first = first
        self._waited = 0.0
        self._open_range = open_range
        self._start = self._position = start
        self._size = size
        self._boundary = size
        self._may_split = True
        self._parts: _Parts | None = None

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        if self._may_split and self._is_slow():
            self._split()
        left = self._boundary - self._position
        if self._parts is not None and left == 0:
            return self._parts.read(size)
        began = time.monotonic()
        try:
            data = self._first.read(min(size, left))
        except ImgmoveError as error:
            if self._parts is None or not error.is_transient:
                raise
            # Whoever begins anew would lose all that has come of the parts ahead.
            self._parts.put_first(self._position, self._boundary)
            self._boundary = self._position
            return self._parts.read(size)
        self._waited += time.monotonic() - began
        self._position += len(data)
        if self._parts is not None and self._position == self._boundary:
            self._first.close()
        return data

    def close(self) -> None:
        """Ends all connections."""
        self._first.close()
        if self._parts is not None:
            self._parts.close()

    def _is_slow(self) -> bool:
        if self._waited < _LOOKED_AT_AFTER or self._size - self._position < SPLIT_FROM:
            return False
        return (self._position - self._start) / self._waited < _FAST

    def _split(self) -> None:
        self._may_split = False
        lanes = self._run.budget.take(_FIRST_LANES, _PART)
        if not lanes:
            # Others have the memory now; there may be some later.
            self._may_split = True
            self._start, self._waited = self._position, 0.0
            return
        boundary = self._position + _PART
        try:
            opened = self._open_range(boundary, min(boundary + _PART, self._size))
        except ImgmoveError:
            opened = None
        if opened is None:
            self._run.budget.give_back(lanes * _PART)
            return
        self._boundary = boundary
        self._parts = _Parts(self._run, self._open_range, (boundary, self._size), lanes, opened)


class _Part:
    """A piece of a blob, on its way over a connection of its own."""

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.reached = start
        self.blocks: deque[bytes] = deque()
        self.error: BaseException | None = None


class _Parts:
    """Parts of one size in order, each fetched by one of several threads, no further ahead than there are threads.

    With each part that is begun there may be one thread more, until there are enough or no memory is left.
    """

    def __init__(self, run: Run, open_range: OpenRange, bounds: tuple[int, int], lanes: int, opened: Reader) -> None:
        self._run = run
        self._open_range = open_range
        start, end = bounds
        self._parts = deque(_Part(at, min(at + _PART, end)) for at in range(start, end, _PART))
        self._begun = 0
        self._lanes = self._working = lanes
        self._changed = threading.Condition()
        self._is_closed = False
        for number in range(lanes):
            arguments = (None if number else opened,)
            threading.Thread(target=self._work, args=arguments, name="imgmove-part", daemon=True).start()

    def put_first(self, start: int, end: int) -> None:
        """Fetches what lies before the parts too."""
        part = _Part(start, end)
        with self._changed:
            self._parts.appendleft(part)
            self._begun += 1
            self._working += 1
        threading.Thread(target=self._work_on, args=(part,), name="imgmove-part", daemon=True).start()

    def read(self, size: int) -> bytes:
        """The next bytes, in order."""
        with self._changed:
            while self._parts:
                part = self._parts[0]
                if part.blocks:
                    return popped(part.blocks, size)
                if part.error is not None:
                    raise part.error
                if part.reached == part.end:
                    self._parts.popleft()
                    self._begun -= 1
                    self._changed.notify_all()
                else:
                    self._changed.wait()
        return b""

    def close(self) -> None:
        """Ends the threads at their next block."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _work(self, opened: Reader | None) -> None:
        try:
            while (part := self._next()) is not None:
                self._fill(part, opened)
                opened = None
        finally:
            if opened is not None:
                opened.close()
            self._leave()

    def _work_on(self, part: _Part) -> None:
        try:
            self._fill(part, None)
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._changed:
            self._working -= 1
            is_last = not self._working
        if is_last:
            self._run.budget.give_back(self._lanes * _PART)

    def _next(self) -> _Part | None:
        with self._changed:
            while not self._is_closed and self._begun >= self._lanes:
                self._changed.wait()
            if self._is_closed or self._begun >= len(self._parts):
                return None
            part = self._parts[self._begun]
            self._begun += 1
            is_more_wanted = self._lanes < min(_MOST_LANES, len(self._parts))
            if is_more_wanted and self._run.budget.take(1, _PART):
                self._lanes += 1
                self._working += 1
                threading.Thread(target=self._work, args=(None,), name="imgmove-part", daemon=True).start()
            return part

    def _fill(self, part: _Part, opened: Reader | None) -> None:
        waiting = [opened] if opened is not None else []

        def attempt() -> None:
            if self._is_closed:
                return
            reader = waiting.pop() if waiting else self._open_range(part.reached, part.end)
            if reader is None:
                raise NetworkError("the server stopped serving ranges")
            try:
                self._take(part, reader)
            finally:
                reader.close()

        try:
            self._run.persist(f"reading from byte {part.start}", attempt, lambda: part.reached)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the bytes are taken
            with self._changed:
                part.error = error
                self._changed.notify_all()

    def _take(self, part: _Part, reader: Reader) -> None:
        while part.reached < part.end and not self._is_closed:
            block = reader.read(min(BLOCK, part.end - part.reached))
            if not block:
                raise NetworkError(f"a range ends {part.end - part.reached} bytes early")
            with self._changed:
                part.blocks.append(block)
                part.reached += len(block)
                self._changed.notify_all()
