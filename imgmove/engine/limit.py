"""Keeping all threads together below a rate of bytes per second."""

from __future__ import annotations

import threading
import time


class RateLimit:
    """A token bucket that a second of traffic fits into; safe for many threads.

    Args:
        rate: bytes per second.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = 0.0

    def reserve(self, count: int) -> float:
        """Takes room for so many bytes; returns the seconds to wait before the next ones may flow."""
        with self._lock:
            now = time.monotonic()
            # Whatever was not used in the last second is gone, so a pause does not allow a flood.
            self._free_at = max(self._free_at, now - 1.0) + count / self._rate
            return max(0.0, self._free_at - now)
