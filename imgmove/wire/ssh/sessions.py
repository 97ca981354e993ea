"""How many sessions a host takes at a time: sshd's MaxSessions, which is found out by being refused."""

from __future__ import annotations

import threading
import time

from imgmove.wire.ssh.errors import NoSession

_LINGER = 2.0
"""Seconds that a host may need to end a session that we closed; until then it still counts."""

_PAUSE = 0.05

_USUAL = 10
"""What sshd allows unless somebody says otherwise (man sshd_config, MaxSessions)."""


class Sessions:
    """Counts the open sessions of one connection, and keeps those waiting for whom there is none."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._limit = _USUAL
        self._open = 0
        self._asked = 0
        self._changed = threading.Condition()
        self._last_end = float("-inf")

    @property
    def limit(self) -> int:
        """How many the host takes, as far as is known."""
        return self._limit

    def take(self, patience: float) -> None:
        """Waits until there is room for one more, which it then has.

        Args:
            patience: seconds.

        Raises:
            NoSession: there was none in time.
        """
        end = time.monotonic() + patience
        with self._changed:
            while self._open + self._asked >= self._limit:
                if not self._changed.wait(end - time.monotonic()):
                    raise self._none()
            self._asked += 1

    def granted(self) -> None:
        """The host took the one that was given room."""
        with self._changed:
            self._asked -= 1
            self._open += 1

    def given_up(self) -> None:
        """The one that was given room was never begun."""
        with self._changed:
            self._asked -= 1
            self._changed.notify()

    def give_back(self) -> None:
        """One that was granted has ended."""
        with self._changed:
            self._open -= 1
            self._last_end = time.monotonic()
            self._changed.notify()

    def refused(self) -> None:
        """The host did not take the one that was given room; it will not take so many again.

        Raises:
            NoSession: it takes none at all.
        """
        with self._changed:
            self._asked -= 1
            is_lingering = time.monotonic() - self._last_end < _LINGER
            if not is_lingering and self._open:
                self._limit = min(self._limit, self._open)
            elif is_lingering or self._asked:
                # What we ended is not ended there yet, or another thread is about to be let in.
                self._changed.wait(_PAUSE)
            else:
                raise self._none()

    def _none(self) -> NoSession:
        return NoSession(f"{self._name} takes no further session", hint="its sshd limits them by MaxSessions")
