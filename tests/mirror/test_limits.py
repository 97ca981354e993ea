from __future__ import annotations

import threading
import time

import pytest

from imgmove.engine.run import Run
from imgmove.errors import Interrupted, QuotaReached
from imgmove.mirror.config import RegistryRules
from imgmove.mirror.limits import Gate
from imgmove.ports import Event, Note
from imgmove.settings import SideOptions

MANIFEST = "https://registry-1.docker.io/v2/library/nginx/manifests/1"


class Ear:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def on(self, event: Event, /) -> None:
        if isinstance(event, Note):
            self.notes.append(event.text)


def gate(
    host: str = "r.io", *, waits: bool = False, floor: int | None = 10, rate: float | None = None
) -> tuple[Gate, Ear, Run]:
    ear = Ear()
    run = Run(observer=ear)
    rules = RegistryRules(SideOptions(), rate, 16, floor, waits_at_floor=waits)
    return Gate(host, rules, run), ear, run


def test_below_the_floor_the_rest_is_left_for_later() -> None:
    door, ear, _ = gate()
    door.after({"ratelimit-remaining": "11;w=21600"})
    door.before("GET", "/v2/a/manifests/1")
    door.after({"ratelimit-remaining": "9;w=21600"})
    with pytest.raises(QuotaReached, match="r.io allows 9 more requests, which is below the floor of 10"):
        door.before("HEAD", "/v2/a/manifests/1")
    door.after({"ratelimit-remaining": "8;w=21600"})
    assert ear.notes == ["r.io allows 9 more requests, below the floor of 10: the rest is left for the next pass"]


def test_docker_hub_counts_what_is_fetched() -> None:
    door, _, _ = gate("docker.io")
    door.after({"ratelimit-remaining": "1;w=21600"})
    door.before("HEAD", MANIFEST)
    door.before("GET", MANIFEST.replace("manifests", "blobs"))
    with pytest.raises(QuotaReached):
        door.before("GET", MANIFEST)


def test_waiting_at_the_floor_and_going_on() -> None:
    door, ear, _ = gate(waits=True)
    door.after({"ratelimit-remaining": "2", "ratelimit-reset": "1"})
    began = time.monotonic()
    door.before("GET", "/v2/")
    assert time.monotonic() - began >= 0.9
    assert "r.io allows 2 more requests, below the floor of 10: waiting, going on at " in ear.notes[0]
    door.before("GET", "/v2/")


def test_no_wait_is_longer_than_a_day() -> None:
    door, ear, run = gate(waits=True)
    door.after({"ratelimit-remaining": "2", "ratelimit-reset": "9" * 12})
    run.cancelled.set()
    with pytest.raises(Interrupted):
        door.before("GET", "/v2/")
    assert "waiting, going on at" in ear.notes[0]


def test_a_wait_ends_with_the_run() -> None:
    door, _, run = gate(waits=True)
    door.after({"ratelimit-remaining": "2;w=21600"})
    threading.Timer(0.1, run.cancelled.set).start()
    with pytest.raises(Interrupted):
        door.before("GET", "/v2/")


@pytest.mark.parametrize("headers", [{}, {"ratelimit-remaining": "many"}, {"ratelimit-remaining": "11"}])
def test_who_says_nothing_is_asked_on(headers: dict[str, str]) -> None:
    door, ear, _ = gate()
    door.after(headers)
    door.before("GET", "/v2/")
    assert ear.notes == []


def test_requests_are_spread_over_time() -> None:
    door, _, _ = gate(rate=50, floor=None)
    began = time.monotonic()
    for _ in range(6):
        door.before("GET", "/v2/")
    assert time.monotonic() - began >= 0.09
