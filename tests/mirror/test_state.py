from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from imgmove.errors import ConfigError, LocalError, SomeFailed
from imgmove.mirror.hooks import Hooks
from imgmove.mirror.lock import AlreadyRunning, only_pass
from imgmove.mirror.page import chart_points
from imgmove.mirror.report import MirrorSummary, PassReport, read_unfinished
from imgmove.mirror.state import PastPass, State
from imgmove.mirror.work import Failure, Item, Learned, Record, Result, Work, interleaved
from imgmove.model.location import RegistryLocation
from imgmove.model.reference import Reference
from tests.mirror.moments import NOON


def work(destination: str = "q.io/app") -> Work:
    def place(text: str) -> RegistryLocation:
        return RegistryLocation(Reference.parse(text, default_tag=""), has_tag=False)

    return Work("app", place("r.io/app"), place(destination), (Item("1", "1"),))


def past(started: float, total: int = 100) -> PastPass:
    return PastPass(started, 1.0, 1, 0, 0, 0, total)


def test_what_was_learned_is_known_to_the_next_pass(tmp_path: Path) -> None:
    began = time.time()
    with closing(State(tmp_path / "s.sqlite")) as state:
        state.learn(Result(work(), learned=[Learned("sha256:a", "sha256:a", 70), Learned("sha256:b", "sha256:c", 30)]))
        state.learn(Result(work(), learned=[Learned("sha256:a", "sha256:a")], referrers=["sha256:d"]))
        state.add_pass(past(began))
    with closing(State(tmp_path / "s.sqlite")) as state:
        assert state.known("q.io/app", "") == {"sha256:a": "sha256:a", "sha256:b": "sha256:c"}
        assert state.known("q.io/app", "linux/amd64") == state.known("q.io/other", "") == {}
        assert state.referrers("q.io/app") == {"sha256:d"}
        assert state.total_since(began) == 100
        assert state.passes() == [past(began)]


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to look at" * 50])
def test_a_broken_file_is_begun_anew(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "s.sqlite").write_bytes(content)
    with closing(State(tmp_path / "s.sqlite")) as state:
        assert state.known("q.io/app", "") == {}
        state.learn(Result(work(), learned=[Learned("sha256:a", "sha256:a")]))
        assert state.known("q.io/app", "") == {"sha256:a": "sha256:a"}


def test_a_file_that_is_broken_behind_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with closing(State(path)) as state:
        for number in range(20):
            state.learn(Result(work(), learned=[Learned(f"sha256:{number:0500}", "sha256:a")] * 20))
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    path.write_bytes(content)
    with closing(State(path)) as state:
        assert state.known("q.io/app", "") == {}
        state.learn(Result(work(), learned=[Learned("sha256:a", "sha256:a")]))
        assert state.known("q.io/app", "") == {"sha256:a": "sha256:a"}


def test_a_file_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE images (name TEXT)")
    with closing(State(path)) as state:
        state.learn(Result(work(), learned=[Learned("sha256:a", "sha256:a")]))
        assert state.known("q.io/app", "") == {"sha256:a": "sha256:a"}


def test_what_the_destination_had_is_believed_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_800_000_000.0
    monkeypatch.setattr("imgmove.mirror.state.time.time", lambda: now)
    with closing(State(tmp_path / "s.sqlite")) as state:
        state.learn(Result(work(), learned=[Learned("sha256:a", "sha256:a")], referrers=["sha256:d"]))
        assert state.referrers("q.io/app") == {"sha256:d"}
        # Later by a day, and earlier by the doings of a clock.
        for then in (now + 86401, now - 60):
            monkeypatch.setattr("imgmove.mirror.state.time.time", lambda then=then: then)
            assert state.referrers("q.io/app") == frozenset()
            assert state.known("q.io/app", "") == {"sha256:a": "sha256:a"}
        state.add_pass(past(now + 86401))
        monkeypatch.setattr("imgmove.mirror.state.time.time", lambda: now)
        assert state.referrers("q.io/app") == frozenset()


def test_a_place_that_can_not_be_written_costs_nothing_but_memory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with closing(State(tmp_path / "file" / "s.sqlite")) as state:
        state.learn(Result(work(), learned=[Learned("sha256:a", "sha256:a")]))
        state.add_pass(past(1))
        assert (state.known("q.io/app", ""), list(state.passes()), state.total_since(0)) == ({}, [], 0)


