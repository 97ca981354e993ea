"""A host that engines are reached on over a real sshd, behind a line that counts bytes and breaks when it is told."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import imgmove
from imgmove.settings import Settings
from tests.real.counted_link import CountedLink
from tests.real.engine_fixtures import Listener
from tests.real.engines import RealEngine
from tests.real.sshd import RealSshd, run_sshd


@dataclass(frozen=True)
class Edge:
    """A host that is reached over a line that counts."""

    sshd: RealSshd
    link: CountedLink

    def at(self, engine: RealEngine, name: str) -> str:
        """An image of an engine there."""
        return f"{engine.scheme}+ssh://{self.sshd.host}/{name}?{engine.options}"


Connect = Callable[[Edge], imgmove.Session]


@pytest.fixture(scope="session")
def edge_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSshd]:
    """An sshd that finds the programs that the tests find."""
    folder = tmp_path_factory.mktemp("edge")
    (folder / "tmp").mkdir()
    with run_sshd(folder, f"SetEnv PATH={os.environ['PATH']} TMPDIR={folder / 'tmp'}") as running:
        yield running


@pytest.fixture
def edge(edge_sshd: RealSshd, tmp_path: Path) -> Iterator[Edge]:
    """That sshd behind a line that counts."""
    with behind_link(edge_sshd, tmp_path) as found:
        yield found


@contextlib.contextmanager
def behind_link(sshd: RealSshd, tmp_path: Path) -> Iterator[Edge]:
    """An sshd behind a line of its own, until the block ends."""
    with contextlib.closing(CountedLink(sshd.port)) as link:
        known = tmp_path / "known_hosts"
        known.write_text(sshd.known_hosts.read_text().replace(f":{sshd.port} ", f":{link.port} "))
        yield Edge(replace(sshd, port=link.port, known_hosts=known), link)


@pytest.fixture
def connect(settings: Settings, listener: Listener) -> Iterator[Connect]:
    """A session with a connection of its own to a host."""
    with contextlib.ExitStack() as stack:

        def make(edge: Edge) -> imgmove.Session:
            return stack.enter_context(imgmove.Session(edge.sshd.settings(settings), listener))

        yield make
