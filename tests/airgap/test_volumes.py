"""Bundles in volumes: any order, several folders, and each kind of damage named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from imgmove.cli.bundle_options import parse_size
from imgmove.errors import UsageError
from tests.airgap.conftest import Connected, Run, noise
from tests.airgap.test_trust import flip
from tests.images import build_image
from tests.quirks import RegistryServer

SIZE = 150_000


@pytest.fixture
def volumes(connected: Connected, imgmove: Run, tmp_path: Path) -> list[Path]:
    """A signed bundle in volumes, with a blob that spans two, and the whole of it in one file."""
    assert imgmove("bundle", "keygen", "-o", "ours").status == 0
    words = ("bundle", "create", "-q", "--sign-key", "ours.key")
    assert imgmove(*words, "-o", "whole.bundle", *connected.names).status == 0
    ran = imgmove(*words, "-o", "cut.bundle", "--volume-size", SIZE, *connected.names)
    assert ran.status == 0, ran.stderr
    found = sorted(tmp_path.glob("cut.bundle.0*"))
    assert [path.name for path in found] == ["cut.bundle.001", "cut.bundle.002", "cut.bundle.003"]
    assert all(path.stat().st_size <= SIZE for path in found)
    return found


def test_in_any_order_from_several_folders(
    volumes: list[Path], imgmove: Run, registry: RegistryServer, tmp_path: Path, connected: Connected
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shuffled = [volumes[2].rename(other / "c"), volumes[0], volumes[1].rename(other / "b")]
    ran = imgmove("bundle", "verify", *shuffled, "--key", "ours.pub")
    assert ran.status == 0, ran.stdout + ran.stderr
    ran = imgmove("bundle", "load", "-q", *shuffled, "--to", f"{registry.host}/", "--key", "ours.pub")
    assert ran.status == 0, ran.stderr
    for name in ("team/app:1", "team/web:1", "base/multi:2"):
        assert imgmove("verify", f"{connected.server.host}/{name}", f"{registry.host}/{name}").status == 0


def test_one_alone_is_made_again_byte_for_byte(
    volumes: list[Path], imgmove: Run, connected: Connected, tmp_path: Path
) -> None:
    before = volumes[1].read_bytes()
    volumes[1].unlink()
    connected.server.forget()
    words = ("--sign-key", "ours.key", "--volume-size", SIZE, "--volume", 2, *connected.names)
    ran = imgmove("bundle", "create", "-q", "-o", "cut.bundle", *words)
    assert ran.status == 0, ran.stderr
    assert volumes[1].read_bytes() == before
    assert connected.server.sent("GET blob") < 320_000, "what lies in others alone is not read"
    ran = imgmove("bundle", "create", "-o", "cut.bundle", "--volume-size", SIZE, "--volume", 9, *connected.names)
    assert (ran.status, "the bundle has" in ran.stderr) == (2, True)


def missing(volumes: list[Path], _: Path) -> None:
    volumes[1].unlink()


def flipped(volumes: list[Path], _: Path) -> None:
    flip(volumes[1], volumes[1].stat().st_size - 20_000)


def foreign(volumes: list[Path], other: Path) -> None:
    shutil.copy(other, volumes[1])


def truncated(volumes: list[Path], _: Path) -> None:
    volumes[1].write_bytes(volumes[1].read_bytes()[:-5000])


def cut_early(volumes: list[Path], _: Path) -> None:
    volumes[1].write_bytes(volumes[1].read_bytes()[:700])


def forged(volumes: list[Path], _: Path) -> None:
    """The checksum of a piece."""
    content = volumes[1].read_bytes()
    place = content.index(b'"sha256":"', content.index(b'"pieces"')) + 12
    volumes[1].write_bytes(
        content[:place] + (b"1" if content[place : place + 1] != b"1" else b"2") + content[place + 1 :]
    )


DAMAGES = {
    "missing": (missing, "volume 2 of 3 is missing"),
    "flipped bit": (flipped, "is damaged"),
    "another bundle's": (foreign, "it belongs to another bundle"),
    "truncated": (truncated, "volume 2 ("),
    "cut off early": (cut_early, "cut.bundle.002): "),
    "volume header": (forged, "volume 2 ("),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_and_repaired_by_that_volume_alone(
    damage: str, volumes: list[Path], imgmove: Run, registry: RegistryServer, connected: Connected, tmp_path: Path
) -> None:
    connected.push("other/image:1", build_image([noise(11, 400_000)]))
    name = f"{connected.server.host}/other/image:1"
    assert imgmove("bundle", "create", "-q", "-o", "other.bundle", "--volume-size", SIZE, name).status == 0
    good = volumes[1].read_bytes()
    change, said = DAMAGES[damage]
    change(volumes, tmp_path / "other.bundle.002")
    at_hand = [path for path in volumes if path.exists()]
    ran = imgmove("bundle", "verify", *at_hand, "--key", "ours.pub")
    assert ran.status == 4, ran.stdout
    assert said in ran.stdout
    assert "needs it: " in ran.stdout
    ran = imgmove("bundle", "load", *at_hand, "--to", f"{registry.host}/", "--key", "ours.pub")
    assert ran.status == 3, ran.stderr
    assert said in ran.stderr
    done = ran.stdout.splitlines()
    assert 0 < len(done) < 3, "what does not depend on it is loaded"
    volumes[1].write_bytes(good)
    ran = imgmove("bundle", "load", *volumes, "--to", f"{registry.host}/", "--key", "ours.pub", "--json")
    assert ran.status == 0, ran.stderr
    assert [image["status"] for image in json.loads(ran.stdout)["images"]].count("present") == len(done)


def test_too_small(connected: Connected, imgmove: Run) -> None:
    ran = imgmove("bundle", "create", "-o", "x.bundle", "--volume-size", "2000", *connected.names)
    assert (ran.status, "too small" in ran.stderr) == (2, True)
    ran = imgmove("bundle", "create", "-o", "x.bundle", "--volume", "1", *connected.names)
    assert (ran.status, "--volume needs --volume-size" in ran.stderr) == (2, True)


def test_sizes() -> None:
    texts = ("4G", "1.5Gi", "dvd", "BD", "700M", "1234")
    assert [parse_size(text) for text in texts] == [
        4_000_000_000,
        1_610_612_736,
        4_700_000_000,
        25_000_000_000,
        700_000_000,
        1234,
    ]
    for text in ("", "0", "x", "4X", "-1"):
        with pytest.raises(UsageError):
            parse_size(text)
