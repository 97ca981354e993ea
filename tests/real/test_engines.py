"""Images into real engines and out of them: what is there afterwards, what is not, and how many bytes it took."""

from __future__ import annotations

import random
import subprocess
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.engines import serving
from imgmove.endpoints.layout import Layout
from imgmove.errors import NotFound
from imgmove.model import media_types
from imgmove.model.platform import Platform
from imgmove.ports import ByteStream, Event, Note
from imgmove.server import Exchange, HttpServer
from imgmove.settings import Settings
from imgmove.wire.files import LocalFiles
from imgmove.wire.machine import LocalCommand, LocalMachine
from tests.images import build_image, build_index
from tests.real.engines import RealEngine
from tests.real.fixtures import RealRegistry
from tests.real.programs import SAYS, hello_program

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]

ENGINES = ["docker20", "docker26", "docker26_containerd", "podman4", "containerd1"]

BASE = {"hello": hello_program(), "base": random.Random(1).randbytes(6_000_000)}
ADDED = {"added": random.Random(2).randbytes(1_000_000)}


class Traffic:
    """Counts what leaves this process for an engine, whichever way it goes."""

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
    monkeypatch.setattr(serving, "HttpServer", partial(HttpServer, log=found.served))
    return found


class Listener:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def on(self, event: Event, /) -> None:
        if isinstance(event, Note):
            self.notes.append(event.text)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def session(settings: Settings, listener: Listener) -> Iterator[imgmove.Session]:
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


def copied(session: imgmove.Session, source: str, destination: str, **options: object) -> imgmove.CopyReport:
    report = imgmove.copy(source, destination, imgmove.CopyOptions(**options), session=session)  # type: ignore[arg-type]
    report.raise_failures()
    return report


def build_diff_ids(layers: list[dict[str, bytes]]) -> list[str]:
    image = build_image(layers, compression="none")
    return [str(layer.digest) for layer in image.nodes[0].children[1:]]


def allowed(count: int) -> int:
    """The missing layers + 3 % + 64 KiB."""
    return count * 103 // 100 + (64 << 10)


def test_an_image_arrives_and_runs(engine: RealEngine, layout: str, session: imgmove.Session) -> None:
    copied(session, f"{layout}:app:1", engine.at("app:1"))
    assert engine.names() == [engine.shown("app:1")]
    assert engine.diff_ids("app:1") == build_diff_ids([BASE])
    assert engine.hello("app:1") == SAYS


def test_only_the_new_layer_is_sent(
    engine: RealEngine, layout: str, session: imgmove.Session, traffic: Traffic, listener: Listener
) -> None:
    copied(session, f"{layout}:app:1", engine.at("app:1"))
    traffic.bytes = 0
    copied(session, f"{layout}:app:2", engine.at("app:2"))
    assert 1_000_000 < traffic.bytes < allowed(1_000_000)
    assert engine.diff_ids("app:2") == build_diff_ids([BASE, ADDED])
    assert engine.hello("app:2") == SAYS
    traffic.bytes = 0
    report = copied(session, f"{layout}:app:2", engine.at("app:2"))
    assert report.images[0].status == "present"
    assert traffic.bytes < 64 << 10
    assert engine.names() == [engine.shown("app:1"), engine.shown("app:2")]
    assert listener.notes == []


def test_on_a_base_that_was_loaded_by_others(
    engine: RealEngine, layout: str, session: imgmove.Session, traffic: Traffic, tmp_path: Path
) -> None:
    subprocess.run(["skopeo", "copy", "-q", f"{layout}:app:1", f"docker-archive:{tmp_path / 'x.tar'}:x:1"], check=True)
    engine.load(tmp_path / "x.tar")
    traffic.bytes = 0
    copied(session, f"{layout}:app:2", engine.at("app:2"))
    assert traffic.bytes < allowed(1_000_000)
    assert engine.diff_ids("app:2") == build_diff_ids([BASE, ADDED])


def test_on_a_base_that_was_pulled(
    engine: RealEngine, layout: str, session: imgmove.Session, traffic: Traffic, plain_registry: RealRegistry
) -> None:
    base = f"{plain_registry.host}/e{uuid.uuid4().hex[:8]}/base:1"
    copied(session, f"{layout}:app:1", base)
    engine.pull(base)
    traffic.bytes = 0
    copied(session, f"{layout}:app:2", engine.at("app:2"))
    assert traffic.bytes < allowed(1_000_000)
    assert engine.diff_ids("app:2") == build_diff_ids([BASE, ADDED])


def test_an_index_gives_the_engine_its_own_platform(engine: RealEngine, layout: str, session: imgmove.Session) -> None:
    copied(session, f"{layout}:multi:1", engine.at("multi:1"))
    amd64 = imgmove.inspect(f"{layout}:multi:1", "linux/amd64", session=session)
    assert engine.diff_ids("multi:1") == amd64.config["rootfs"]["diff_ids"]  # type: ignore[index]


def test_another_platform_on_request(engine: RealEngine, layout: str, session: imgmove.Session) -> None:
    arm = imgmove.inspect(f"{layout}:multi:1", "linux/arm64", session=session).config
    copied(session, f"{layout}:multi:1", engine.at("arm:1"), platforms=(Platform.parse("linux/arm64"),))
    assert engine.diff_ids("arm:1") == arm["rootfs"]["diff_ids"]  # type: ignore[index]


def test_out_of_an_engine_and_back(
    engine: RealEngine, layout: str, session: imgmove.Session, plain_registry: RealRegistry, listener: Listener
) -> None:
    copied(session, f"{layout}:app:2", engine.at("app:2"))
    there = f"{plain_registry.host}/e{uuid.uuid4().hex[:8]}/app:2"
    report = copied(session, engine.at("app:2"), there)
    original = imgmove.inspect(f"{layout}:app:2", session=session)
    if engine.keeps_manifests:
        assert report.images[0].digest == original.root.digest
        assert listener.notes == []
    else:
        assert len(listener.notes) == 1
        assert "digest of its own" in listener.notes[0]
    out = imgmove.inspect(there, session=session)
    assert out.config["rootfs"] == original.config["rootfs"]
    assert all(media_types.layer_compression(layer.media_type) == "gzip" for layer in out.layers)
    imgmove.verify(there, session=session)


def test_an_unknown_name(engine: RealEngine, layout: str, session: imgmove.Session, tmp_path: Path) -> None:
    copied(session, f"{layout}:app:1", engine.at("app:1"))
    with pytest.raises(NotFound, match="app:1"):
        copied(session, engine.at("app:9"), f"oci:{tmp_path / 'none'}:x")


def test_several_images_in_one_archive_and_loaded_again(
    engine: RealEngine, layout: str, session: imgmove.Session, tmp_path: Path
) -> None:
    for tag in ("1", "2"):
        copied(session, f"{layout}:app:{tag}", engine.at(f"app:{tag}"))
    report = imgmove.save([engine.at("app:1"), engine.at("app:2")], str(tmp_path / "two.tar"), session=session)
    report.raise_failures()
    engine.clean()
    with imgmove.Session(session.settings) as again:
        imgmove.load(str(tmp_path / "two.tar"), engine.at(""), session=again).raise_failures()
    assert engine.names() == [engine.shown("app:1"), engine.shown("app:2")]
    assert engine.diff_ids("app:2") == build_diff_ids([BASE, ADDED])
