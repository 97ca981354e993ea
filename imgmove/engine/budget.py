"""How much memory all read-ahead of a process may take together."""

from __future__ import annotations

import threading


class Budget:
    """Bytes that may be held for later; whoever gets none goes on without.

    Args:
        size: bytes in all. The libraries alone cost about 50 MiB, and the whole is to stay under 100.
    """

    def __init__(self, size: int = 32 << 20) -> None:
        self._left = size
        self._lock = threading.Lock()

    def take(self, most: int, unit: int) -> int:
        """Takes up to ``most`` times ``unit`` bytes; returns how many times, perhaps 0. Never waits."""
        with self._lock:
            count = min(most, self._left // unit)
            self._left -= count * unit
            return count

    def give_back(self, size: int) -> None:
        """Returns so many bytes."""
        with self._lock:
            self._left += size