def test_one_at_a_time(tmp_path: Path) -> None:
    path = str(tmp_path / "x" / "lock")
    with only_pass(path, "mirror.yaml"):
        program = f"from imgmove.mirror.lock import *\nwith only_pass({path!r}, 'mirror.yaml'): pass"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert "AlreadyRunning: mirror.yaml is being mirrored already by process" in done.stderr
        with pytest.raises(AlreadyRunning), only_pass(path, "mirror.yaml"):
            pass
    with only_pass(path, "mirror.yaml"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(LocalError), only_pass(str(tmp_path / "file" / "lock"), "mirror.yaml"):
        pass


def test_hooks_that_can_not_run_or_take_too_long(tmp_path: Path) -> None:
    for command, said in ((["/no/such/hook"], "can't be run"), (["sleep", "60"], "took more than 0.2 seconds")):
        hooks = Hooks(command, 0.2, {"PATH": "/usr/bin:/bin"})
        hooks.tell({"event": "copy"})
        hooks.finish()
        assert said in hooks.failures[0].message
    loud = Hooks(["sh", "-c", "head -c 3000000 /dev/zero >&2; exit 3"], 60, {"PATH": "/usr/bin:/bin"})
    loud.tell({"event": "copy"})
    loud.finish()
    assert loud.failures[0].message.startswith("the hook sh ended with status 3: ")
    assert len(loud.failures[0].message) < 400
    ended = Hooks(["sleep", "60"], 60, {"PATH": "/usr/bin:/bin"})
    began = time.monotonic()
    for _ in range(3):
        ended.tell({"event": "copy"})
    time.sleep(0.1)
    ended.end()
    ended.finish()
    assert time.monotonic() - began < 30
    assert ended.failures == []


def test_a_hook_that_hangs_is_given_up_with_all_that_it_began(tmp_path: Path) -> None:
    script = f"echo $$ >> {tmp_path}/pids; sleep 60 & echo $! >> {tmp_path}/pids; wait"
    hooks = Hooks(["sh", "-c", script], 0.2, {"PATH": "/usr/bin:/bin"})
    for _ in range(100):
        hooks.tell({"event": "copy"})
    hooks.finish()
    assert [failure.message for failure in hooks.failures] == [
        *["the hook sh took more than 0.2 seconds"] * 3,
        "the hook sh hangs: it was not told of 97 more changes",
    ]
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert len(pids) >= 2
    end = time.monotonic() + 20
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(found) and not found.startswith("Z")


def report(*failures: Failure | None) -> PassReport:
    made = PassReport("mirror.yaml", NOON, mirrors=[MirrorSummary("app", "r.io/app", "q.io/app")])
    for number, failure in enumerate(failures):
        record = Record("app", f"r.io/app:{number}", f"q.io/app:{number}", "copy", failure=failure)
        record.status = "failed" if failure else "done"
        made.records.append(record)
    return made


def test_exit_statuses() -> None:
    report(None, None).raise_failures()
    with pytest.raises(SomeFailed) as some:
        report(None, Failure("x", 5)).raise_failures()
    assert some.value.exit_status == 3
    for failures, status in (
        ([Failure("x", 5)], 5),
        ([Failure("x", 5), Failure("y", 5)], 5),
        ([Failure("x", 5), Failure("y", 6)], 1),
    ):
        with pytest.raises(Exception, match=r"x|things failed") as caught:
            report(*failures).raise_failures()
        assert caught.value.exit_status == status  # type: ignore[attr-defined]


def test_what_failed_can_be_read_back(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("\n".join(report(None, Failure("x")).json_lines()))
    assert json.loads(path.read_text())["totals"]["failed"] == 1
    unfinished = read_unfinished(str(path))
    assert unfinished.concerns("app")
    assert not unfinished.concerns("other")
    assert unfinished.wants("app", "r.io/app:1")
    assert not unfinished.wants("app", "r.io/app:0")
    for wrong in ("", "[]", "{}", '{"version": 1, "mirrors": 3}', '{"version": 9, "mirrors": [], "tags": []}'):
        path.write_text(wrong)
        with pytest.raises(ConfigError):
            read_unfinished(str(path))
    with pytest.raises(LocalError):
        read_unfinished(str(tmp_path / "none"))


def test_the_chart_is_thinned_out_and_ends_now() -> None:
    points = chart_points([past(float(number), 100 + number) for number in range(1000)])
    assert 50 < len(points) <= 120
    assert (points[0].x, points[-1].x, points[-1].y) == (0, 720, 0)
    assert chart_points([past(1.0)]) == chart_points([past(1.0, 0), past(2.0, 0)]) == []


def test_destinations_take_turns() -> None:
    order = interleaved([work("a"), work("a"), work("b"), work("c"), work("b")])
    assert [
        item.destination.reference.repository for item in order if isinstance(item.destination, RegistryLocation)
    ] == [*("library/a", "library/b", "library/c", "library/a", "library/b")]
