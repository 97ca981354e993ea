"""How a command runs: how many things at once, how patiently, and who hears of it. Never what moves."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from imgmove.engine.budget import Budget
from imgmove.engine.limit import RateLimit
from imgmove.errors import ImgmoveError, Interrupted, ServerError, Throttled
from imgmove.ports import BytesMoved, Observer, Reader, Retrying, Silence
from imgmove.streams import WatchedReader

Result = TypeVar("Result")

_MOST_LESSONS = 8
"""In a row, without any progress; nobody has more to teach."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long.

    Attributes:
        retries: how many times in a row something may fail without any progress before it is given up.
        first_delay: seconds before the first new try; doubled each time, with jitter.
        longest_delay: seconds; also the longest that a server's ``Retry-After`` is obeyed.
    """

    retries: int = 5
    first_delay: float = 0.5
    longest_delay: float = 60.0

    def delay(self, failures: int, error: ImgmoveError) -> float:
        """Seconds to wait after so many failures in a row."""
        asked = error.delay if isinstance(error, Throttled | ServerError) else None
        if asked is not None:
            return min(max(asked, 0.0), self.longest_delay)
        ceiling = min(self.longest_delay, self.first_delay * 2.0 ** min(failures - 1, 16))
        # Full jitter would allow no wait at all; half keeps clients apart and still gives the server a pause.
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreading load needs no secrecy


@dataclass(frozen=True)
class Run:
    """What every part of the engine shares during one command.

    Attributes:
        jobs: blobs in motion and requests under way at the same time.
        retry: the policy for whatever can be tried again.
        observer: hears of every event, from any thread.
        limit: keeps all blobs together below a rate; None for as fast as it goes.
        budget: the memory for reading ahead.
        cancelled: set to make all threads stop at their next block of bytes.
    """

    jobs: int = 32
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    observer: Observer = field(default_factory=Silence)
    limit: RateLimit | None = None
    budget: Budget = field(default_factory=Budget)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raises `Interrupted` when the command is to end."""
        if self.cancelled.is_set():
            raise Interrupted

    def watched(self, reader: Reader, key: str) -> Reader:
        """The reader, with every block told to the observer, held to the rate, and refused once cancelled."""
        return WatchedReader(reader, lambda count: self._moved(key, count))

    def _moved(self, key: str, count: int) -> None:
        self.check()
        self.observer.on(BytesMoved(key, count))
        if self.limit is not None and self.cancelled.wait(self.limit.reserve(count)):
            raise Interrupted

    def persist(self, what: str, attempt: Callable[[], Result], progress: Callable[[], int] = lambda: 0) -> Result:
        """Calls ``attempt`` until it succeeds, fails for good, or has failed too often without progress.

        Args:
            what: names the work, for the person who watches.
            attempt: the work; called again after errors that are transient.
            progress: a figure that grows when bytes arrive; growth makes the count of failures start anew.

        Raises:
            ImgmoveError: the last error.
        """
        patience = _Patience(self.retry, progress)
        while True:
            self.check()
            try:
                return attempt()
            except ImgmoveError as error:
                delay = patience.delay_after(error)
                if delay is None:
                    raise
                self.observer.on(Retrying(what, str(error), delay))
                if self.cancelled.wait(delay):
                    raise Interrupted from None


class _Patience:
    """Counts what went wrong in a row."""

    def __init__(self, policy: RetryPolicy, progress: Callable[[], int]) -> None:
        self._policy = policy
        self._progress = progress
        self._reached = progress()
        self._failures = self._lessons = 0

    def delay_after(self, error: ImgmoveError) -> float | None:
        """Seconds to wait before the next try; None when there is to be none."""
        if not error.is_transient:
            return None
        if (reached := self._progress()) > self._reached:
            self._reached, self._failures, self._lessons = reached, 0, 0
        if error.is_lesson and self._lessons < _MOST_LESSONS:
            self._lessons += 1
            return 0.0
        self._failures += 1
        return None if self._failures > self._policy.retries else self._policy.delay(self._failures, error)
