"""Patience: what is tried again, how often, and when it ends."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from imgmove.engine.limit import RateLimit
from imgmove.engine.pool import Pool, TaskGroup, each
from imgmove.engine.run import RetryPolicy, Run
from imgmove.errors import AccessDenied, ImgmoveError, Interrupted, NetworkError, Throttled
from imgmove.ports import Event, Retrying

QUICK = RetryPolicy(retries=3, first_delay=0.0)


class Heard:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def on(self, event: Event, /) -> None:
        self.events.append(event)


class Failing:
    """Raises a few times, then answers."""

    def __init__(self, times: int, error: ImgmoveError | None = None) -> None:
        self.left = times
        self.calls = 0
        self.error = error or NetworkError("broken")

    def __call__(self) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error
        return "done"


def test_what_is_transient_is_tried_again() -> None:
    heard = Heard()
    work = Failing(3)
    assert Run(retry=QUICK, observer=heard).persist("working", work) == "done"
    assert work.calls == 4
    assert [event.what for event in heard.events if isinstance(event, Retrying)] == ["working"] * 3


def test_what_fails_too_often_is_given_up() -> None:
    work = Failing(4)
    with pytest.raises(NetworkError):
        Run(retry=QUICK).persist("working", work)
    assert work.calls == 4


def test_what_will_not_change_is_not_tried_again() -> None:
    work = Failing(1, AccessDenied("no"))
    with pytest.raises(AccessDenied):
        Run(retry=QUICK).persist("working", work)
    assert work.calls == 1


def test_progress_makes_the_count_start_anew() -> None:
    arrived = iter(range(100))
    work = Failing(20)
    assert Run(retry=QUICK).persist("working", work, lambda: next(arrived)) == "done"


class Lesson(NetworkError):
    is_lesson = True


def test_what_teaches_costs_no_patience() -> None:
    heard = Heard()
    work = Failing(8, Lesson("smaller, please"))
    assert Run(retry=RetryPolicy(retries=0), observer=heard).persist("working", work) == "done"
    assert {event.delay for event in heard.events if isinstance(event, Retrying)} == {0.0}
    endless = Failing(1000, Lesson("smaller, please"))
    with pytest.raises(Lesson):
        Run(retry=QUICK).persist("working", endless)
    assert endless.calls == 1 + 8 + 3, "nobody goes on teaching the same for ever"


def test_no_retries() -> None:
    work = Failing(1)
    with pytest.raises(NetworkError):
        Run(retry=RetryPolicy(retries=0)).persist("working", work)
    assert work.calls == 1


def test_delays() -> None:
    policy = RetryPolicy(first_delay=1.0, longest_delay=10.0)
    for failures, most in ((1, 1), (2, 2), (3, 4), (9, 10)):
        assert most / 2 <= policy.delay(failures, NetworkError("x")) <= most
    assert policy.delay(1, Throttled("x", delay=7.0)) == 7.0
    assert policy.delay(1, Throttled("x", delay=700.0)) == 10.0
    assert policy.delay(1, Throttled("x")) <= 1.0


def test_cancelling_ends_a_wait() -> None:
    run = Run(retry=RetryPolicy(first_delay=60.0))
    threading.Timer(0.1, run.cancelled.set).start()
    begin = time.monotonic()
    with pytest.raises(Interrupted):
        run.persist("working", Failing(1))
    assert time.monotonic() - begin < 30


def test_the_rate_is_kept() -> None:
    limit = RateLimit(1000)
    waits = [limit.reserve(50) for _ in range(60)]
    # A tenth of a second's worth flows at once; the rest waits its turn.
    assert waits[0] == 0
    assert waits[-1] == pytest.approx(2.9, abs=0.2)


def test_tasks_spawn_tasks() -> None:
    pool = Pool(Run(jobs=3))
    group = TaskGroup(pool)
    found: list[int] = []
    errors: list[BaseException] = []

    def work(number: int) -> None:
        found.append(number)
        if number < 50:
            group.spawn(lambda: work(2 * number + 1), errors.append)
            group.spawn(lambda: work(2 * number + 2), errors.append)
        if number == 7:
            raise NetworkError("seven")

    group.spawn(lambda: work(0), errors.append)
    group.wait()
    assert sorted(found) == list(range(101))
    assert [str(error) for error in errors] == ["seven"]
    pool.close()


def test_no_more_threads_than_jobs() -> None:
    pool = Pool(Run(jobs=4))
    group = TaskGroup(pool)
    inside: list[int] = []
    most: list[int] = []
    errors: list[BaseException] = []
    lock = threading.Lock()

    def work() -> None:
        with lock:
            inside.append(1)
            most.append(len(inside))
        time.sleep(0.005)
        with lock:
            inside.pop()

    for _ in range(40):
        group.spawn(work, errors.append)
    group.wait()
    assert 1 < max(most) <= 4
    assert not errors
    pool.close()


def _wait(event: threading.Event, has_begun: threading.Event | None = None) -> None:
    if has_begun is not None:
        has_begun.set()
    event.wait(60)


def test_the_urgent_go_first() -> None:
    pool = Pool(Run(jobs=1))
    group = TaskGroup(pool)
    gate, has_begun = threading.Event(), threading.Event()
    order: list[object] = []
    group.spawn(partial(_wait, gate, has_begun), order.append)
    assert has_begun.wait(60)
    for urgency in (1, 5, 3):
        group.spawn(partial(order.append, urgency), order.append, urgency=urgency)
    gate.set()
    group.wait()
    assert order == [5, 3, 1]
    pool.close()


def test_a_cancelled_run_ends_its_groups() -> None:
    run = Run(jobs=2)
    pool = Pool(run)
    group = TaskGroup(pool)
    hanging = threading.Event()
    group.spawn(partial(_wait, hanging), lambda _: None)
    threading.Timer(0.1, run.cancelled.set).start()
    with pytest.raises(Interrupted):
        group.wait()
    hanging.set()
    pool.close()


def test_questions_are_asked_side_by_side_and_answered_in_order() -> None:
    together = threading.Barrier(3, timeout=30)
    pool = Pool(Run(jobs=3))

    def ask(number: int) -> int:
        together.wait()
        return number * number

    assert each(pool, ask, [3, 1, 2]) == [9, 1, 4]
    assert each(pool, ask, []) == []
    pool.close()


def test_the_first_question_that_fails_ends_them_all() -> None:
    pool = Pool(Run(jobs=1))
    asked: list[int] = []

    def ask(number: int) -> None:
        asked.append(number)
        if number == 2:
            raise NetworkError("broken")

    with pytest.raises(NetworkError, match="broken"):
        each(pool, ask, [1, 2, 3, 4])
    assert asked == [1, 2]
    pool.close()
