"""Files are put on the disk as they grow, and what goes wrong there is not lost."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from imgmove.errors import LocalError
from imgmove.wire.files import LocalFiles
from imgmove.wire.files.early_sync import EVERY, EarlySync


def test_there_is_one_at_a_time_and_never_one_for_little() -> None:
    begun, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def sync() -> None:
        begun.release()
        go_on.acquire()

    early = EarlySync(sync)
    early.wrote(EVERY - 1)
    assert not begun.acquire(timeout=0.05)
    early.wrote(1)
    assert begun.acquire(timeout=10)
    early.wrote(EVERY)
    assert not begun.acquire(timeout=0.05)
    go_on.release()
    early.finish()
    # What was written meanwhile waits for the next write.
    early.wrote(1)
    assert begun.acquire(timeout=10)
    go_on.release()
    early.finish()


def test_a_disk_that_failed_early_is_told_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system tells a failed write back once: the sync at the end succeeds, and only the early one knows better."""

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    files = LocalFiles()
    writer = files.create(str(tmp_path / "blob"))
    writer.write_at(0, bytes(EVERY))
    with pytest.raises(LocalError, match="the device failed"):
        writer.commit()
    writer.abort()
    files.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_may_be_given_up_while_it_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number is not free for another file before the sync is done with it."""
    begun, go_on = threading.Event(), threading.Event()
    still_open: list[bool] = []

    def slow(descriptor: int) -> None:
        begun.set()
        assert go_on.wait(10)
        still_open.append(os.fstat(descriptor).st_nlink == 0)

    monkeypatch.setattr(os, "fdatasync", slow)
    files = LocalFiles()
    writer = files.create(str(tmp_path / "blob"))
    writer.write_at(0, bytes(EVERY))
    assert begun.wait(10)
    writer.abort()
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "imgmove-sync":
            thread.join()
    files.close()
    assert still_open == [True]
