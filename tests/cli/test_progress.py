"""What a person sees while bytes move: bars on a terminal, lines without one."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from imgmove.cli.messages import Messages
from imgmove.cli.progress import Bars, Lines, Progress, choose_progress
from imgmove.endpoints.layout import Layout
from imgmove.ports import BlobFinished, BytesMoved, Note, PlanMade
from imgmove.wire.files import LocalFiles
from tests.images import build_image

MIB = 1 << 20


class Clock:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def test_a_line_every_few_seconds(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    clock = Clock(monkeypatch)
    lines = Lines(Messages())
    lines.on(PlanMade(2, 40 * MIB, 0, is_exact=True))
    for _ in range(20):
        clock.now += 0.5
        lines.on(BytesMoved("a", MIB))
    lines.on(BlobFinished("a", "sha256:a", 20 * MIB, "sent"))
    for _ in range(20):
        clock.now += 0.5
        lines.on(BytesMoved("b", MIB))
    lines.close()
    assert capfd.readouterr().err.splitlines() == [
        "15 % of 41.9 MB, 2.1 MB/s, 2 blobs to go, about 17 s left",
        "40 % of 41.9 MB, 2.1 MB/s, 2 blobs to go, about 12 s left",
        "65 % of 41.9 MB, 2.1 MB/s, 1 blob to go, about 7 s left",
        "90 % of 41.9 MB, 2.1 MB/s, 1 blob to go, about 2 s left",
    ]


def test_what_is_quick_needs_no_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    clock = Clock(monkeypatch)
    lines = Lines(Messages())
    lines.on(PlanMade(1, MIB, 0, is_exact=True))
    clock.now += 2.9
    lines.on(BytesMoved("a", MIB))
    lines.on(Note("something good to know"))
    assert capfd.readouterr().err == "imgmove: something good to know\n"


@pytest.mark.parametrize(
    ("mib", "left"),
    [(1, ", about 16 s left"), (40, ", about 13 min left"), (1000, ", about 6 h left"), (10_000, "")],
)
def test_how_long_it_will_take(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], mib: int, left: str
) -> None:
    clock = Clock(monkeypatch)
    lines = Lines(Messages())
    lines.on(PlanMade(1, mib * MIB, 0, is_exact=True))
    clock.now += 4
    lines.on(BytesMoved("a", MIB // 5))
    assert capfd.readouterr().err.endswith(f"1 blob to go{left}\n")


def test_bytes_that_come_again_are_taken_back(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    lines = Lines(Messages())
    lines.on(PlanMade(1, 10 * MIB, 0, is_exact=False))
    lines.on(BytesMoved("a", 9 * MIB))
    clock.now += 4
    lines.on(BytesMoved("a", -8 * MIB))
    assert capfd.readouterr().err == "10 % of ≈10.5 MB, 262 kB/s, 1 blob to go, about 36 s left\n"
    clock.now += 6
    lines.on(BytesMoved("a", -MIB))
    assert capfd.readouterr().err == "0 % of ≈10.5 MB, 0 B/s, 1 blob to go\n"


def test_the_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = 80
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((columns, 24)))
    assert isinstance(choose_progress("auto", Messages()), Bars)
    assert type(choose_progress("auto", Messages(is_quiet=True))) is Progress
    assert isinstance(choose_progress("auto", Messages(as_json=True)), Lines)
    columns = 0
    assert isinstance(choose_progress("auto", Messages()), Lines)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    assert isinstance(choose_progress("auto", Messages()), Lines)
    assert isinstance(choose_progress("bar", Messages()), Bars)
    assert type(choose_progress("none", Messages())) is Progress


def test_bars_on_a_terminal_are_gone_in_the_end(tmp_path: Path, environment: dict[str, str]) -> None:
    place = Layout.writable(LocalFiles(), str(tmp_path / "in"))
    build_image([{"big": os.urandom(3 * MIB)}]).put(place, "app:1")
    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "imgmove", "copy", "--limit-rate", "3M", f"oci:{tmp_path}/in:app:1", f"{tmp_path}/out"],
        stdout=subprocess.PIPE,
        stderr=far,
        text=True,
        env={**environment, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(far)
    shown = b""
    while data := _read(near):
        shown += data
    os.close(near)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert re.fullmatch(rf"oci:{re.escape(str(tmp_path))}/out:app:1@sha256:[0-9a-f]{{64}}\n", out)
    text = shown.decode()
    assert re.search(r"total +: +\d+%\|.*B/s", text)
    assert text.splitlines()[-1].strip() == "", "nothing is left on the screen"


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:
        # Linux says so when the other end is closed.
        return b""
