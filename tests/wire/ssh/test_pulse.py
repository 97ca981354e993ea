"""Signs of life that are asked for: given, missed, and never known."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from imgmove.wire.ssh import pulse as module
from imgmove.wire.ssh.pulse import Pulse


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Host:
    """Answers each question when it is let."""

    def __init__(self) -> None:
        self.lets = threading.Semaphore(0)
        self.answered = threading.Semaphore(0)
        self.heard = 0.0

    def ask(self) -> None:
        assert self.lets.acquire(timeout=20)
        self.answered.release()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "time", found)
    return found


@pytest.fixture
def host() -> Iterator[Host]:
    found = Host()
    yield found
    found.lets.release(9)


@pytest.fixture
def pulse(host: Host, clock: Clock) -> Pulse:
    del clock
    return Pulse(host.ask, lambda: host.heard, 60.0)


def answer(pulse: Pulse, host: Host) -> None:
    pulse.beat()
    threads = [thread for thread in threading.enumerate() if thread.name == "imgmove-pulse"]
    host.lets.release()
    for thread in threads:
        thread.join(20)


def test_who_gave_a_sign_before_is_missed(pulse: Pulse, host: Host, clock: Clock) -> None:
    answer(pulse, host)
    clock.now += 1000
    assert not pulse.has_stopped
    pulse.beat()
    clock.now += 50
    pulse.beat()
    assert not pulse.has_stopped
    host.heard = clock.now
    clock.now += 50
    assert not pulse.has_stopped, "whatever comes is a sign"
    clock.now += 11
    assert pulse.has_stopped


def test_who_never_gave_one_is_not_missed(pulse: Pulse, clock: Clock) -> None:
    pulse.beat()
    clock.now += 1000
    assert not pulse.has_stopped


def test_a_way_that_is_broken_is_nothing_new(clock: Clock) -> None:
    def broken() -> None:
        raise EOFError

    pulse = Pulse(broken, clock.monotonic, 60.0)
    pulse.beat()
    assert not pulse.has_stopped
