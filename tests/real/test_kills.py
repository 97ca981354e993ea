"""SIGKILL at any moment of a copy: a rerun ends with the same content, and files fetch next to nothing twice."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.layout import Layout
from imgmove.settings import Settings
from imgmove.wire.files import LocalFiles
from tests.images import build_image
from tests.real import kill_child
from tests.real.fault_proxy import Fault, FaultProxy
from tests.real.fixtures import RealRegistry

pytestmark = pytest.mark.real

IMAGE = build_image([{"big": random.Random(31).randbytes(5 << 20)}, {"small": random.Random(32).randbytes(1 << 20)}])
SIZE = sum(map(len, IMAGE.blobs.values()))
RATE = 4 << 20
MOMENTS = 50
AT_ONCE = 8


@pytest.fixture(scope="module")
def there(plain_registry: RealRegistry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image in a real registry."""
    folder = tmp_path_factory.mktemp("kills")
    IMAGE.put(Layout.writable(LocalFiles(), str(folder / "in")), "app:1")
    kill_child.copy(f"oci:{folder / 'in'}:app:1", f"{plain_registry.host}/kills:1", str(folder))
    return "kills:1"


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Starts processes that have everything imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["imgmove.stages.copy", "imgmove.endpoints.registry", "requests", "sqlite3"])
    return context


@dataclass(frozen=True)
class Case:
    """One kill: when, and what is copied where."""

    moment: float
    registry: str
    image: str
    place: str
    folder: Path
    processes: ForkServerContext

    def run(self) -> int:
        """Kills a copy, copies again, and says how many bytes both fetched."""
        with FaultProxy(self.registry, rate=RATE) as proxy:
            words = (f"{proxy.host}/{self.image}", self.place, str(self.folder))
            first = self.processes.Process(target=kill_child.copy, args=words)
            first.start()

            def watch() -> None:
                if proxy.down >= self.moment * SIZE:
                    first.kill()

            proxy.on_bytes(watch)
            first.join()
            # The statuses that a fork server tells are not to be relied on when processes end at once.
            done = self.folder / "done"
            assert done.exists() or not (self.folder / "out.tar").exists() or self.moment > 0.9
            done.unlink(missing_ok=True)
            proxy.on_bytes(lambda: None)
            again = self.processes.Process(target=kill_child.copy, args=words)
            again.start()
            again.join()
            assert done.exists()
            assert not list(self.folder.rglob(".imgmove-*"))
            return proxy.down


PLACES = {"layout": "oci:{}/out:app:1", "archive": "{}/out.tar", "registry": "{}/killed-{}:1"}


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("target", PLACES)
def test_kills(
    target: str,
    half: int,
    there: str,
    plain_registry: RealRegistry,
    processes: ForkServerContext,
    settings: Settings,
    tmp_path: Path,
) -> None:
    moments = [random.Random(seed).uniform(0.0, 1.0) for seed in range(half, MOMENTS, 2)]
    cases = []
    for number, moment in enumerate(moments):
        folder = tmp_path / str(number)
        folder.mkdir()
        owner = plain_registry.host if target == "registry" else folder
        place = PLACES[target].format(owner, f"{half}-{number}")
        cases.append(Case(moment, plain_registry.host, there, place, folder, processes))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        fetched = list(pool.map(Case.run, cases))
    with imgmove.Session(settings) as session:
        for case in cases:
            imgmove.verify(f"{plain_registry.host}/{there}", case.place, session=session).raise_differences()
    if target != "registry":
        assert max(fetched) <= 1.25 * SIZE, sorted(fetched)


def written(folder: Path) -> int:
    """Bytes that files below a folder take on the disk; holes take none."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # it may just get its final name
            total += path.lstat().st_blocks * 512
    return total


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("target", ["layout", "archive"])
def test_a_signal_while_a_server_stands_still(
    target: str,
    number: signal.Signals,
    status: int,
    there: str,
    plain_registry: RealRegistry,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    place = PLACES[target].format(tmp_path)
    command = [sys.executable, "-m", "imgmove", "copy", "-q"]
    with FaultProxy(plain_registry.host, Fault("stall", 2 << 20)) as proxy:
        source = f"{proxy.host}/{there}"
        process = subprocess.Popen([*command, source, place], stderr=subprocess.PIPE, env=environment)
        # What lies in the sockets' buffers when the signal comes is fetched twice.
        while not proxy.happened or written(tmp_path) < 1 << 20:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        # The server would be waited for a minute.
        _, said = process.communicate(timeout=20)
        assert process.returncode == status
        assert said.decode().count("\n") == 1
        assert not (tmp_path / "out.tar").exists()
        assert not (tmp_path / "out" / "index.json").exists()
        fetched = proxy.down
        proxy.heal()
        subprocess.run([*command, source, place], check=True, env=environment, stdout=subprocess.DEVNULL)
        assert fetched > 2 << 20
        assert proxy.down <= 1.25 * SIZE
    subprocess.run([*command[:-2], "verify", "-q", place], check=True, env=environment, stdout=subprocess.DEVNULL)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".imgmove")]
