from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path

import pytest

from imgmove.errors import LocalError
from imgmove.wire import machine
from imgmove.wire.machine import LocalMachine


def test_a_command_is_fed_and_read() -> None:
    command = LocalMachine().start(["sh", "-c", "cat; echo oops >&2; exit 3"])
    command.write(b"in and out")
    command.end_input()
    assert command.read() == b"in and out"
    assert command.wait() == (3, "oops")
    command.close()


def test_a_command_that_does_not_listen() -> None:
    command = LocalMachine().start(["true"])
    command.wait()
    with pytest.raises(BrokenPipeError):
        command.write(bytes(1 << 20))
    command.close()


def test_closing_ends_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_GRACE", 0.05)
    command = LocalMachine().start(["sleep", "600"])
    command.close()
    command.close()


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(LocalError, match="no-such-program is not installed"):
        LocalMachine().start(["no-such-program"])


def test_sockets(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with pytest.raises(LocalError, match="nothing listens"):
        LocalMachine().connect(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        connection = LocalMachine().connect(path)
        other, _ = listener.accept()
        connection.sendall(b"x")
        assert other.recv(9) == b"x"
        connection.close()
        other.close()
    with pytest.raises(LocalError, match="nothing listens"):
        LocalMachine().connect(path)


def test_a_program_that_reads_no_more_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_GRACE", 0.05)
    command = LocalMachine().start(["sleep", "60"])
    pipe = command._process.stdin.fileno()  # type: ignore[union-attr]
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x" * 4096)
    os.set_blocking(pipe, True)
    command.write(b"this would wait for ever")
    command.close()
    assert command._process.returncode == -signal.SIGKILL


def test_a_program_whose_input_ends_ends_by_itself() -> None:
    command = LocalMachine().start(["cat"])
    command.write(b"some")
    command.close()
    assert command._process.returncode == 0
