"""Keeping all threads together below a rate of bytes per second."""

from __future__ import annotations

import threading
import time

_BURST = 0.1
"""Seconds of traffic that may flow at once: enough to make up for waits that last a little too long."""


class RateLimit:
    """A token bucket that a tenth of a second's traffic fits into; safe for many threads.

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
            # Whatever was not used before is gone, so a pause does not allow a flood.
            self._free_at = max(self._free_at, now - _BURST) + count / self._rate
            return max(0.0, self._free_at - now)
