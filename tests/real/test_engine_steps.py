"""Every step of a copy into an engine fails in turn, and nothing of it is left behind, whichever it was."""

from __future__ import annotations

import contextlib
import os
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

import pytest

import imgmove
from imgmove.endpoints.engines.podman import Podman
from imgmove.endpoints.layout import Layout
from imgmove.errors import NetworkError
from imgmove.model.platform import Platform
from imgmove.ports import Command
from imgmove.settings import Settings
from imgmove.wire.files import LocalFiles
from imgmove.wire.machine import LocalMachine
from imgmove.wire.remote_machine import RemoteMachine
from imgmove.wire.stream_http import StreamHttp, Upload
from tests.images import build_image
from tests.real.engine_fixtures import ENGINES, diff_ids_of
from tests.real.engines import ContainerdEngine, RealEngine
from tests.real.sshd import RealSshd

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engine-steps")]

Result = TypeVar("Result")
When = Literal["before", "after", "unheard"]

BASE = {"base": random.Random(5).randbytes(300_000)}
ADDED = {"added": random.Random(6).randbytes(200_000)}
_MOMENTS: dict[str, tuple[When, ...]] = {
    # A program that was begun goes on; where it ends is a step of its own.
    **dict.fromkeys(("podman", "ctr", "sh"), ("before",)),
    "input": ("after",),
    "listen": ("before",),
    "finish": ("before", "after", "unheard"),
}
_CHANGES = re.compile(r"(POST|DELETE) |input|listen|upload|finish|order| (load|tag|rmi|import|rm) ")


