"""Memory for reading ahead: never more than there is, and all of it given back."""

from __future__ import annotations

import threading

from imgmove.engine.budget import Budget


def test_no_more_is_given_than_there_is() -> None:
    budget = Budget(10)
    assert budget.take(3, 2) == 3
    assert budget.take(3, 2) == 2
    assert budget.take(1, 1) == 0
    budget.give_back(6)
    assert budget.take(9, 4) == 1
    assert budget.take(9, 1) == 2


def test_threads_do_not_take_the_same_twice() -> None:
    budget = Budget(1000)
    held: list[int] = []

    def work() -> None:
        for _ in range(200):
            count = budget.take(7, 3)
            held.append(3 * count)
            assert sum(held[-6:]) <= 1000
            budget.give_back(3 * count)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.take(2000, 1) == 1000
