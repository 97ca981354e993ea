"""Who does the work: threads of this process, or a Dask cluster."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

from imgmove.engine.run import Run
from imgmove.mirror.carry import Carrier
from imgmove.mirror.work import Result, Work, interleaved

_TICK = 0.2


class Executor(Protocol):
    """Does all of some work, in whatever order."""

    def run(self, works: Sequence[Work]) -> Iterator[Result]:
        """The results, as they come in; one for each work.

        Raises:
            Interrupted: the run was cancelled.
            ImgmoveError: nothing more can be done at all.
        """
        ...

    def close(self) -> None:
        """Gives back threads and connections; safe to call twice."""
        ...


class ThreadsExecutor:
    """A few works at a time; their questions and blobs share the session's threads.

    Args:
        side_by_side: how many; one looks at its images while another moves some.
    """

    def __init__(self, carrier: Carrier, run: Run, side_by_side: int = 4) -> None:
        self._carrier = carrier
        self._run = run
        self._side_by_side = side_by_side

    def run(self, works: Sequence[Work]) -> Iterator[Result]:
        """Takes turns among the destinations."""
        waiting: queue.SimpleQueue[Work] = queue.SimpleQueue()
        for work in interleaved(works):
            waiting.put(work)
        finished: queue.SimpleQueue[Result | BaseException] = queue.SimpleQueue()
        for number in range(min(self._side_by_side, len(works))):
            arguments = (waiting, finished)
            threading.Thread(target=self._work, args=arguments, name=f"imgmove-work-{number}", daemon=True).start()
        for _ in works:
            yield self._next(finished)

    def close(self) -> None:
        """Ends the carrier's threads."""
        self._carrier.close()

    def _work(self, waiting: queue.SimpleQueue[Work], finished: queue.SimpleQueue[Result | BaseException]) -> None:
        while True:
            try:
                work = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                finished.put(self._carrier.carry(work))
            except BaseException as error:  # noqa: BLE001 - a thread has nobody above it to raise to
                finished.put(error)
                return

    def _next(self, finished: queue.SimpleQueue[Result | BaseException]) -> Result:
        while True:
            self._run.check()
            try:
                # Short waits, so that a signal handler of the main thread gets its turn everywhere.
                result = finished.get(timeout=_TICK)
            except queue.Empty:
                continue
            if isinstance(result, BaseException):
                raise result
            return result
