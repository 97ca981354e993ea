"""Locks that many want at once, and such as were left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from imgmove.errors import ServerRefused
from imgmove.wire.files import remote_lock
from imgmove.wire.files.remote_lock import RemoteLocks
from imgmove.wire.ssh import Sftp
from imgmove.wire.ssh.sftp_messages import ASK_OPEN, FAILURE
from tests.wire.ssh.sftp_host import Answer, MemoryHost, StoredFile, status

LOCK = "/x/.imgmove-index.lock"
LEFT = b"gone 1 abc 00000001\n"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_lock, "_LONGEST_WAIT", 0.02)


@pytest.fixture
def host() -> Any:
    return MemoryHost(can_replace=False)


def locks_of(host: Any, owner: str = "here 1", stale: float = 20.0) -> RemoteLocks:
    lane = Sftp(host)
    return RemoteLocks(lambda: lane, owner, lambda _: None, stale)


@pytest.fixture
def locks(host: MemoryHost) -> Iterator[RemoteLocks]:
    found = locks_of(host)
    yield found
    found.close()


def refuse(host: MemoryHost, times: int) -> None:
    """Has a lock be refused and gone again, as when others take it and give it back meanwhile."""
    left = iter(range(times))

    def answer(kind: int | str, usual: Answer) -> Answer:
        if kind == ASK_OPEN and LOCK in host.files and next(left, None) is not None:
            del host.files[LOCK]
            return status(FAILURE)
        return usual

    host.twist = answer


def test_a_lock_that_comes_and_goes_is_no_error(host: MemoryHost, locks: RemoteLocks) -> None:
    refuse(host, 3)
    assert not locks.take(LOCK)
    assert host.files[LOCK].content.startswith(b"here 1 ")
    locks.give_back(LOCK)
    assert not host.files


def test_a_host_that_goes_on_to_refuse_is_one(host: MemoryHost, locks: RemoteLocks) -> None:
    refuse(host, 100)
    with pytest.raises(ServerRefused):
        locks.take(LOCK)


def test_a_lock_that_was_left_is_taken_over_by_one(host: MemoryHost) -> None:
    inside: list[int] = []

    def work(number: int) -> None:
        locks = locks_of(host, f"host{number} 1", stale=0.05)
        locks.take(LOCK)
        inside.append(number)
        time.sleep(0.002)
        assert inside == [number]
        inside.pop()
        locks.give_back(LOCK)
        locks.close()

    for _ in range(10):
        host.files[LOCK] = StoredFile(bytearray(LEFT))
        with ThreadPoolExecutor(5) as pool:
            list(pool.map(work, range(5)))
        assert not host.files


def test_whoever_was_killed_while_he_took_one_away_is_in_nobodys_way(host: MemoryHost) -> None:
    guard = LOCK.replace(".lock", ".taking.lock")
    host.files = {LOCK: StoredFile(bytearray(LEFT)), guard: StoredFile(bytearray(LEFT))}
    locks = locks_of(host, stale=0.05)
    assert locks.take(LOCK)
    assert host.files.keys() == {LOCK}
    locks.close()
    assert not host.files
