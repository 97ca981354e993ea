"""Passes between registries in this process: what they ask, and what they refuse."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import imgmove
from imgmove.errors import ConfigError, SomeFailed, UsageError
from imgmove.mirror.check import Checker
from imgmove.mirror.job import run_pass
from imgmove.mirror.meaning import read_mirror_file
from imgmove.mirror.run import open_session
from imgmove.settings import Settings
from tests.mirror.test_limits import Ear
from tests.quirks import Failure, Quirks, RegistryServer
from tests.quirks.server import SMALL_CONFIG

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


def test_what_a_registry_still_allows(registry_factory: Factory, settings: Settings, tmp_path: Path) -> None:
    source, destination = registry_factory(Quirks(pulls_left=100)), registry_factory()
    for number in range(30):
        source.put_image("app", f"1.{number}", layers=(b"%d" % number,))
    mirror = f"source: {source.host}/app, destination: {destination.host}/app"
    ends = f"registries: {{'{source.host}': {{ratelimit_floor: 90}}}}"
    few = replace(settings, jobs=1)
    report = imgmove.run_mirror(write(tmp_path, mirror, more=ends), settings=few)
    assert report.totals["postponed"] > 0
    assert report.totals["failed"] == 0
    assert "below the floor of 90 (the next pass goes on)" in report.failures[0].message
    # It stopped where it was told to, but for what was under way.
    assert 10 < source.count("GET manifest") < 30
    assert imgmove.run_mirror(write(tmp_path, mirror), settings=few).totals["failed"] == 0
    assert len(imgmove.tags(f"{destination.host}/app", session=imgmove.Session(settings))) == 30


def test_waiting_for_what_a_registry_allows(registry_factory: Factory, settings: Settings, tmp_path: Path) -> None:
    source, destination = registry_factory(Quirks(pulls_left=6, window=1)), registry_factory()
    for number in range(8):
        source.put_image("app", f"1.{number}", layers=(b"%d" % number,))
    config = write(
        tmp_path,
        f"source: {source.host}/app, destination: {destination.host}/app",
        more=f"registries: {{'{source.host}': {{ratelimit_floor: 4, ratelimit_action: wait}}}}",
    )
    ear = Ear()
    file = read_mirror_file(config, lambda _: None)
    with open_session(file, replace(settings, jobs=1), ear) as session:
        report = run_pass(session, file, imgmove.MirrorOptions())
    assert report.totals["copied"] == 8
    assert any("more requests, below the floor of 4: waiting, going on at " in note for note in ear.notes)


def test_bytes_that_a_dry_run_tells(
    pair: tuple[RegistryServer, RegistryServer], settings: Settings, tmp_path: Path
) -> None:
    source, destination = pair
    # More than are planned at a time, all with one layer.
    for number in range(30):
        source.put_image("app", f"1.{number}", layers=(b"shared", b"%03d" % number))
    source.put_image("app", "latest", layers=(b"shared", b"000"))
    config = write(tmp_path, f"source: {source.host}/app, destination: {destination.host}/app")
    planned = imgmove.run_mirror(config, imgmove.MirrorOptions(dry_run=True), settings=settings)
    assert destination.count("POST *") == destination.count("PUT *") == 0
    assert {record.bytes_sent for record in planned.records} == {len(SMALL_CONFIG) + 6 + 3}
    done = imgmove.run_mirror(config, settings=settings)
    assert planned.bytes_sent == done.bytes_sent == len(SMALL_CONFIG) + 6 + 30 * 3
    again = imgmove.run_mirror(config, imgmove.MirrorOptions(dry_run=True), settings=settings)
    assert (again.totals["kept"], again.bytes_sent) == (31, 0)


def test_two_mirrors_that_fill_one_repository(
    pair: tuple[RegistryServer, RegistryServer], settings: Settings, tmp_path: Path
) -> None:
    source, destination = pair
    source.put_image("a", "a1", "a2")
    source.put_image("b", "b1", "b2")
    place, prune = f"destination: {destination.host}/x", "prune: {enabled: true}"
    mirrors = [f"source: {source.host}/{name}, {place}" for name in "ab"]
    assert imgmove.run_mirror(write(tmp_path, *mirrors), settings=settings).totals["copied"] == 4
    source.storage.make("a").delete_name("a2")
    source.storage.make("b").delete_name("b2")
    # What a mirror without prune brought is to stay, and nobody can tell whose a tag is that nobody wants.
    config = write(tmp_path, f"{mirrors[0]}, {prune}", mirrors[1])
    kept = imgmove.run_mirror(config, settings=settings)
    assert kept.totals["pruned"] == 0
    assert "writes there too and does not prune" in kept.mirrors[0].notes[0]
    config = write(tmp_path, *(f"{mirror}, {prune}" for mirror in mirrors))
    assert imgmove.run_mirror(config, settings=settings).totals["pruned"] == 2


def test_pruning_what_was_never_written(registry_factory: Factory, settings: Settings, tmp_path: Path) -> None:
    source = registry_factory(Quirks(failures=(Failure("GET manifest", 404, 100), Failure("HEAD manifest", 404, 100))))
    source.put_image("app", "1")
    config = write(tmp_path, f"source: {source.host}/app, destination: {tmp_path}/out, prune: {{enabled: true}}")
    report = imgmove.run_mirror(config, settings=settings)
    assert [failure.message for failure in report.failures] == [f"source: {source.host}/app has no tag 1"]


def test_more_tags_than_anybody_has(registry_factory: Factory, settings: Settings, tmp_path: Path) -> None:
    source = registry_factory()
    source.put_image("app", *(f"1.{number}" for number in range(6)))
    config = write(tmp_path, f"source: {source.host}/app, destination: {tmp_path}/out, prune: {{enabled: true}}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("imgmove.mirror.survey._MOST_TAGS", 5)
        report = imgmove.run_mirror(config, settings=settings)
    assert "more than 5 tags" in report.failures[0].message
    assert report.mirrors[0].notes == ["nothing was pruned, because not every source could be listed"]


def test_rules_of_which_nothing_comes(registry_factory: Factory, settings: Settings, tmp_path: Path) -> None:
    source = registry_factory()
    source.put_image("app", "1.0", "latest")
    place = f"{source.host}/app"

    def notes(rules: str, repository: str = "app") -> list[str]:
        config = write(
            tmp_path, f"source: '{source.host}/{repository}', destination: {tmp_path}/out, tags: {{{rules}}}"
        )
        report = imgmove.run_mirror(config, imgmove.MirrorOptions(dry_run=True), settings=settings)
        return report.mirrors[0].notes

    assert notes("include: ['1.*', latest]") == []
    assert notes("include: ['1.*', lates, stable]") == [f"{place} has no tag lates, stable, as include names"]
    assert notes("semver: '>=2'") == [f"none of the tags of {place} is chosen"]
    assert notes("semver: '>=2'", "*") == [], "of some that a pattern fits, nothing may be wanted"


def test_a_repository_without_tags_among_many_is_passed_over(
    pair: tuple[RegistryServer, RegistryServer], settings: Settings, tmp_path: Path
) -> None:
    source, destination = pair
    source.put_image("team/app", "1")
    source.put_blob("team/empty", b"what a push that failed has left")
    destination.put_image("team/app", "0")
    destination.put_image("team/empty", "old")
    rules = "prune: {enabled: true}"
    config = write(tmp_path, f"source: '{source.host}/team/*', destination: {destination.host}/, {rules}")
    report = imgmove.run_mirror(config, settings=settings)
    assert (report.totals["copied"], report.totals["pruned"], report.failures) == (1, 1, [])
    assert report.mirrors[0].source == f"{source.host}/team/*"
    with imgmove.Session(settings) as session:
        assert imgmove.tags(f"{destination.host}/team/empty", session=session) == ["old"]
    one = write(tmp_path, f"source: {source.host}/team/empty, destination: {destination.host}/x")
    report = imgmove.run_mirror(one, settings=settings)
    assert [failure.message for failure in report.failures]
    assert report.mirrors[0].source == f"{source.host}/team/empty"


def test_a_source_is_never_its_own_mirror(registry_factory: Factory, settings: Settings, tmp_path: Path) -> None:
    source = registry_factory()
    source.put_image("team/app", "1", "2")
    rules = "tags: {include: ['1']}, prune: {enabled: true}"
    for mirror in (
        f"source: {source.host}/team/app, destination: {source.host}/team/app, {rules}",
        f"source: '{source.host}/team/*', destination: {source.host}/, {rules}, rename: [{{tag: x, to: y}}]",
    ):
        report = imgmove.run_mirror(write(tmp_path, mirror), settings=settings)
        assert "would be mirrored onto itself" in report.failures[0].message
    assert source.count("DELETE *") == source.count("PUT *") == 0


def test_a_source_that_lies_about_its_tags(
    pair: tuple[RegistryServer, RegistryServer],
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, destination = pair
    source.put_image("app", "1")
    lies = ["1", "1", "../x", "a b", "", "x" * 200, "1\n2", "sha256-../../x", "1?x=y"]
    monkeypatch.setattr(type(source.storage.make("app")), "tags", lambda _: iter(lies))
    config = write(
        tmp_path,
        f"name: layout, source: {source.host}/app, destination: {tmp_path}/out",
        f"source: {source.host}/app, destination: {destination.host}/app",
    )
    report = imgmove.run_mirror(config, settings=settings)
    assert report.totals["copied"] == 2
    assert report.totals["failed"] == 2 * len(set(lies)) - 2
    assert all("not a tag" in failure.message for failure in report.failures)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "mirror.yaml", "out"]
    assert all(".." not in request.path for request in destination.seen)


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
    "wrong",
    [
        {"executor": "cloud"},
        {"executor": "dask://"},
        {"executor": "dask://host"},
        {"reports": ("x.txt",)},
        {"dry_run": True, "metrics_file": "x.prom"},
    ],
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


def test_reports_do_not_go_where_a_link_beside_them_leads(
    pair: tuple[RegistryServer, RegistryServer], settings: Settings, tmp_path: Path
) -> None:
    source, destination = pair
    source.put_image("app", "1")
    theirs = tmp_path / "theirs"
    theirs.write_text("precious")
    report, metrics = tmp_path / "r.json", tmp_path / "m.prom"
    for path in (report, metrics):
        for ending in (f".{os.getpid()}.tmp", f".{os.getpid()}.{threading.get_ident()}.tmp"):
            Path(f"{path}{ending}").symlink_to(theirs)
    config = write(tmp_path, f"source: {source.host}/app, destination: {destination.host}/app")
    options = imgmove.MirrorOptions(reports=(str(report),), metrics_file=str(metrics))
    imgmove.run_mirror(config, options, settings=settings)
    assert theirs.read_text() == "precious"
    assert "imgmove_mirror_last_pass_success 1.0" in metrics.read_text()
    assert report.read_text().endswith("}\n")


def test_a_slip_over_one_mirror_fails_that_one_alone(
    pair: tuple[RegistryServer, RegistryServer],
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, destination = pair
    for name in ("bad", "good"):
        source.put_image(name, "1")
    check = Checker.check

    def slipped(checker: Checker) -> object:
        if "bad" in str(checker._work.source):
            raise RecursionError("a s3cret")
        return check(checker)

    monkeypatch.setattr(Checker, "check", slipped)
    mirrors = [f"source: {source.host}/{name}, destination: {destination.host}/{name}" for name in ("bad", "good")]
    report = imgmove.run_mirror(write(tmp_path, *mirrors), settings=settings)
    assert (report.totals["copied"], report.totals["failed"]) == (1, 1)
    (failure,) = report.failures
    assert re.fullmatch(r"internal error: RecursionError in line \d+ of slipped", failure.message)
