"""Manners toward one registry: so many requests a second, and none that would use up what it still allows.

Docker Hub and others say in ``RateLimit-Remaining`` how much is left (IETF draft *RateLimit header fields for HTTP*).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timedelta

from imgmove.engine.run import Run
from imgmove.errors import Interrupted, QuotaReached
from imgmove.mirror.config import RegistryRules
from imgmove.model.reference import HUB
from imgmove.ports import Note

_NUMBER = re.compile(r"\s*(\d{1,12})")
_WINDOW = re.compile(r";\s*w=(\d{1,9})")
_PARTS_OF_WINDOW = 24
_SHORTEST_WAIT = 1.0
_LONGEST_WAIT = 86400.0


class Gate:
    """Stands before one registry, for both sides and all threads.

    Args:
        run: is told when the pass waits and when it goes on; ends a wait when it is cancelled.
        workers: how many others keep to the same limits elsewhere.
    """

    def __init__(self, host: str, rules: RegistryRules, run: Run, workers: int = 1) -> None:
        self._host = host
        self._rules = rules
        self._rate = rules.requests_per_second / workers if rules.requests_per_second is not None else None
        self._run = run
        self._lock = threading.Lock()
        self._free_at = 0.0
        self._remaining: int | None = None
        self._resume_at: float | None = None

    def before(self, method: str, place: str) -> None:
        """Waits for its turn.

        Raises:
            QuotaReached: the floor is reached, and the rest is to be left for later.
            Interrupted: the run was cancelled meanwhile.
        """
        if self._rules.ratelimit_floor is not None and self._counts(method, place):
            self._respect_floor(self._rules.ratelimit_floor)
        if self._rate is not None:
            self._wait(self._turn(self._rate))

    def after(self, headers: Mapping[str, str]) -> None:
        """Learns what is left, if the registry says so."""
        remaining = _NUMBER.match(headers.get("ratelimit-remaining", ""))
        if remaining is None or self._rules.ratelimit_floor is None:
            return
        with self._lock:
            self._remaining = int(remaining.group(1))
            if self._remaining >= self._rules.ratelimit_floor:
                self._resume_at = None
            elif self._resume_at is None:
                self._resume_at = time.monotonic() + _seconds(headers)
                self._tell(self._remaining, self._resume_at - time.monotonic())

    def _counts(self, method: str, place: str) -> bool:
        """Docker Hub counts manifests that are fetched, and nothing else; others count whatever they are asked."""
        return self._host != HUB or (method == "GET" and "/manifests/" in place)

    def _turn(self, rate: float) -> float:
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + 1 / rate
            return self._free_at - 1 / rate - now

    def _respect_floor(self, floor: int) -> None:
        while True:
            with self._lock:
                remaining, resume_at = self._remaining, self._resume_at
            if remaining is None or resume_at is None:
                return
            if not self._rules.waits_at_floor:
                raise QuotaReached(
                    f"{self._host} allows {remaining} more requests, which is below the floor of {floor}",
                    hint="the next pass goes on",
                )
            self._wait(resume_at - time.monotonic())
            with self._lock:
                if self._resume_at == resume_at:
                    # Whoever asks next finds out what is left now.
                    self._resume_at = self._remaining = None

    def _wait(self, seconds: float) -> None:
        if seconds > 0 and self._run.cancelled.wait(seconds):
            raise Interrupted

    def _tell(self, remaining: int, seconds: float) -> None:
        said = f"{self._host} allows {remaining} more requests, below the floor of {self._rules.ratelimit_floor}"
        if self._rules.waits_at_floor:
            at = datetime.now().astimezone() + timedelta(seconds=seconds)
            self._run.observer.on(Note(f"{said}: waiting, going on at {at:%H:%M:%S}"))
        else:
            self._run.observer.on(Note(f"{said}: the rest is left for the next pass"))


def _seconds(headers: Mapping[str, str]) -> float:
    """How long to wait: until the reset that is told, else a part of the window, which slides."""
    if reset := _NUMBER.match(headers.get("ratelimit-reset", "")):
        told = float(reset.group(1))
    else:
        window = _WINDOW.search(headers.get("ratelimit-remaining", "") + headers.get("ratelimit-limit", ""))
        told = (float(window.group(1)) if window else 3600.0) / _PARTS_OF_WINDOW
    return min(max(_SHORTEST_WAIT, told), _LONGEST_WAIT)
