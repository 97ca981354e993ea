"""From a connected registry to an empty one and again, with nothing between them but files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.airgap.conftest import BASE, Connected, Run, noise
from tests.images import build_image
from tests.quirks import RegistryServer


@pytest.fixture
def far(registry_factory: Callable[..., RegistryServer]) -> RegistryServer:
    return registry_factory()


def same(imgmove: Run, connected: Connected, far: RegistryServer, name: str, prefix: str = "") -> None:
    ran = imgmove("verify", f"{connected.server.host}/{name}", f"{far.host}/{prefix}{name}")
    assert ran.status == 0, ran.stdout + ran.stderr


def test_a_full_bundle(connected: Connected, far: RegistryServer, imgmove: Run, tmp_path: Path) -> None:
    ran = imgmove("bundle", "create", "-o", "all.bundle", *connected.names)
    assert ran.status == 0, ran.stderr
    assert ran.stdout.startswith("all.bundle ")
    assert imgmove("bundle", "verify", "all.bundle").status == 0
    ran = imgmove("bundle", "load", "all.bundle", "--to", f"{far.host}/mirror/", "--receipt", "r.json")
    assert ran.status == 0, ran.stderr
    assert len(ran.stdout.splitlines()) == 3
    for name in ("team/app:1", "team/web:1", "base/multi:2"):
        same(imgmove, connected, far, name, "mirror/")
    assert imgmove("bundle", "verify", "r.json").status == 0
    again = imgmove("bundle", "load", "all.bundle", "--to", f"{far.host}/mirror/", "--json")
    assert [image["status"] for image in json.loads(again.stdout)["images"]] == ["present"] * 3


def test_the_same_images_give_the_same_bytes(connected: Connected, imgmove: Run, tmp_path: Path) -> None:
    assert imgmove("bundle", "create", "-q", "-o", "one.bundle", *connected.names).status == 0
    assert imgmove("bundle", "create", "-q", "-o", "two.bundle", *connected.names).status == 0
    assert (tmp_path / "one.bundle").read_bytes() == (tmp_path / "two.bundle").read_bytes()


def test_a_bundle_on_stdout_is_the_same(
    connected: Connected, imgmove: Run, tmp_path: Path, environment: dict[str, str]
) -> None:
    import subprocess
    import sys

    assert imgmove("bundle", "create", "-q", "-o", "one.bundle", *connected.names).status == 0
    command = [sys.executable, "-m", "imgmove", "bundle", "create", "-q", "-o", "-", *connected.names]
    done = subprocess.run(command, capture_output=True, check=True, env=environment, cwd=tmp_path)
    assert done.stdout == (tmp_path / "one.bundle").read_bytes()


def test_a_delta_by_receipt(connected: Connected, far: RegistryServer, imgmove: Run, tmp_path: Path) -> None:
    assert imgmove("bundle", "create", "-q", "-o", "all.bundle", *connected.names).status == 0
    assert imgmove("bundle", "load", "-q", "all.bundle", "--to", f"{far.host}/", "--receipt", "r.json").status == 0
    changed = {
        f"team/{name}:2": build_image([BASE, noise(seed)]) for name, seed in (("app", 5), ("web", 6), ("new", 7))
    }
    for name, image in changed.items():
        connected.push(name, image)
    new = [f"{connected.server.host}/{name}" for name in changed]
    connected.server.forget()
    assert imgmove("bundle", "create", "-q", "-o", "delta.bundle", "--have", "r.json", *new).status == 0
    held = {digest for image in changed.values() for digest in image.blobs}
    base = {digest for digest in held if all(digest in image.blobs for image in changed.values())}
    expected = sum(len(image.blobs[digest]) for image in changed.values() for digest in image.blobs.keys() - base)
    assert (tmp_path / "delta.bundle").stat().st_size <= expected * 1.01 + (64 << 10)
    assert connected.server.sent("GET blob") <= expected * 1.01, "what is left out is not even read"
    ran = imgmove("bundle", "load", "delta.bundle", "--to", f"{far.host}/")
    assert ran.status == 0, ran.stderr
    for name in changed:
        same(imgmove, connected, far, name)


@pytest.mark.parametrize("known", ["inventory", "since"])
def test_other_ways_to_know_the_far_side(
    known: str, connected: Connected, far: RegistryServer, imgmove: Run, tmp_path: Path
) -> None:
    assert imgmove("bundle", "create", "-q", "-o", "all.bundle", *connected.names).status == 0
    assert imgmove("bundle", "load", "-q", "all.bundle", "--to", f"{far.host}/").status == 0
    words = ("--since", "all.bundle")
    if known == "inventory":
        ran = imgmove("bundle", "inventory", f"{far.host}/", "-o", "i.json")
        assert ran.status == 0, ran.stderr
        words = ("--have", "i.json")
    connected.push("team/web:2", build_image([BASE, noise(8)]))
    name = f"{connected.server.host}/team/web:2"
    assert imgmove("bundle", "create", "-q", "-o", "delta.bundle", *words, name).status == 0
    assert (tmp_path / "delta.bundle").stat().st_size < 100_000
    assert imgmove("bundle", "load", "-q", "delta.bundle", "--to", f"{far.host}/").status == 0
    same(imgmove, connected, far, "team/web:2")


def test_a_delta_for_another_side(connected: Connected, far: RegistryServer, imgmove: Run, tmp_path: Path) -> None:
    """It says what can't be completed, loads the rest, and asks for exactly what is lacking."""
    host = connected.server.host
    assert imgmove("bundle", "create", "-q", "-o", "old.bundle", f"{host}/team/web:1").status == 0
    words = ("--since", "old.bundle", f"{host}/team/app:1", f"{host}/base/multi:2")
    assert imgmove("bundle", "create", "-q", "-o", "delta.bundle", *words).status == 0
    ran = imgmove("bundle", "load", "delta.bundle", "--to", f"{far.host}/")
    assert ran.status == 3, ran.stderr
    assert "team/app:1 can't be completed: the destination lacks 1 blob" in ran.stderr
    assert "base/multi" in ran.stdout
    assert imgmove("tags", f"{far.host}/team/app").stdout == "", "no name shows what is not all there"
    ran = imgmove("bundle", "create", "-o", "gap.bundle", "--request", "delta.bundle.request.json")
    assert ran.status == 0, ran.stderr
    shown = json.loads(imgmove("bundle", "inspect", "gap.bundle", "--json").stdout)
    assert (shown["blobs"], len(shown["images"])) == (1, 1)
    ran = imgmove("bundle", "load", "gap.bundle", "--to", f"{far.host}/")
    assert ran.status == 0, ran.stderr
    same(imgmove, connected, far, "team/app:1")


