"""Exports as people ask for them: from places of every kind, whole or not at all."""

from __future__ import annotations

import gzip
import io
import math
import os
import random
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.factory import Endpoints
from imgmove.endpoints.layout import Layout
from imgmove.engine.layers import AHEAD, StoredLayer
from imgmove.engine.run import RetryPolicy
from imgmove.errors import DigestMismatch, LocalError, MalformedContent, NotFound, Truncated, UsageError
from imgmove.model.location_grammar import parse_location
from imgmove.ports import BlobFinished, Event, PlanMade
from imgmove.settings import Settings
from imgmove.stages.export import export_to_file, export_to_stream
from imgmove.streams import drain
from imgmove.wire.files import LocalFiles
from tests.images import BuiltImage, build_artifact, build_image, build_index, docker_archive
from tests.quirks import Drop, Quirks, RegistryServer

IMAGE = build_image([{"etc/kept": b"1", "etc/gone": b"2"}, {"etc/.wh.gone": b"", "new": b"3" * 100_000}])


@pytest.fixture
def session(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[imgmove.Session]:
    monkeypatch.setattr(RetryPolicy, "delay", lambda *_: 0.0)
    with imgmove.Session(settings) as session:
        yield session


def placed(image: BuiltImage, folder: Path) -> str:
    image.put(Layout.writable(LocalFiles(), str(folder)), "x")
    return f"oci:{folder}:x"


def blob_files(folder: Path) -> list[Path]:
    return sorted((folder / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)


def test_a_layer_that_is_read_again_is_told_of_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def read_twice(layers: Sequence[StoredLayer], _: object) -> None:
        for layer in (*layers, *layers):
            drain(layer.open())

    class Counting:
        left = 0

        def on(self, event: Event, /) -> None:
            if isinstance(event, PlanMade):
                self.left += event.blobs_to_send
            self.left -= isinstance(event, BlobFinished)

    monkeypatch.setattr("imgmove.stages.export.unite", read_twice)
    with imgmove.Session(settings, watching := Counting()) as session:
        export_to_stream(session, parse_location(placed(IMAGE, tmp_path / "in")), io.BytesIO())
    assert watching.left == 0


def test_a_layer_knows_only_those_that_are_begun_ahead_of_it(
    session: imgmove.Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found: list[StoredLayer] = []
    monkeypatch.setattr("imgmove.stages.export.unite", lambda layers, _: found.extend(layers))
    image = parse_location(placed(build_image([{"a": b""}] * 10), tmp_path / "in"))
    export_to_stream(session, image, io.BytesIO())
    assert [len(layer.below) for layer in found] == [AHEAD] * (10 - AHEAD) + [2, 1, 0]
    assert all(one is other for one, other in zip(found[0].below, found[1:], strict=False))


def test_every_place_gives_the_same_bytes(
    session: imgmove.Session, settings: Settings, registry: RegistryServer, tmp_path: Path
) -> None:
    place = placed(IMAGE, tmp_path / "layout")
    imgmove.copy(place, f"{registry.host}/app:1", session=session).raise_failures()
    imgmove.copy(place, f"oci-archive:{tmp_path / 'x.tar'}:app:1", session=session).raise_failures()
    docker_archive(tmp_path / "old.tar", IMAGE)
    found = set()
    for source in (place, f"{registry.host}/app:1", str(tmp_path / "x.tar"), f"docker-archive:{tmp_path / 'old.tar'}"):
        imgmove.export(source, str(tmp_path / "out.tar"), session=session)
        found.add((tmp_path / "out.tar").read_bytes())
    with imgmove.Session(settings) as other, (tmp_path / "x.tar").open("rb") as pipe:
        other.endpoints = Endpoints(settings, stdin=pipe)
        stream = io.BytesIO()
        export_to_stream(other, parse_location("-"), stream)
        found.add(stream.getvalue())
        other.endpoints.close()
    (tar,) = found
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        assert sorted(archive.getnames()) == ["etc", "etc/kept", "new"]


def test_a_platform_of_an_index(session: imgmove.Session, tmp_path: Path) -> None:
    place = placed(build_index("linux/arm64", "linux/amd64"), tmp_path / "layout")
    for platform in (None, "linux/arm64"):
        imgmove.export(place, folder=str(tmp_path / str(platform)), platform=platform, session=session)
        assert (tmp_path / str(platform) / "platform").read_text() == (platform or "linux/amd64")
    with pytest.raises(NotFound, match="s390x"):
        imgmove.export(place, str(tmp_path / "out.tar"), platform="linux/s390x", session=session)


def test_a_connection_that_breaks_is_gone_on_with(
    session: imgmove.Session, registry_factory: Callable[..., RegistryServer], tmp_path: Path
) -> None:
    noise = random.Random(1).randbytes(3_000_000)
    place = placed(build_image([{"lower": noise}, {"upper": noise[::-1]}]), tmp_path / "layout")
    broken = registry_factory(Quirks(drops=(Drop("GET blob", after=1_000_000, count=3),)))
    imgmove.copy(place, f"{broken.host}/app:1", session=session).raise_failures()
    imgmove.export(place, str(tmp_path / "expected.tar"), session=session)
    broken.forget()
    imgmove.export(f"{broken.host}/app:1", str(tmp_path / "out.tar"), session=session)
    assert (tmp_path / "out.tar").read_bytes() == (tmp_path / "expected.tar").read_bytes()
    # The config, and each layer in two pieces.
    assert broken.count("GET blob") == 5
    assert broken.sent("GET blob") < 6_100_000


def test_a_large_layer_over_a_slow_connection_comes_over_several(
    session: imgmove.Session, registry: RegistryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgmove.engine.split._FAST", math.inf)
    monkeypatch.setattr("imgmove.engine.split._LOOKED_AT_AFTER", 1e-9)
    place = placed(build_image([{"large": random.Random(1).randbytes(12 << 20)}]), tmp_path / "layout")
    imgmove.copy(place, f"{registry.host}/app:1", session=session).raise_failures()
    imgmove.export(place, str(tmp_path / "expected.tar"), session=session)
    registry.forget()
    imgmove.export(f"{registry.host}/app:1", str(tmp_path / "out.tar"), session=session)
    assert (tmp_path / "out.tar").read_bytes() == (tmp_path / "expected.tar").read_bytes()
    # The config, the layer's beginning, and parts of 2 MiB.
    assert registry.count("GET blob") >= 6


def test_export_import_export(session: imgmove.Session, images: Path, tmp_path: Path) -> None:
    imgmove.export(str(images / "edge.oci.tar"), str(tmp_path / "one.tar"), session=session)
    imgmove.import_rootfs(str(tmp_path / "one.tar"), f"oci:{tmp_path / 'layout'}:x", session=session).raise_failures()
    imgmove.export(f"oci:{tmp_path / 'layout'}:x", str(tmp_path / "two.tar"), session=session)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


@pytest.mark.parametrize("damage", ["flipped", "cut", "other"])
def test_a_bad_layer_leaves_no_file(damage: str, session: imgmove.Session, tmp_path: Path) -> None:
    place = placed(IMAGE, tmp_path / "layout")
    layer = next(path for path in blob_files(tmp_path / "layout") if path.read_bytes()[:2] == b"\x1f\x8b")
    content = layer.read_bytes()
    damaged = {"flipped": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:], "cut": content[:-20]}
    layer.write_bytes(damaged.get(damage, gzip.compress(b"x" * 2000)))
    with pytest.raises((DigestMismatch, MalformedContent, Truncated, LocalError)) as caught:
        imgmove.export(place, str(tmp_path / "out.tar"), session=session)
    assert caught.value.side == "source"
    session.close()
    assert sorted(os.listdir(tmp_path)) == ["home", "layout"]


def test_a_layer_that_unpacks_to_something_else(session: imgmove.Session, tmp_path: Path) -> None:
    one, two = build_image([{"a": b"1"}]), build_image([{"a": b"2"}])
    (node,), (other,) = one.nodes, two.nodes
    document = node.content.replace(str(node.children[1].digest).encode(), str(other.children[1].digest).encode())
    layout = Layout.writable(LocalFiles(), str(tmp_path / "layout"))
    one.put(layout, "one")
    two.put(layout, "two")
    size = (f'"size":{node.children[1].size}'.encode(), f'"size":{other.children[1].size}'.encode())
    layout.put_manifest(document.replace(*size), node.media_type, ("mixed",))
    with pytest.raises(DigestMismatch, match="layer 1 .* diffID"):
        imgmove.export(f"oci:{tmp_path / 'layout'}:mixed", str(tmp_path / "out.tar"), session=session)
    assert not (tmp_path / "out.tar").exists()


def test_a_bomb_is_stopped(session: imgmove.Session, tmp_path: Path) -> None:
    place = placed(build_image([{"zeros": bytes(50_000_000)}]), tmp_path / "layout")
    with pytest.raises(MalformedContent, match="more than the 1000000 bytes of --max-size"):
        imgmove.export(place, str(tmp_path / "out.tar"), max_size=1_000_000, session=session)
    assert not (tmp_path / "out.tar").exists()
    with pytest.raises(MalformedContent, match="is not whole"):
        imgmove.export(place, folder=str(tmp_path / "x"), max_size=1_000_000, session=session)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that holds less than an image of the tests here."""
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_leaves_no_file(session: imgmove.Session, tmp_path: Path, small_disk: Path) -> None:
    place = placed(IMAGE, tmp_path / "layout")
    with pytest.raises(LocalError, match="[Nn]o space left") as caught:
        imgmove.export(place, str(small_disk / "out.tar"), session=session)
    assert caught.value.side == "destination"
    session.close()
    assert os.listdir(small_disk) == []


def test_a_full_disk_is_told_of_a_folder(session: imgmove.Session, tmp_path: Path, small_disk: Path) -> None:
    place = placed(IMAGE, tmp_path / "layout")
    with pytest.raises(LocalError, match="[Nn]o space left.*is not whole") as caught:
        imgmove.export(place, folder=str(small_disk / "tree"), session=session)
    assert caught.value.side == "destination"


def test_a_full_disk_is_told_of_a_stream(session: imgmove.Session, tmp_path: Path) -> None:
    place = placed(IMAGE, tmp_path / "layout")
    with open("/dev/full", "wb") as full, pytest.raises(LocalError, match="[Nn]o space left"):
        export_to_stream(session, parse_location(place), full)


def test_what_has_no_root_file_system(session: imgmove.Session, tmp_path: Path) -> None:
    place = placed(build_artifact(), tmp_path / "layout")
    with pytest.raises(UsageError, match="no root file system|no image that has a root"):
        export_to_file(session, parse_location(place), str(tmp_path / "out.tar"))
    with pytest.raises(UsageError):
        imgmove.export(place, session=session)


def test_the_command_line(tmp_path: Path, environment: dict[str, str]) -> None:
    place = placed(IMAGE, tmp_path / "layout")

    def run(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "imgmove", "export", *words], capture_output=True, env=environment, cwd=tmp_path
        )

    piped = run(place)
    assert (piped.returncode, piped.stderr) == (0, b"")
    assert run(place, "-o", "out.tar").returncode == 0
    assert (tmp_path / "out.tar").read_bytes() == piped.stdout
    assert run(place, "-C", "tree", "-q").returncode == 0
    assert (tmp_path / "tree" / "etc" / "kept").read_bytes() == b"1"
    again = run(place, "-C", "tree")
    assert (again.returncode, again.stderr.decode()) == (
        1,
        "imgmove: destination: tree is not empty (unpack into a new folder)\n",
    )
    for wrong in (("-o", "x", "-C", "y"), ("--json",), ("--max-size", "much")):
        assert run(place, *wrong).returncode == 2
