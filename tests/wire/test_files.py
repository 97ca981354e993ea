"""Local files: atomic, locked, and with readable errors."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from imgmove.errors import LocalError, NotFound
from imgmove.wire.files import LocalFiles
from imgmove.wire.files.writers import lasting_name

FILES = LocalFiles()


def test_a_file_appears_when_it_is_committed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    writer = FILES.create(str(path))
    writer.write_at(3, b"def")
    writer.write_at(0, b"abc")
    assert not path.exists()
    assert (writer.size, writer.read_at(1, 4)) == (6, b"bcde")
    writer.commit()
    writer.abort()
    assert path.read_bytes() == b"abcdef"
    assert os.listdir(tmp_path) == ["x"]


def test_nothing_is_left_of_an_aborted_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    writer = FILES.create(str(tmp_path / "x"))
    writer.write_at(0, b"new")
    writer.abort()
    writer.abort()
    assert (tmp_path / "x").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]
    with pytest.raises(LocalError, match="closed"):
        writer.write_at(0, b"x")


def test_a_final_name_that_shows_late(tmp_path: Path) -> None:
    writer = FILES.create(str(tmp_path / "unnamed"))
    writer.write_at(0, b"x")
    writer.commit(str(tmp_path / "named"))
    assert os.listdir(tmp_path) == ["named"]


def test_reading(tmp_path: Path) -> None:
    path = str(tmp_path / "x")
    FILES.write(path, b"0123456789")
    reader = FILES.open(path, 4)
    assert reader.read(3) == b"456"
    assert reader.read() == b"789"
    assert reader.read(1) == b""
    reader.close()
    assert FILES.read_at(path, 8, 100) == b"89"
    status = FILES.status(path)
    assert status is not None
    assert (status.size, status.is_folder) == (10, False)
    assert FILES.status(str(tmp_path / "y")) is None
    assert FILES.list(str(tmp_path)) == ["x"]
    assert FILES.list(str(tmp_path / "y")) == []
    FILES.remove(path)
    FILES.remove(path)
    assert FILES.free_space(str(tmp_path / "not" / "there"))


def test_errors_name_the_path(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(NotFound, match="no such file"):
        FILES.open(str(tmp_path / "none"))
    with pytest.raises(LocalError, match="it is a folder"):
        FILES.open(str(tmp_path / "folder"))
    with pytest.raises(LocalError, match="no folder"):
        FILES.create(str(tmp_path / "file" / "x"))
    with pytest.raises(LocalError, match="no such folder to write to"):
        FILES.create(str(tmp_path / "none" / "x"))
    with pytest.raises(LocalError, match="too long"):
        FILES.status(str(tmp_path / ("x" * 300)))
    with pytest.raises(LocalError):
        FILES.status("a\0b")


def test_a_full_disk_is_said_so() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    descriptor = os.open("/dev/full", os.O_WRONLY)
    writer = FILES.create("/dev/shm/imgmove-test-full") if Path("/dev/shm").exists() else None
    if writer is None:
        os.close(descriptor)
        pytest.skip("no /dev/shm here")
    os.dup2(descriptor, writer._descriptor)  # type: ignore[attr-defined]
    os.close(descriptor)
    with pytest.raises(LocalError, match="no space left"):
        writer.write_at(0, b"x")
    writer.abort()


def test_threads_wait_for_a_lock(tmp_path: Path) -> None:
    inside: list[int] = []

    def work(number: int) -> None:
        with FILES.lock(str(tmp_path)):
            inside.append(number)
            assert len(inside) == 1
            inside.pop()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.listdir(tmp_path) == []


def _count(path: str, times: int) -> None:
    files = LocalFiles()
    for _ in range(times):
        with files.lock(os.path.dirname(path)):
            files.write(path, str(int(files.read_at(path, 0, 10)) + 1).encode())


def test_processes_wait_for_a_lock(tmp_path: Path) -> None:
    path = str(tmp_path / "count")
    FILES.write(path, b"0")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_count, args=(path, 20)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert FILES.read_at(path, 0, 10) == b"80"


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    stale = tmp_path / ".imgmove-x.123-abc.part"
    stale.write_bytes(b"left behind")
    mine = LocalFiles().create(str(tmp_path / "y"))
    assert not stale.exists()
    held = {path.name for path in tmp_path.iterdir()}
    other = LocalFiles().create(str(tmp_path / "z"))
    assert held < {path.name for path in tmp_path.iterdir()}, "a file that is being written stays"
    mine.abort()
    other.abort()
    assert os.listdir(tmp_path) == []


def test_closing_removes_what_was_begun(tmp_path: Path) -> None:
    files = LocalFiles()
    done, begun = files.create(str(tmp_path / "done")), files.create(str(tmp_path / "begun"))
    done.write_at(0, b"x")
    done.commit()
    files.close()
    assert os.listdir(tmp_path) == ["done"]
    begun.write_at(0, b"a thread that has not noticed yet")
    begun.abort()
    with pytest.raises(LocalError, match="ended"):
        files.create(str(tmp_path / "more"))


def test_what_is_no_file_is_neither_read_nor_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    with pytest.raises(LocalError, match=r"device or pipe.*- < "):
        FILES.open(path)
    with pytest.raises(LocalError, match=r"device or pipe.*- > "):
        FILES.create(path)
    with pytest.raises(LocalError, match="device or pipe"):
        FILES.write("/dev/null", b"x")
    assert os.listdir(tmp_path) == ["pipe"]


def test_nothing_is_left_when_files_are_closed_while_others_begin_some(tmp_path: Path) -> None:
    files = LocalFiles()
    has_begun = threading.Barrier(5)

    def begin() -> None:
        writers = [files.create(str(tmp_path / "x"))]
        has_begun.wait()
        with contextlib.suppress(LocalError):
            while len(writers) < 10_000:
                writers.append(files.create(str(tmp_path / "x")))
        for writer in writers:
            writer.abort()

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    has_begun.wait()
    files.close()
    left = os.listdir(tmp_path)
    for thread in threads:
        thread.join()
    assert left == []


def test_lists_do_not_show_what_is_being_written(tmp_path: Path) -> None:
    writer = FILES.create(str(tmp_path / "x"))
    assert FILES.list(str(tmp_path)) == []
    writer.commit()
    assert FILES.list(str(tmp_path)) == ["x"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "real")
    FILES.write(str(tmp_path / "link"), b"x")
    assert (tmp_path / "folder" / "real").read_bytes() == b"x"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("lay", ["symbolic", "hard", "pipe"])
def test_what_others_laid_under_a_lasting_name_is_not_written(lay: str, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"precious")
    name = lasting_name(str(tmp_path / "x"), "key")
    if lay == "symbolic":
        os.symlink(theirs, name)
    elif lay == "hard":
        os.link(theirs, name)
    else:
        os.mkfifo(name)
    with pytest.raises(LocalError, match=r"\.partial: it is a"):
        FILES.resume(str(tmp_path / "x"), "key")
    assert theirs.read_bytes() == b"precious"
