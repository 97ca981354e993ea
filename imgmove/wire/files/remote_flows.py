"""How much of the process's memory each transfer from or to another host may have under way."""

from __future__ import annotations

import threading

IN_FLIGHT = 8 << 20
"""Bytes of one transfer that may be under way at a time, at most."""

WIDE_FROM = 1 << 20
"""Bytes from which a transfer is worth more than one session."""

_ALL_TOGETHER = 2 * IN_FLIGHT


class Flows:
    """The transfers of one host at the moment. Safe for many threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._count = 0

    def share(self) -> int:
        """Bytes that one transfer may have under way, so that all together stay within what a process may take."""
        return max(IN_FLIGHT // 32, min(IN_FLIGHT, _ALL_TOGETHER // max(1, self._count)))

    def began(self) -> None:
        """A transfer shares the memory from now on."""
        with self._guard:
            self._count += 1

    def ended(self) -> None:
        """It doesn't any more."""
        with self._guard:
            self._count -= 1