@dataclass
class Steps:
    """What imgmove does to an engine, one thing after another, of which one can be made to fail.

    Attributes:
        fails: the number of the step that fails; -1 for none.
        when: before it is done, after it, or when it is done and nobody hears of it because the connection broke.
    """

    fails: int = -1
    when: When = "before"
    names: list[str] = field(default_factory=list)

    def take(self, name: str, step: Callable[[], Result], unheard: Callable[[], object] = lambda: None) -> Result:
        is_it = len(self.names) == self.fails
        self.names.append(name)
        if is_it and self.when != "after":
            if self.when == "unheard":
                unheard()
            raise NetworkError("made to fail")
        result = step()
        if is_it:
            if hasattr(result, "close"):
                result.close()
            raise NetworkError("made to fail")
        return result

    def begin(self, fails: int = -1, when: When = "before") -> None:
        """Counts anew."""
        self.fails, self.when, self.names = fails, when, []


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Stands at all doors that lead to engines, of this machine and of others."""
    found = Steps()
    ask, order, upload, finish = StreamHttp.ask, StreamHttp.order, StreamHttp.upload, Upload.finish

    def end_unheard(body: Upload) -> None:
        def cut(*_: object) -> NoReturn:
            raise ConnectionResetError

        body._connection.sock.makefile = cut  # type: ignore[method-assign]
        finish(body)

    monkeypatch.setattr(StreamHttp, "ask", lambda http, *a: found.take(f"{a[0]} {a[1]}", lambda: ask(http, *a)))
    monkeypatch.setattr(StreamHttp, "order", lambda http, *a: found.take(f"order {a[0]}", lambda: order(http, *a)))
    monkeypatch.setattr(StreamHttp, "upload", lambda http, *a: found.take("upload", lambda: upload(http, *a)))
    monkeypatch.setattr(
        Upload, "finish", lambda body: found.take("finish", lambda: finish(body), lambda: end_unheard(body))
    )
    for machine in (LocalMachine, RemoteMachine):
        _stand_at(machine, found, monkeypatch)
    return found


def _stand_at(kind: type[LocalMachine | RemoteMachine], found: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    start, listening = kind.start, kind.listening

    def started(machine: Any, words: list[str]) -> Command:
        name = " ".join(words) + " "
        command: Command = found.take(name, lambda: start(machine, words))
        return _Watched(command, found) if _CHANGES.search(name) else command

    monkeypatch.setattr(kind, "start", started)
    monkeypatch.setattr(kind, "listening", lambda machine, take: found.take("listen", lambda: listening(machine, take)))


class _Watched:
    """A command whose first input and whose end are steps, too."""

    def __init__(self, command: Command, steps: Steps) -> None:
        self._command = command
        self._steps = steps
        self._is_fed = False
        self.flush, self.end_input = command.flush, command.end_input
        self.read, self.close = command.read, command.close

    def write(self, data: bytes, /) -> None:
        if self._is_fed:
            self._command.write(data)
        else:
            self._is_fed = True
            self._steps.take("input", lambda: self._command.write(data))

    def wait(self) -> tuple[int, str]:
        return self._steps.take("end", self._command.wait)


def state(engine: RealEngine) -> list[str]:
    """All that an engine keeps of images: names, images without a name, leases."""
    if isinstance(engine, ContainerdEngine):
        return [*engine.names(), *engine.do("leases", "ls", "-q").split()]
    return sorted(engine.do("image", "ls", "-a", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}").splitlines())


def listeners(*processes: int) -> set[str]:
    """The inodes of sockets of these processes that listen on TCP ports."""
    listening = {line.split()[9] for line in Path("/proc/self/net/tcp").read_text().splitlines() if " 0A " in line}
    ours = set()
    for process in processes:
        # Files and processes come and go.
        with contextlib.suppress(OSError):
            for file in Path(f"/proc/{process}/fd").iterdir():
                with contextlib.suppress(OSError):
                    ours.add(os.readlink(file).removeprefix("socket:[").removesuffix("]"))
    return listening & ours


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as found:
        yield found


@pytest.mark.parametrize("name", [*ENGINES, *(f"{name}+ssh" for name in ENGINES)])
def test_a_failure_at_every_step_leaves_nothing(
    name: str,
    request: pytest.FixtureRequest,
    settings: Settings,
    edge_sshd: RealSshd,
    steps: Steps,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stack: contextlib.ExitStack,
) -> None:
    name, _, remote = name.partition("+")
    engine: RealEngine = request.getfixturevalue(name)
    engine.clean()
    place = Layout.writable(LocalFiles(), str(tmp_path / "layout"))
    build_image([BASE]).put(place, "app:1")
    build_image([BASE, ADDED]).put(place, "app:2")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    folders = [temporary, edge_sshd.folder / "tmp"] if remote else [temporary]
    # It changes nothing, and podman takes longer for it than for all else.
    monkeypatch.setattr(Podman, "_platform", Platform("linux", "amd64"))
    # The same connection to a host all the time: what is left open on it stays open.
    session = stack.enter_context(imgmove.Session(replace(edge_sshd.settings(settings), retries=0)))

    def copy(tag: str) -> imgmove.CopyReport:
        there = (
            f"{engine.scheme}+ssh://{edge_sshd.host}/app:{tag}?{engine.options}" if remote else engine.at(f"app:{tag}")
        )
        return imgmove.copy(f"oci:{tmp_path / 'layout'}:app:{tag}", there, session=session)

    def listening() -> set[str]:
        return listeners(os.getpid(), *edge_sshd.connections())

    def forget() -> None:
        engine.do("images" if name == "containerd1" else "image", "rm", engine.shown("app:2"))

    copy("1").raise_failures()
    before, open_before = state(engine), listening()
    steps.begin()
    copy("2").raise_failures()
    names = steps.names
    after = state(engine)
    forget()
    assert state(engine) == before
    first = next(number for number, step in enumerate(names) if _CHANGES.search(step))
    for number in range(first, len(names)):
        for when in _MOMENTS.get(names[number].split()[0].rpartition("/")[2], ("before", "after")):
            steps.begin(number, when)
            report = copy("2")
            found = state(engine)
            what = f"{names[number]} fails {when}: {report.images[0].error}"
            if found == after:
                steps.begin()
                assert engine.diff_ids("app:2") == diff_ids_of([BASE, ADDED]), what
                forget()
            else:
                assert report.images[0].error is not None, what
                assert found == before, what
            assert listening() == open_before, what
            assert [path for folder in folders for path in folder.iterdir()] == [], what
    steps.begin()
    copy("2").raise_failures()
    assert state(engine) == after
    engine.clean()
