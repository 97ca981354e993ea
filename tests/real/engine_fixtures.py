"""What the tests of engines share: images, sessions that are listened to, and ways to count what they send."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.engines import serving
from imgmove.endpoints.layout import Layout
from imgmove.ports import ByteStream, Event, Note
from imgmove.server import Exchange, StreamServer
from imgmove.settings import Settings
from imgmove.wire.files import LocalFiles
from imgmove.wire.machine import LocalCommand, LocalMachine
from tests.images import build_image, build_index
from tests.real.engines import RealEngine
from tests.real.programs import hello_program

ENGINES = ["docker20", "docker26", "docker26_containerd", "podman4", "containerd1"]

BASE = {"hello": hello_program(), "base": random.Random(1).randbytes(6_000_000)}
ADDED = {"added": random.Random(2).randbytes(1_000_000)}


class Traffic:
    """Counts what leaves this process for an engine on this machine, whichever way it goes."""

    def __init__(self) -> None:
        self.bytes = 0

    def count(self, count: int) -> None:
        self.bytes += count

    def served(self, exchange: Exchange, /) -> None:
        self.bytes += exchange.sent


class _Counted:
    def __init__(self, stream: ByteStream, traffic: Traffic) -> None:
        self._stream = stream
        self._traffic = traffic
        self.recv = stream.recv
        self.close = stream.close
        self.settimeout = stream.settimeout

    def sendall(self, data: bytes, /) -> None:
        self._traffic.count(len(data))
        self._stream.sendall(data)


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    """What leaves this process from now on."""
    found = Traffic()
    connect, write = LocalMachine.connect, LocalCommand.write

    def counted_write(command: LocalCommand, data: bytes) -> None:
        found.count(len(data))
        write(command, data)

    monkeypatch.setattr(LocalMachine, "connect", lambda machine, path: _Counted(connect(machine, path), found))
    monkeypatch.setattr(LocalCommand, "write", counted_write)
    monkeypatch.setattr(serving, "StreamServer", partial(StreamServer, log=found.served))
    return found


class Listener:
    """Hears of notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def on(self, event: Event, /) -> None:
        if isinstance(event, Note):
            self.notes.append(event.text)


@pytest.fixture
def listener() -> Listener:
    """Hears of what the session has to say."""
    return Listener()


@pytest.fixture
def session(settings: Settings, listener: Listener) -> Iterator[imgmove.Session]:
    """A session of one test."""
    with imgmove.Session(settings, listener) as session:
        yield session


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[RealEngine]:
    """Each engine, without any image."""
    found: RealEngine = request.getfixturevalue(request.param)
    found.clean()
    assert found.names() == []
    yield found
    found.clean()


@pytest.fixture
def layout(tmp_path: Path) -> str:
    """Two versions of an image, and others."""
    path = tmp_path / "layout"
    place = Layout.writable(LocalFiles(), str(path))
    build_image([BASE]).put(place, "app:1")
    build_image([BASE, ADDED]).put(place, "app:2")
    build_index("linux/amd64", "linux/arm64", attested=True).put(place, "multi:1")
    return f"oci:{path}"


@pytest.fixture
def unseen(tmp_path: Path) -> tuple[str, list[dict[str, bytes]]]:
    """An image with a layer that no engine had before: what is removed may lie in an engine's store for a while."""
    layers = [BASE, {"unseen": random.randbytes(6_000_000)}]
    path = tmp_path / "unseen"
    build_image(layers).put(Layout.writable(LocalFiles(), str(path)), "app:1")
    return f"oci:{path}:app:1", layers


def copied(session: imgmove.Session, source: str, destination: str, **options: object) -> imgmove.CopyReport:
    """Copies, and makes sure that it went well."""
    report = imgmove.copy(source, destination, imgmove.CopyOptions(**options), session=session)  # type: ignore[arg-type]
    report.raise_failures()
    return report


def diff_ids_of(layers: list[dict[str, bytes]]) -> list[str]:
    """What a config says of such layers."""
    image = build_image(layers, compression="none")
    return [str(layer.digest) for layer in image.nodes[0].children[1:]]


def allowed(count: int) -> int:
    """The missing layers + 3 % + 64 KiB."""
    return count * 103 // 100 + (64 << 10)
