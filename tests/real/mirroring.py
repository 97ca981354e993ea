"""The ground that tests of mirror passes stand on: two real registries, and a repository of each test's own on both."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

import imgmove
from imgmove.model.location_grammar import parse_location
from imgmove.ports import Destination
from imgmove.settings import Settings
from tests.images import BuiltImage, build_image
from tests.real.fixtures import RealRegistry, run_registry


@dataclass(frozen=True)
class Ended:
    """How a pass ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()


@dataclass(frozen=True)
class Ground:
    """Two registries, a repository of this test's own on both, and what is needed to run passes between them."""

    source: RealRegistry
    destination: RealRegistry
    repository: str
    folder: Path
    environment: dict[str, str]
    settings: Settings

    @property
    def config(self) -> Path:
        return self.folder / "mirror.yaml"

    @property
    def at_source(self) -> str:
        return f"{self.source.host}/{self.repository}"

    @property
    def at_destination(self) -> str:
        return f"{self.destination.host}/{self.repository}"

    def put(self, image: BuiltImage, *tags: str, repository: str = "") -> None:
        """Puts an image into the source."""
        with imgmove.Session(self.settings) as session:
            place = parse_location(repository or self.at_source)
            place_to = session.endpoints.destination(place)
            assert isinstance(place_to, Destination)
            image.put(place_to, *tags)

    def write(self, *rules: str, source: str = "", destination: str = "", more: str = "") -> None:
        """Writes a mirror file of one mirror."""
        entry = [f"source: {source or self.at_source}", f"destination: {destination or self.at_destination}", *rules]
        self.config.write_text(f"version: 1\n{more}\nmirrors:\n- name: it\n" + "".join(f"  {line}\n" for line in entry))

    def words(self, *options: object) -> list[str]:
        return [sys.executable, "-m", "imgmove", "mirror", str(self.config), *map(str, options)]

    def run(self, *options: object) -> Ended:
        """Does a pass."""
        done = subprocess.run(self.words(*options), capture_output=True, text=True, env=self.environment, timeout=120)
        assert "Traceback" not in done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    def begin(self, *options: object) -> subprocess.Popen[str]:
        """Begins a pass."""
        return subprocess.Popen(
            self.words(*options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment
        )

    def age_state(self, seconds: float) -> None:
        """Lets time pass for what passes learned."""
        (path,) = (Path(self.environment["XDG_CACHE_HOME"]) / "imgmove" / "mirror").glob("*.sqlite")
        with closing(sqlite3.connect(path)) as connection, connection:
            for table in ("images", "referrers"):
                connection.execute(f"UPDATE {table} SET seen = seen - ?", (seconds,))

    def tags(self) -> list[str]:
        """What is at the destination."""
        with imgmove.Session(self.settings) as session:
            return imgmove.tags(self.at_destination, session=session)

    def verify(self, *tags: str) -> None:
        """Proves that both sides hold the same."""
        with imgmove.Session(self.settings) as session:
            for tag in tags:
                imgmove.verify(
                    f"{self.at_source}:{tag}", f"{self.at_destination}:{tag}", session=session
                ).raise_differences()

    def counting(self) -> Callable[[], tuple[list[str], list[str]]]:
        """Counts from now on; the answer are the requests that source and destination heard."""
        before = [len(side.requests(f"/v2/{self.repository}/")) for side in (self.source, self.destination)]

        def count() -> tuple[list[str], list[str]]:
            found = [side.requests(f"/v2/{self.repository}/") for side in (self.source, self.destination)]
            return found[0][before[0] :], found[1][before[1] :]

        return count


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealRegistry, RealRegistry]]:
    folder = tmp_path_factory.mktemp("pair")
    for name in ("source", "destination"):
        (folder / name).mkdir()
    with run_registry(folder / "source") as source, run_registry(folder / "destination") as destination:
        yield source, destination


@pytest.fixture
def ground(
    pair: tuple[RealRegistry, RealRegistry], tmp_path: Path, environment: dict[str, str], passes_settings: Settings
) -> Ground:
    return Ground(*pair, f"m{uuid.uuid4().hex[:8]}/app", tmp_path, environment, passes_settings)


@pytest.fixture
def passes_settings(tmp_path: Path) -> Settings:
    home = tmp_path / "other-home"
    home.mkdir()
    return Settings.from_environment({"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")})


def image(number: int, size: int = 100) -> BuiltImage:
    return build_image([{f"file-{number}": random.Random(number).randbytes(size)}, {"shared": b"by all"}])
