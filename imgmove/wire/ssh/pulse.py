"""Whether a host is still there while all that is asked of it may take as long as it likes, as when a program runs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable


class Pulse:
    """Asks a host for signs of life, which any answer is. One thread asks for them, another whether they stopped.

    What never gave one is not missed: there are servers that leave unknown questions without an answer.

    Args:
        ask: asks, and returns when the answer is there or the connection has ended.
        heard: when something came the last time, by `time.monotonic`.
        patience: seconds to wait for an answer.
    """

    def __init__(self, ask: Callable[[], object], heard: Callable[[], float], patience: float) -> None:
        self._ask = ask
        self._heard = heard
        self._patience = patience
        self._asked: float | None = None
        self._is_known = False

    def beat(self) -> None:
        """Asks, unless an answer is still awaited; nobody waits for it here, as the way may be blocked."""
        if self._asked is None:
            self._asked = time.monotonic()
            threading.Thread(target=self._beat, name="imgmove-pulse", daemon=True).start()

    @property
    def has_stopped(self) -> bool:
        """Whether nothing has come for too long since it was asked."""
        asked = self._asked
        return self._is_known and asked is not None and time.monotonic() - max(asked, self._heard()) > self._patience

    def _beat(self) -> None:
        # What goes wrong has ended the connection, which others hear of.
        with contextlib.suppress(Exception):
            self._ask()
            self._is_known = True
            self._asked = None
