"""The threads of a command: one pool, a queue ordered by urgency, and groups of tasks that spawn further ones."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from imgmove.engine.run import Run

_TICK = 0.2

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Pool:
    """At most ``run.jobs`` daemon threads, started as they are needed.

    Daemon threads, because the interpreter must be able to leave while one of them hangs in a read: whatever a
    destination has not committed is invisible anyway.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._condition = threading.Condition()
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._threads = 0
        self._idle = 0
        self._is_closed = False

    def submit(self, task: Callable[[], None], *, urgency: int = 0) -> None:
        """Queues a task that does not raise. Greater urgency goes first; equals keep their order."""
        with self._condition:
            heapq.heappush(self._queue, (-urgency, next(self._order), task))
            if self._idle < len(self._queue) and self._threads < self.run.jobs:
                self._threads += 1
                threading.Thread(target=self._work, name=f"imgmove-{self._threads}", daemon=True).start()
            self._condition.notify()

    def close(self) -> None:
        """Lets the threads end when the queue is empty."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()

    def _work(self) -> None:
        while True:
            with self._condition:
                while not self._queue:
                    if self._is_closed:
                        return
                    self._idle += 1
                    self._condition.wait()
                    self._idle -= 1
                _, _, task = heapq.heappop(self._queue)
            task()
            # An idle thread would keep alive all that its last task knew of.
            del task


class TaskGroup:
    """Tasks of one purpose; each may spawn more, and `wait` returns when none is left.

    A task that raises ends alone: its error goes to the ``failed`` callback that it was spawned with.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._done = threading.Condition()
        self._open = 0

    def spawn(self, task: Callable[[], None], failed: Callable[[BaseException], None], *, urgency: int = 0) -> None:
        """Runs ``task`` in the pool; ``failed`` hears of whatever it raises, in that thread."""
        with self._done:
            self._open += 1

        def run() -> None:
            try:
                self._pool.run.check()
                task()
            except BaseException as error:  # noqa: BLE001 - a thread has nobody above it to raise to
                failed(error)
            finally:
                with self._done:
                    self._open -= 1
                    if not self._open:
                        self._done.notify_all()

        self._pool.submit(run, urgency=urgency)

    def wait(self) -> None:
        """Blocks until every task has ended, or the run is cancelled.

        Raises:
            Interrupted: the run was cancelled; tasks may still be ending.
        """
        with self._done:
            while self._open:
                # Short waits, so that a signal handler of the main thread gets its turn everywhere.
                self._done.wait(_TICK)
                if self._pool.run.cancelled.is_set():
                    break
        self._pool.run.check()


def each(pool: Pool, ask: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """Asks about all items side by side; not for use within a task of the pool.

    Returns:
        The answers in the order of the items.

    Raises:
        BaseException: the first that any of the questions raised.
    """
    answers: dict[int, Answer] = {}
    errors: list[BaseException] = []
    group = TaskGroup(pool)

    def answer(number: int, item: Item) -> None:
        if not errors:
            answers[number] = ask(item)

    for number, item in enumerate(items):
        group.spawn(partial(answer, number, item), errors.append)
    group.wait()
    if errors:
        raise errors[0]
    return [answers[number] for number in range(len(items))]
