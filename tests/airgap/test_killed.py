"""Loads that are killed at seeded moments, and completed by running them again."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from imgmove.errors import NotFound
from tests.airgap.conftest import Connected, Run, noise
from tests.images import build_image
from tests.quirks import RegistryServer

NAMES = ("team/app:1", "team/web:1", "base/multi:2", "team/big:1")
_PATIENCE = 60.0


@pytest.fixture
def bundle(connected: Connected, imgmove: Run, tmp_path: Path) -> Path:
    connected.push("team/big:1", build_image([noise(seed, 3_000_000) for seed in range(20, 26)]))
    names = [f"{connected.server.host}/{name}" for name in NAMES]
    assert imgmove("bundle", "create", "-q", "-o", "all.bundle", *names).status == 0
    return tmp_path / "all.bundle"


def killed_load(words: list[str], environment: dict[str, str], folder: Path, is_time: Callable[[], bool]) -> bool:
    """Runs a load and kills it when it is time; whether it had ended before."""
    command = [sys.executable, "-m", "imgmove", "bundle", "load", "-q", *words]
    with subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + _PATIENCE
        while process.poll() is None and not is_time() and time.monotonic() < end:
            time.sleep(0.002)
        process.kill()
        return process.wait() == 0


def has_seen(registry: RegistryServer, count: int) -> bool:
    return len(registry.seen) >= count


def holds(blobs: Path, count: int) -> bool:
    return blobs.is_dir() and len(list(blobs.iterdir())) >= count


@pytest.mark.parametrize("seed", range(3))
def test_into_a_registry(
    seed: int, bundle: Path, registry: RegistryServer, imgmove: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    chance = random.Random(seed)
    for _ in range(3):
        stop = len(registry.seen) + chance.randrange(5, 90)
        killed_load(
            ["all.bundle", "--to", f"{registry.host}/"],
            environment,
            tmp_path,
            partial(has_seen, registry, stop),
        )
        for name in NAMES:
            shown(registry, imgmove, name)
    ran = imgmove("bundle", "load", "all.bundle", "--to", f"{registry.host}/", "--reread", "--json")
    assert ran.status == 0, ran.stderr
    assert len(json.loads(ran.stdout)["images"]) == len(NAMES)


def shown(registry: RegistryServer, imgmove: Run, name: str) -> None:
    """A tag that is there leads to all of its content."""
    repository, _, tag = name.rpartition(":")
    with contextlib.suppress(NotFound):
        place = registry.storage.find(repository)
        if place is not None and place.resolve(tag):
            ran = imgmove("verify", f"{registry.host}/{name}")
            assert ran.status == 0, ran.stderr


@pytest.mark.parametrize("seed", range(2))
def test_into_a_layout(seed: int, bundle: Path, imgmove: Run, environment: dict[str, str], tmp_path: Path) -> None:
    chance = random.Random(seed)
    blobs = tmp_path / "far" / "blobs" / "sha256"
    for _ in range(3):
        stop = chance.randrange(1, 20)
        killed_load(
            ["all.bundle", "--to", "oci:far"],
            environment,
            tmp_path,
            partial(holds, blobs, stop),
        )
        if (tmp_path / "far" / "index.json").exists():
            for name in imgmove("tags", "oci:far").stdout.split():
                assert imgmove("verify", f"oci:far:{name}").status == 0
    ran = imgmove("bundle", "load", "-q", "all.bundle", "--to", "oci:far", "--reread")
    assert ran.status == 0, ran.stderr
    assert set(imgmove("tags", "oci:far").stdout.split()) == set(NAMES)


@pytest.mark.parametrize("words", [(), ("--volume-size", "10M")], ids=["one file", "volumes"])
def test_making_one_goes_on(
    words: tuple[str, ...],
    connected: Connected,
    bundle: Path,
    imgmove: Run,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """What came before the kill is not fetched again, and the bytes are the same."""
    name = f"{connected.server.host}/team/big:1"
    assert imgmove("bundle", "create", "-q", "-o", "whole.bundle", name, *words).status == 0
    command = [sys.executable, "-m", "imgmove", "bundle", "create", "-q", "-o", "again.bundle", name, *words]
    command += ["--limit-rate", "8M"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path) as process:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end and not any(
            path.stat().st_blocks * 512 > 6_000_000 for path in tmp_path.glob(".imgmove-again.bundle*")
        ):
            time.sleep(0.01)
        process.kill()
    assert list(tmp_path.glob("again.bundle*")) == []
    connected.server.forget()
    assert imgmove("bundle", "create", "-q", "-o", "again.bundle", name, *words).status == 0
    made = sorted(tmp_path.glob("again.bundle*"))
    assert len(made) == (2 if words else 1)
    for path in made:
        assert path.read_bytes() == (tmp_path / path.name.replace("again", "whole")).read_bytes()
    assert connected.server.sent("GET blob") < 15_000_000
    assert [path.name for path in tmp_path.glob(".imgmove-*")] == []
