"""Images into real engines and out of them: what is there afterwards, what is not, and how many bytes it took."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

import imgmove
from imgmove.errors import ImgmoveError, NotFound, ServerRefused, SomeFailed
from imgmove.model import media_types
from imgmove.model.location import EngineLocation
from imgmove.model.location_grammar import parse_location
from imgmove.model.platform import Platform
from imgmove.wire.machine import NOT_RUNNING
from tests.real.engine_fixtures import ADDED, BASE, ENGINES, Listener, Traffic, allowed, copied, diff_ids_of
from tests.real.engines import RealEngine, run_dockerd
from tests.real.fixtures import RealRegistry
from tests.real.programs import SAYS

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]


def test_an_image_arrives_and_of_the_next_only_the_new_layer(
    engine: RealEngine, layout: str, session: imgmove.Session, traffic: Traffic, listener: Listener
) -> None:
    copied(session, f"{layout}:app:1", engine.at("app:1"))
    assert engine.names() == [engine.shown("app:1")]
    assert engine.diff_ids("app:1") == diff_ids_of([BASE])
    traffic.bytes = 0
    copied(session, f"{layout}:app:2", engine.at("app:2"))
    assert 1_000_000 < traffic.bytes < allowed(1_000_000)
    assert engine.diff_ids("app:2") == diff_ids_of([BASE, ADDED])
    assert engine.hello("app:2") == SAYS
    traffic.bytes = 0
    report = copied(session, f"{layout}:app:2", engine.at("app:2"))
    assert report.images[0].status == "present"
    assert traffic.bytes < 64 << 10
    assert engine.names() == [engine.shown("app:1"), engine.shown("app:2")]
    assert listener.notes == []


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
    documents = report.totals.bytes_sent - sum(layer.size for layer in out.layers)
    assert 0 < documents < 10_000, "what was sent is told"
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
    assert engine.diff_ids("app:2") == diff_ids_of([BASE, ADDED])


def test_a_save_that_nobody_reads_on(
    podman4: RealEngine, layout: str, session: imgmove.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    podman4.clean()
    copied(session, f"{layout}:app:1", podman4.at("app:1"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    location = parse_location(podman4.at("app:1"))
    assert isinstance(location, EngineLocation)
    stream = session.endpoints.engines.save(location)
    assert stream.read(1000)
    assert list((tmp_path / "temporary").iterdir())
    stream.close()
    assert list((tmp_path / "temporary").iterdir()) == []
    podman4.clean()


def test_load_goes_to_the_docker_that_the_environment_names(
    docker20: RealEngine, layout: str, session: imgmove.Session, tmp_path: Path
) -> None:
    docker20.clean()
    imgmove.save([f"{layout}:app:1"], str(tmp_path / "one.tar"), session=session).raise_failures()
    done = subprocess.run(
        [sys.executable, "-m", "imgmove", "load", "-i", str(tmp_path / "one.tar")],
        env={**os.environ, "DOCKER_HOST": f"unix://{docker20.socket}", "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("docker-daemon:app:1@sha256:")
    assert docker20.names() == ["app:1"]
    docker20.clean()


def test_a_broken_source_leaves_nothing(
    engine: RealEngine, unseen: tuple[str, list[dict[str, bytes]]], session: imgmove.Session, tmp_path: Path
) -> None:
    layers = [path for path in tmp_path.rglob("blobs/sha256/*") if path.stat().st_size > 5_000_000]
    assert len(layers) == 2
    for layer in layers:
        content = bytearray(layer.read_bytes())
        content[5_000_000] ^= 1
        layer.write_bytes(content)
    for _ in range(2):
        report = imgmove.copy(unseen[0], engine.at("app:1"), session=session)
        assert report.images[0].error is not None
        assert report.images[0].error.exit_status == 4
        assert report.images[0].error.side == "source"
        assert engine.names() == []


def test_a_docker_that_is_too_old_for_zstd(
    docker20: RealEngine, layout: str, session: imgmove.Session, tmp_path: Path
) -> None:
    docker20.clean()
    zstd = f"oci:{tmp_path / 'zstd'}:app:1"
    copied(session, f"{layout}:app:1", zstd, compression="zstd")
    with pytest.raises(ServerRefused, match="can't unpack zstd layers") as caught:
        copied(session, zstd, docker20.at("app:1"))
    assert "--compression gzip" in str(caught.value)
    assert docker20.names() == []
    copied(session, zstd, docker20.at("app:1"), compression="gzip")
    assert docker20.diff_ids("app:1") == diff_ids_of([BASE])
    # What it holds needs no unpacking any more.
    copied(session, zstd, docker20.at("app:other"))
    docker20.clean()


def test_a_full_disk(
    layout: str, session: imgmove.Session, tmp_path_factory: pytest.TempPathFactory, docker20: RealEngine
) -> None:
    folder = tmp_path_factory.mktemp("full")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(folder)], check=True)
    try:
        with run_dockerd(folder, "--storage-driver", "vfs") as engine:
            with pytest.raises(ImgmoveError, match="no space left on device") as caught:
                copied(session, f"{layout}:app:1", engine.at("app:1"))
            assert caught.value.exit_status == 1
            assert engine.names() == []
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_many_engines_and_a_source_that_is_read_once(
    docker20: RealEngine,
    docker26: RealEngine,
    podman4: RealEngine,
    containerd1: RealEngine,
    layout: str,
    session: imgmove.Session,
    plain_registry: RealRegistry,
) -> None:
    engines = [docker20, docker26, podman4, containerd1]
    for engine in engines:
        engine.clean()
    repository = f"e{uuid.uuid4().hex[:8]}/app"
    copied(session, f"{layout}:app:2", f"{plain_registry.host}/{repository}:2")
    places = [engine.at("app:2") for engine in engines]
    nowhere = "docker-daemon:app:2?socket=/nowhere.sock"
    report = imgmove.copy(f"{plain_registry.host}/{repository}:2", [*places, nowhere], session=session)
    assert [str(image.error) for image in report.images if image.error] == [
        f"destination: nothing listens at /nowhere.sock ({NOT_RUNNING})"
    ]
    with pytest.raises(SomeFailed):
        report.raise_failures()
    for engine in engines:
        assert engine.diff_ids("app:2") == diff_ids_of([BASE, ADDED])
        engine.clean()
    reads = [line.split('"')[1] for line in plain_registry.requests("GET", f"/{repository}/blobs/")]
    assert len(reads) == len(set(reads)) == 3, "config and layers, each once"


def test_from_engine_to_engine(
    docker20: RealEngine, podman4: RealEngine, layout: str, session: imgmove.Session, traffic: Traffic
) -> None:
    for engine in (docker20, podman4):
        engine.clean()
    for tag in ("1", "2"):
        copied(session, f"{layout}:app:{tag}", docker20.at(f"app:{tag}"))
    copied(session, docker20.at("app:1"), podman4.at("app:1"))
    traffic.bytes = 0
    copied(session, docker20.at("app:2"), podman4.at(""))
    assert traffic.bytes < allowed(1_000_000)
    assert podman4.diff_ids("app:2") == diff_ids_of([BASE, ADDED])
    for engine in (docker20, podman4):
        engine.clean()


@pytest.mark.parametrize("name", ENGINES)
def test_a_registry_that_has_the_base_gets_the_rest(
    name: str,
    request: pytest.FixtureRequest,
    layout: str,
    session: imgmove.Session,
    plain_registry: RealRegistry,
) -> None:
    engine: RealEngine = request.getfixturevalue(name)
    engine.clean()
    repository = f"e{uuid.uuid4().hex[:8]}/app"
    base = f"{plain_registry.host}/{repository}:base"
    # It was compressed by another program than ours, so that our own gzip of it would have another digest.
    copied(session, f"{layout}:app:1", base)
    copied(session, f"{layout}:app:2", engine.at("app:2"))
    before = len(plain_registry.requests("PUT", f"/{repository}/blobs/uploads/"))
    report = copied(session, engine.at("app:2"), f"{plain_registry.host}/{repository}:2")
    uploads = len(plain_registry.requests("PUT", f"/{repository}/blobs/uploads/")) - before
    assert uploads == 2, "the new layer and the config"
    assert report.totals.bytes_sent < allowed(1_000_000)
    out = imgmove.inspect(f"{plain_registry.host}/{repository}:2", session=session)
    assert out.layers[0].digest == imgmove.inspect(base, session=session).layers[0].digest
    assert out.config["rootfs"]["diff_ids"] == diff_ids_of([BASE, ADDED])  # type: ignore[index]
    imgmove.verify(f"{plain_registry.host}/{repository}:2", session=session)
    engine.clean()