def test_into_a_layout_under_other_names(connected: Connected, imgmove: Run) -> None:
    assert imgmove("bundle", "create", "-q", "-o", "all.bundle", *connected.names).status == 0
    host = connected.server.host
    words = ("--rename", f"{host}/team=apps", "--rename", "base/multi=os")
    ran = imgmove("bundle", "load", "all.bundle", "--to", "oci:far", *words)
    assert ran.status == 0, ran.stderr
    assert imgmove("tags", "oci:far").stdout.split() == ["apps/app:1", "apps/web:1", "os:2"]


def test_a_lock_pins_tags(connected: Connected, imgmove: Run, tmp_path: Path) -> None:
    words = ("bundle", "create", "-q", "--lock", "images.lock", connected.names[0])
    assert imgmove(*words, "-o", "one.bundle").status == 0
    connected.push("team/app:1", build_image([noise(9)]))
    assert imgmove(*words, "-o", "two.bundle").status == 0
    assert (tmp_path / "one.bundle").read_bytes() == (tmp_path / "two.bundle").read_bytes()
    assert imgmove("bundle", "create", "-q", connected.names[0], "-o", "three.bundle").status == 0
    assert (tmp_path / "one.bundle").read_bytes() != (tmp_path / "three.bundle").read_bytes()


def test_before_the_first_byte(connected: Connected, imgmove: Run, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n".join(["# images", *connected.names, ""]))
    ran = imgmove("bundle", "create", "-o", "all.bundle", "--from-file", "list.txt", "--dry-run", "--json")
    assert ran.status == 0, ran.stderr
    plan = json.loads(ran.stdout)
    assert not (tmp_path / "all.bundle").exists()
    assert sum(image["size"] for image in plan["images"]) > plan["blob_bytes"], "shared blobs are counted once"
    assert imgmove("bundle", "create", "-q", "-o", "all.bundle", "--from-file", "list.txt").status == 0
    assert (tmp_path / "all.bundle").stat().st_size == plan["size"]
    shown = imgmove("bundle", "create", "-o", "all.bundle", "--from-file", "list.txt", "--dry-run").stdout
    assert "together: " in shown


@pytest.mark.parametrize("words", [("--volume-size", "150k"), ("--volume-size", "150k", "--volume", "2")])
def test_the_sizes_of_volumes_are_known_before(
    words: tuple[str, ...], connected: Connected, imgmove: Run, tmp_path: Path
) -> None:
    ran = imgmove("bundle", "create", "-o", "cut", *words, *connected.names, "--dry-run", "--json")
    plan = json.loads(ran.stdout)
    assert imgmove("bundle", "create", "-q", "-o", "cut", *words, *connected.names).status == 0
    made = sorted(tmp_path.glob("cut.*"))
    assert [str(path.name) for path in made] == plan["files"]
    assert sum(path.stat().st_size for path in made) == plan["size"]


def test_too_little_room(connected: Connected, imgmove: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from imgmove.wire.files import LocalFiles

    monkeypatch.setattr(LocalFiles, "free_space", lambda *_: 1000)
    ran = imgmove("bundle", "create", "-o", "all.bundle", *connected.names)
    assert ran.status == 1
    assert "there is room for 1000" in ran.stderr
    assert [path.name for path in tmp_path.glob("*bundle*")] == []


def test_a_time_comes_from_the_environment_alone(
    connected: Connected, imgmove: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert imgmove("bundle", "create", "-q", "-o", "all.bundle", connected.names[0]).status == 0
    shown = json.loads(imgmove("bundle", "inspect", "all.bundle", "--json").stdout)
    assert shown["created"] == 1700000000


def test_more_than_a_reader_would_take(
    connected: Connected, imgmove: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Refused before the first byte, not by whoever stands at the far side with it."""
    assert imgmove("bundle", "create", "-q", "-o", "one.bundle", *connected.names).status == 0
    content = (tmp_path / "one.bundle").read_bytes()
    index = content[512 : content.index(b"\n", 512)]
    values = sum(index.count(mark) for mark in (b",", b"[", b"{"))
    monkeypatch.setattr("imgmove.model.manifest._MOST_VALUES", values)
    assert imgmove("bundle", "create", "-q", "-o", "two.bundle", *connected.names).status == 0
    assert imgmove("bundle", "verify", "two.bundle").status == 0
    monkeypatch.setattr("imgmove.model.manifest._MOST_VALUES", values - 1)
    ran = imgmove("bundle", "create", "-o", "three.bundle", *connected.names)
    assert ran.status == 2
    assert "3 images with 20 manifests and blobs are too many for one bundle" in ran.stderr
    assert list(tmp_path.glob("*three*")) == []
