"""Passes between registries in this process: what they ask, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import imgmove
from imgmove.errors import ConfigError, SomeFailed, UsageError
from imgmove.settings import Settings
from tests.quirks import RegistryServer

Factory = Callable[..., RegistryServer]


def write(folder: Path, *mirrors: str, more: str = "") -> str:
    path = folder / "mirror.yaml"
    path.write_text(f"version: 1\n{more}\nmirrors:\n" + "".join(f"- {{{mirror}}}\n" for mirror in mirrors))
    return str(path)


@pytest.fixture
def pair(registry_factory: Factory) -> tuple[RegistryServer, RegistryServer]:
    return registry_factory(), registry_factory()


def test_one_question_about_referrers_a_digest(
    pair: tuple[RegistryServer, RegistryServer], settings: Settings, tmp_path: Path
) -> None:
    source, destination = pair
    source.put_image("app", "1", "latest")
    source.put_image("app", "2", layers=(b"two",))
    config = write(tmp_path, f"source: {source.host}/app, destination: {destination.host}/app")
    assert imgmove.run_mirror(config, settings=settings).totals["copied"] == 3
    source.forget()
    destination.forget()
    assert imgmove.run_mirror(config, settings=settings).totals["kept"] == 3
    counts = {kind: source.count(kind) for kind in ("GET tags", "HEAD manifest", "GET referrers")}
    assert counts == {"GET tags": 1, "HEAD manifest": 3, "GET referrers": 2}
    assert len(source.seen) == 6
    assert [request.method for request in destination.seen] == ["HEAD"] * 3


def test_what_a_registry_still_allows(
    registry_factory: Factory, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imgmove.mirror.limits import Gate

    source, destination = registry_factory(), registry_factory()
    source.put_image("app", *(f"1.{number}" for number in range(5)))
    left = iter([30, 29, *range(8, 0, -1), *[0] * 50])
    heard = Gate.after
    monkeypatch.setattr(
        Gate, "after", lambda self, headers: heard(self, {**headers, "ratelimit-remaining": str(next(left))})
    )
    config = write(
        tmp_path,
        f"source: {source.host}/app, destination: {destination.host}/app",
        more=f"registries: {{'{source.host}': {{ratelimit_floor: 10}}}}",
    )
    report = imgmove.run_mirror(config, settings=replace(settings, jobs=1))
    assert report.totals["postponed"] > 0
    assert report.totals["failed"] == 0
    assert "below the floor of 10" in report.failures[0].message


def test_two_images_for_one_name(
    pair: tuple[RegistryServer, RegistryServer], settings: Settings, tmp_path: Path
) -> None:
    source, destination = pair
    source.put_image("a", "1", "v1")
    source.put_image("b", "1", layers=(b"b",))
    place = f"destination: {destination.host}/x"
    config = write(
        tmp_path, f"source: {source.host}/a, {place}, tags: {{include: ['1']}}", f"source: {source.host}/b, {place}"
    )
    report = imgmove.run_mirror(config, settings=settings)
    assert (report.totals["copied"], len(report.failures)) == (1, 1)
    assert (
        f"{source.host}/a:1 and {source.host}/b:1 would both become {destination.host}/x:1"
        in report.failures[0].message
    )
    with pytest.raises(SomeFailed):
        report.raise_failures()
    config = write(tmp_path, f"source: {source.host}/a, {place}, rename: [{{tag: ^v, to: ''}}]")
    with pytest.raises(imgmove.ImgmoveError, match="would both become") as caught:
        imgmove.run_mirror(config, settings=settings).raise_failures()
    assert caught.value.exit_status == 2


def test_tags_that_no_registry_could_have(registry_factory: Factory, settings: Settings, tmp_path: Path) -> None:
    source, destination = registry_factory(), registry_factory()
    source.put_image("app", "1")
    config = write(
        tmp_path, f"source: {source.host}/app, destination: {destination.host}/app, rename: [{{tag: '1', to: '../x'}}]"
    )
    report = imgmove.run_mirror(config, settings=settings)
    assert report.totals["failed"] == 1
    assert "not a tag" in report.failures[0].message


def test_platforms_without_state_and_with_dry_run(
    pair: tuple[RegistryServer, RegistryServer], settings: Settings, tmp_path: Path
) -> None:
    source, destination = pair
    source.put_image("app", "1")
    config = write(
        tmp_path, f"source: {source.host}/app, destination: {destination.host}/app, platforms: [linux/amd64]"
    )
    planned = imgmove.run_mirror(config, imgmove.MirrorOptions(dry_run=True), settings=settings)
    assert [(record.action, record.status, record.reason) for record in planned.records] == [("copy", "planned", "new")]
    assert destination.count("PUT *") == 0
    assert imgmove.run_mirror(config, settings=settings).totals["copied"] == 1
    assert imgmove.run_mirror(config, imgmove.MirrorOptions(recheck=True), settings=settings).totals["kept"] == 1


@pytest.mark.parametrize(
    "wrong", [{"executor": "cloud"}, {"executor": "dask://"}, {"executor": "dask://host"}, {"reports": ("x.txt",)}]
)
def test_options_that_mean_nothing(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        imgmove.MirrorOptions(**wrong)  # type: ignore[arg-type]


def test_a_mirror_that_is_not_there(settings: Settings, tmp_path: Path) -> None:
    config = write(tmp_path, "name: one, source: a, destination: r.io/a")
    with pytest.raises(UsageError, match="no mirror 'two'"):
        imgmove.run_mirror(config, imgmove.MirrorOptions(only=("two",)), settings=settings)
    with pytest.raises(ConfigError):
        imgmove.run_mirror(write(tmp_path, "name: one"), settings=settings)
