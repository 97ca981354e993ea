"""What all tests share: data files, images, settings that see nothing of the machine, and registries."""

from __future__ import annotations

import fcntl
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import zstandard

from imgmove.settings import Settings
from imgmove.settings.environment import Environment
from tests.real.requirements import missing_servers

pytest_plugins = [
    "tests.fixtures_registry",
    "tests.real.fixtures",
    "tests.real.mirroring",
    "tests.real.engines",
    "tests.real.engine_fixtures",
    "tests.real.sshd",
    "tests.real.edge",
]

# A busy machine is slow at times; how long an example takes says nothing about the code.
hypothesis.settings.register_profile("imgmove", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("imgmove")

# The engines that tests start, and their clients, shall not hear of those of whoever runs the tests.
for variable in [name for name in os.environ if name.startswith(("DOCKER_", "CONTAINER_", "CONTAINERS_"))]:
    del os.environ[variable]

DATA = Path(__file__).parent / "data"
FIXTURES = DATA / "fixtures"


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the test images, unpacked once for all workers of a run."""
    folder = tmp_path_factory.getbasetemp().parent / "imgmove-images"
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".done").exists():
            _unpack(folder)
            (folder / ".done").touch()
    return folder


def _unpack(folder: Path) -> None:
    unpacker = zstandard.ZstdDecompressor(max_window_size=128 << 20)
    packed = (DATA / "images" / "edge-images.tar.zst").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(unpacker.stream_reader(packed).read())) as archive:
        archive.extractall(folder, filter="data")
    old = (DATA / "images" / "edge.docker20.tar.zst").read_bytes()
    (folder / "edge.docker20.tar").write_bytes(unpacker.stream_reader(old).read())


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a user without files, whose system has none either."""
    home = tmp_path / "home"
    home.mkdir()
    variables = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(tmp_path)}
    return Settings(Environment(variables, str(home), str(tmp_path / "system")), retries=2)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment variables of a user without files, for programs that tests start."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return {**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="session")
def fixture_path() -> Callable[..., Path]:
    """Where a data file lies, by its parts."""
    return FIXTURES.joinpath


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says which real servers were not there, so that nobody takes a green run for a whole one."""
    for name, advice in missing_servers().items():
        terminalreporter.write_line(f"left out: the tests that need {name} ({advice})")
