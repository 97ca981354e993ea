"""Reading ahead: a thread reads while another hashes and writes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from imgmove.engine.run import Run
from imgmove.ports import Reader
from imgmove.streams import BLOCK

READ_AHEAD_FROM = 1 << 20
"""Bytes of a blob from which a thread of its own pays."""

_DEPTH = 8
_LEAST_DEPTH = 2


def read_ahead(run: Run, raw: Reader) -> ReadAhead | None:
    """Begins to read ahead as far as there is memory for it; None where there is hardly any."""
    depth = run.budget.take(_DEPTH, BLOCK)
    if depth < _LEAST_DEPTH:
        run.budget.give_back(depth * BLOCK)
        return None
    return ReadAhead(raw, depth, lambda: run.budget.give_back(depth * BLOCK))


class ReadAhead:
    """Reads in a thread of its own, a few blocks ahead of whoever takes them.

    Args:
        raw: what is read; closed in the end.
        depth: how many blocks may wait.
        ended: called when no more blocks are read.
    """

    def __init__(self, raw: Reader, depth: int = _DEPTH, ended: Callable[[], None] = lambda: None) -> None:
        self._raw = raw
        self._depth = depth
        self._ended = ended
        self._blocks: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._is_at_end = False
        self._is_closed = False
        threading.Thread(target=self._work, name="imgmove-ahead", daemon=True).start()

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; what went wrong while reading is raised where it stands among them."""
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        with self._changed:
            while not self._blocks:
                if self._error is not None:
                    raise self._error
                if self._is_at_end or self._is_closed:
                    return b""
                self._changed.wait()
            self._changed.notify_all()
            return popped(self._blocks, size)

    def close(self) -> None:
        """Ends the thread at its next block; it closes what it reads from."""
        with self._changed:
            self._is_closed = True
            self._blocks.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            while self._is_room() and (block := self._raw.read(BLOCK)):
                with self._changed:
                    if not self._is_closed:
                        self._blocks.append(block)
                    self._changed.notify_all()
            with self._changed:
                self._is_at_end = True
                self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - it is raised again where the bytes are taken
            with self._changed:
                self._error = error
                self._changed.notify_all()
        finally:
            self._raw.close()
            self._ended()

    def _is_room(self) -> bool:
        """Waits until there is room for one block more; False when nobody wants it."""
        with self._changed:
            while len(self._blocks) >= self._depth and not self._is_closed:
                self._changed.wait()
            return not self._is_closed


def popped(blocks: deque[bytes], size: int) -> bytes:
    """The next bytes of a queue of blocks that is not empty, no more than ``size`` of them."""
    block = blocks.popleft()
    if size < len(block):
        blocks.appendleft(block[size:])
        block = block[:size]
    return block
