"""Files that are not whole yet: one writer at a time, kept for later runs, and never anybody else's."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from imgmove.errors import LocalError
from imgmove.wire.files import LocalFiles
from imgmove.wire.files.writers import LocalWriter


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "x.tar")


def left(tmp_path: Path) -> list[str]:
    return sorted(os.listdir(tmp_path))


def test_a_later_run_goes_on(path: str, tmp_path: Path) -> None:
    writer = LocalFiles().resume(path, "abc")
    writer.write_at(0, b"one")
    writer.keep()
    writer.keep()
    assert left(tmp_path) == [".imgmove-x.tar.abc.partial"]
    files = LocalFiles()
    again = files.resume(path, "abc")
    assert (again.size, again.read_at(0, 10)) == (3, b"one")
    again.write_at(3, b"two")
    again.commit()
    again.abort()
    assert left(tmp_path) == ["x.tar"]
    assert Path(path).read_bytes() == b"onetwo"


def test_what_a_later_run_can_use_outlives_its_command(path: str, tmp_path: Path) -> None:
    files = LocalFiles()
    files.resume(path, "abc").write_at(0, b"x")
    files.create(path).write_at(0, b"x")
    files.close()
    assert left(tmp_path) == [".imgmove-x.tar.abc.partial"]
    with pytest.raises(LocalError, match="ended"):
        files.resume(path, "abc")


@pytest.mark.parametrize("is_in_use", [False, True])
def test_what_another_user_left_is_made_anew(path: str, monkeypatch: pytest.MonkeyPatch, is_in_use: bool) -> None:
    theirs = LocalFiles().resume(path, "abc")
    theirs.write_at(0, b"theirs")
    if not is_in_use:
        theirs.keep()

    def is_theirs(other: str) -> bool:
        return os.path.exists(other) and Path(other).read_bytes() == b"theirs"

    def opened(other: str, flags: int, mode: int = 0o777, usual: Callable[..., int] = os.open) -> int:
        if flags & os.O_RDWR and is_theirs(other):
            raise PermissionError(errno.EACCES, "not yours")
        return usual(other, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", opened)
        patch.setattr(os, "access", lambda other, _: not is_theirs(other))
        if is_in_use:
            with pytest.raises(LocalError, match="permission denied"):
                LocalFiles().resume(path, "abc")
        else:
            assert LocalFiles().resume(path, "abc").size == 0
    theirs.abort()


def test_nothing_is_left_of_what_was_aborted(path: str, tmp_path: Path) -> None:
    writer = LocalFiles().resume(path, "abc")
    writer.write_at(0, b"x")
    writer.abort()
    writer.abort()
    assert left(tmp_path) == []


def test_each_key_has_a_file_of_its_own(path: str, tmp_path: Path) -> None:
    files = LocalFiles()
    with ExitStack() as stack:
        for key in ("abc", "abc-ranges", "def", "def-ranges"):
            writer = files.resume(path, key)
            stack.callback(writer.keep)
            writer.write_at(0, key.encode())
    other = files.resume(str(tmp_path / "x"), "tar")
    other.keep()
    held = files.resume(path, "def-ranges")
    files.forget_others(path, "abc")
    names = [".imgmove-x.tar.abc-ranges.partial", ".imgmove-x.tar.abc.partial", ".imgmove-x.tar.def-ranges.partial"]
    assert left(tmp_path) == [*names, ".imgmove-x.tar.partial"], "what is written by somebody stays, and other paths"
    held.keep()


def _hold(path: str, begun: Callable[[], None], commits: bool) -> None:
    writer = LocalFiles().resume(path, "abc")
    writer.write_at(0, b"all of it")
    begun()
    time.sleep(0.2)
    writer.commit() if commits else os._exit(9)


@pytest.mark.parametrize("commits", [True, False])
def test_the_second_waits_for_the_first(commits: bool, path: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    has_begun = context.Event()
    process = context.Process(target=_hold, args=(path, has_begun.set, commits))
    process.start()
    assert has_begun.wait(60)
    writer = LocalFiles().resume(path, "abc")
    process.join()
    assert writer.size == (0 if commits else len(b"all of it")), "a killed one's file is taken over"
    assert Path(path).exists() == commits
    writer.abort()
    assert left(tmp_path) == (["x.tar"] if commits else [])


def test_waiting_ends_with_the_command(path: str) -> None:
    holder, waiting = LocalFiles(), LocalFiles()
    writer = holder.resume(path, "abc")
    errors: list[LocalError] = []

    def wait() -> None:
        try:
            waiting.resume(path, "abc")
        except LocalError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.close()
    thread.join(30)
    assert len(errors) == 1
    writer.abort()


def test_threads_take_turns(path: str, tmp_path: Path) -> None:
    files = LocalFiles()
    inside: list[int] = []

    def work(number: int) -> None:
        writer = files.resume(path, "abc")
        inside.append(number)
        assert len(inside) == 1
        writer.write_at(writer.size, b"x")
        inside.pop()
        writer.commit() if number % 3 == 0 else writer.abort() if number % 3 == 1 else writer.keep()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    LocalFiles().resume(path, "abc").abort()
    assert left(tmp_path) == ["x.tar"]


def test_what_nobody_went_on_with_for_long_is_removed(path: str, tmp_path: Path) -> None:
    for key, days in (("old", 8), ("young", 6)):
        writer = LocalFiles().resume(path, key)
        writer.keep()
        then = time.time() - days * 24 * 3600
        os.utime(tmp_path / f".imgmove-x.tar.{key}.partial", (then, then))
    LocalFiles().write(str(tmp_path / "y"), b"y")
    assert left(tmp_path) == [".imgmove-x.tar.young.partial", "y"]


def test_a_file_that_took_the_place_of_another_is_not_swept(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the opening of a file and its lock, its writer may end and another one begin under the same name."""
    writer = LocalFiles().resume(path, "old")
    place = tmp_path / ".imgmove-x.tar.old.partial"
    lock = fcntl.flock

    def late(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        writer.abort()
        place.write_bytes(b"somebody else's")
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    LocalFiles().forget_others(path, "new")
    assert place.read_bytes() == b"somebody else's"


def test_a_file_in_use_is_closed_by_its_last_user(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system gives the number of a closed file to the next one, which a late write must not hit."""
    writer = LocalFiles().resume(path, "abc")
    assert isinstance(writer, LocalWriter)
    write, closed = os.pwrite, []
    is_inside, may_go_on = threading.Event(), threading.Event()

    def slow(descriptor: int, data: bytes, offset: int) -> int:
        is_inside.set()
        assert may_go_on.wait(30)
        return write(descriptor, data, offset)

    def close(descriptor: int) -> None:
        closed.append(descriptor)

    monkeypatch.setattr(os, "pwrite", slow)
    thread = threading.Thread(target=writer.write_at, args=(0, b"late"))
    thread.start()
    assert is_inside.wait(30)
    with monkeypatch.context() as context:
        context.setattr(os, "close", close)
        writer.keep()
        assert not closed
        may_go_on.set()
        thread.join(30)
        assert len(closed) == 1
    os.close(closed[0])
    with pytest.raises(LocalError, match="closed"):
        writer.write_at(0, b"later")


def test_long_names(tmp_path: Path) -> None:
    path = str(tmp_path / ("x" * 255))
    wide = str(tmp_path / ("語" * 85))
    for name in (path, wide):
        writer = LocalFiles().resume(name, "0123456789abcdef-ranges")
        writer.commit()
        assert os.path.exists(name)
