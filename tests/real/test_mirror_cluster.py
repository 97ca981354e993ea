"""A pass on a Dask cluster of real processes, one of which is killed in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.images import build_image
from tests.real.fixtures import free_port
from tests.real.mirroring import Ground, image

pytestmark = pytest.mark.real

DASK = [str(Path(sys.executable).with_name("dask"))]


@pytest.fixture
def scheduler(environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """A scheduler's address; its workers are started by the test."""
    address = f"127.0.0.1:{free_port()}"
    words = ["scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard", "--no-show"]
    with (tmp_path / "scheduler.log").open("wb") as log:
        process = subprocess.Popen([*DASK, *words], env=environment, cwd=tmp_path, stdout=log, stderr=log)
    try:
        yield address
    finally:
        process.kill()
        process.wait()


def begin_worker(address: str, environment: dict[str, str], folder: Path, name: str) -> subprocess.Popen[bytes]:
    """A worker without a nanny, so that killing it kills it for good."""
    words = ["worker", f"tcp://{address}", "--no-nanny", "--nthreads", "2", "--no-dashboard", "--name", name]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([*DASK, *words], env=environment, cwd=folder, stdout=log, stderr=log)
    end = time.monotonic() + 60
    while "Registered to" not in (folder / f"{name}.log").read_text():
        assert time.monotonic() < end, (folder / f"{name}.log").read_text()
        assert process.poll() is None, (folder / f"{name}.log").read_text()
        time.sleep(0.05)
    return process


def test_killing_a_worker_loses_nothing(
    ground: Ground,
    scheduler: str,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    for repository in range(4):
        for tag in range(3):
            ground.put(
                image(repository * 10 + tag, 150_000), f"1.{tag}", repository=f"{ground.at_source}/r{repository}"
            )
    ground.write(source=f"{ground.at_source}/*", destination=f"{ground.destination.host}/dask/")
    with ExitStack() as stack:
        workers = [begin_worker(scheduler, environment, tmp_path, name) for name in ("one", "two")]
        for worker in workers:
            stack.callback(worker.wait)
            stack.callback(worker.kill)
        report = tmp_path / "report.json"
        running = ground.begin("--executor", f"dask://{scheduler}", "--limit-rate", "600k", "--report", report)
        end = time.monotonic() + 60
        while not ground.destination.requests("POST", "/uploads/", "dask/"):
            assert time.monotonic() < end
            assert running.poll() is None, running.communicate()
            time.sleep(0.02)
        workers[0].kill()
        _, said = running.communicate(timeout=120)
        assert running.returncode == 0, said
    assert "2 Dask workers share the work" in said
    document = json.loads(report.read_text())
    assert document["totals"]["copied"] + document["totals"]["kept"] == 12
    assert document["totals"]["failed"] == 0
    assert len({tag["destination"] for tag in document["tags"]}) == 12
    # What the cluster did is known here: another pass finds nothing to do.
    assert ground.run().stdout == ""


def test_a_scheduler_that_is_not_there(ground: Ground) -> None:
    ground.put(build_image(), "1")
    ground.write()
    done = ground.run("--executor", f"dask://127.0.0.1:{free_port()}")
    assert done.status == 1
    assert "no Dask scheduler at 127.0.0.1:" in done.stderr
