"""Mirror passes from one real registry to another, with everything that goes wrong on the way."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.layout import Layout
from imgmove.wire.files import LocalFiles
from tests.images import build_artifact, build_index
from tests.quirks import Failure, Quirks, RegistryServer
from tests.real.fixtures import run_registry
from tests.real.mirroring import Ground, image
from tests.real.sshd import RealSshd

pytestmark = pytest.mark.real


def verbs(lines: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in lines:
        verb = line[line.index('"') + 1 :].split(" ", 1)[0]
        kind = (
            "blobs"
            if "/blobs/" in line
            else "manifests"
            if "/manifests/" in line
            else "tags"
            if "/tags/" in line
            else "referrers"
        )
        found[f"{verb} {kind}"] = found.get(f"{verb} {kind}", 0) + 1
    return found


def test_first_pass_and_second_pass(ground: Ground) -> None:
    for number in range(5):
        ground.put(image(number), f"1.{number}")
    ground.put(build_index("linux/amd64", "linux/arm64", attested=True), "2.0")
    ground.write()
    first = ground.run()
    assert first.status == 0, first.stderr
    assert sorted(line.split("@")[0] for line in first.lines) == [
        f"copied {ground.at_destination}:{tag}" for tag in ("1.0", "1.1", "1.2", "1.3", "1.4", "2.0")
    ]
    ground.verify("1.0", "1.4", "2.0")
    count = ground.counting()
    second = ground.run()
    assert (second.status, second.stdout) == (0, "")
    source, destination = count()
    # One question a tag and side, the list, and one look for the API that this registry hasn't.
    assert verbs(source) == {"GET tags": 1, "HEAD manifests": 6, "GET referrers": 1}
    assert verbs(destination) == {"HEAD manifests": 6}


def test_without_state_a_pass_costs_requests_and_nothing_else(ground: Ground) -> None:
    ground.put(build_index("linux/amd64", "linux/arm64", "linux/riscv64"), "1")
    ground.write("platforms: [linux/amd64, linux/arm64]")
    assert ground.run().status == 0
    count = ground.counting()
    assert ground.run().stdout == ""
    source, destination = count()
    # What the source's digest became is known, so nothing has to be fetched.
    assert verbs(source) == {"GET tags": 1, "HEAD manifests": 1}
    assert verbs(destination) == {"HEAD manifests": 1}
    shutil.rmtree(Path(ground.environment["XDG_CACHE_HOME"]) / "imgmove" / "mirror")
    count = ground.counting()
    assert ground.run().stdout == ""
    source, destination = count()
    assert verbs(source)["GET manifests"] == 1
    assert "blobs" not in str(verbs(source)) + str(verbs(destination))


def test_a_moved_tag(ground: Ground) -> None:
    ground.put(image(1), "latest", "1")
    ground.write('keep_previous: "{tag}-prev-{date}"')
    assert ground.run().status == 0
    for number, expected in ((2, 1), (3, 2)):
        ground.put(image(number), "latest", str(number))
        moved = ground.run()
        assert moved.status == 0, moved.stderr
        updated = [line for line in moved.lines if line.startswith("updated")]
        assert len(updated) == 1
        assert "moved from" in updated[0]
        kept = [tag for tag in ground.tags() if tag.startswith("latest-prev-")]
        assert len(kept) == expected
    ground.verify("latest")
    # Back to an image that was there before: the source sends nothing.
    ground.put(image(1), "latest")
    ground.write()
    count = ground.counting()
    assert "updated" in ground.run().stdout
    assert "GET manifests" not in verbs(count()[0])
    ground.verify("latest")


def test_deleted_tags_are_pruned_but_not_their_siblings(ground: Ground) -> None:
    for number in range(3):
        ground.put(image(number), f"1.{number}", f"v{number}")
    ground.write("prune: {enabled: true, max_delete: 2}", 'keep_previous: "{tag}-prev"')
    assert ground.run().status == 0
    ground.put(image(9), "v2")
    with imgmove.Session(ground.settings) as session:
        imgmove.delete(f"{ground.at_source}:1.0", session=session)
    planned = ground.run("--dry-run")
    assert f"prune  {ground.at_destination}:1.0 (it is no longer at the source)" in planned.lines
    assert f"keep   {ground.at_source}:1.1 → {ground.at_destination}:1.1 (unchanged)" in planned.lines
    assert "1.0" in ground.tags()
    pruned = ground.run()
    assert pruned.status == 0, pruned.stderr
    assert f"pruned {ground.at_destination}:1.0 (it is no longer at the source)" in pruned.lines
    assert ground.tags() == ["1.1", "1.2", "v0", "v1", "v2", "v2-prev"]
    # v0 is the same manifest as 1.0 was.
    ground.verify("v0", "v1", "v2", "1.1")


def test_the_guards_of_prune(ground: Ground) -> None:
    for number in range(4):
        ground.put(image(number), f"1.{number}")
    ground.write()
    assert ground.run().status == 0
    ground.write("prune: {enabled: true, max_delete: 2}", "tags: {include: ['1.0']}")
    too_many = ground.run()
    assert too_many.status == 3
    assert "3 tags would be pruned, more than max_delete allows (2), so none was" in too_many.stderr
    ground.write("prune: {enabled: true}", "tags: {include: ['9.*']}")
    nothing = ground.run()
    assert nothing.status == 0
    assert "because nothing at the source matches" in nothing.stderr
    ground.write("prune: {enabled: true}", "tags: {include: ['1.0']}")
    with ground.config.open("a") as file:
        file.write(f"- {{name: other, source: {ground.at_source}-none, destination: {ground.at_destination}-none}}\n")
    unlisted = ground.run()
    assert unlisted.status == 3
    assert "nothing was pruned, because not every source could be listed" in unlisted.stderr
    assert ground.run("--only", "it").status == 0
    assert ground.tags() == ["1.0"]


def test_a_source_that_fails_half_way(ground: Ground) -> None:
    good, broken = image(1), image(2)
    ground.put(good, "good")
    ground.put(broken, "broken")
    layer = broken.nodes[0].children[1].digest.hex
    stored = ground.source.folder / f"data/docker/registry/v2/blobs/sha256/{layer[:2]}/{layer}/data"
    content = stored.read_bytes()
    stored.unlink()
    ground.write("prune: {enabled: true}")
    report = ground.folder / "report.json"
    half = ground.run("--report", report, "--retries", 1)
    assert half.status == 3
    assert f"imgmove: {ground.at_destination}:broken: source: " in half.stderr
    assert ground.tags() == ["good"]
    assert [tag["status"] for tag in json.loads(report.read_text())["tags"] if "broken" in tag["source"]] == ["failed"]
    stored.write_bytes(content)
    count = ground.counting()
    again = ground.run("--only-failed", report)
    assert (again.status, len(again.lines)) == (0, 1), again.stderr
    assert not any("manifests/good" in line for line in count()[0])
    ground.verify("good", "broken")


def test_a_source_that_goes_away(ground: Ground, tmp_path: Path) -> None:
    folder = tmp_path / "goes-away"
    folder.mkdir()
    with run_registry(folder) as source:
        place = f"{source.host}/{ground.repository}"
        for number in range(6):
            ground.put(image(number, 200_000), f"1.{number}", repository=place)
        ground.write(source=place)
        running = ground.begin("--limit-rate", "400k", "--retries", 1, "-q")
        _until(lambda: bool(ground.destination.requests("POST", ground.repository, "/uploads/")))
    said = running.communicate(timeout=60)[1]
    assert running.returncode in {1, 3}
    assert "source: " in said
    assert "Traceback" not in said
    with run_registry(folder) as source:
        ground.write(source=f"{source.host}/{ground.repository}")
        assert ground.run().status == 0
    assert len(ground.tags()) == 6


def test_a_storm_of_429(ground: Ground) -> None:
    storm = Quirks(failures=(Failure("HEAD manifest", 429, 40, "0"), Failure("GET blob", 429, 5, "0")))
    with RegistryServer(storm) as server:
        for number in range(20):
            server.put_image("app", f"1.{number}", layers=(b"layer %d" % number,))
        ground.write(source=f"{server.host}/app")
        done = ground.run("--retries", 50)
        assert (done.status, len(done.lines)) == (0, 20), done.stderr
        assert server.count("HEAD manifest") >= 60


def test_a_destination_that_is_read_only(ground: Ground, tmp_path: Path) -> None:
    ground.put(image(1), "1")
    folder = tmp_path / "read-only"
    folder.mkdir()
    storage = {
        "filesystem": {"rootdirectory": str(folder / "data")},
        "maintenance": {"readonly": {"enabled": True}},
    }
    with run_registry(folder, {"storage": storage}) as closed:
        ground.write(destination=f"{closed.host}/app")
        done = ground.run()
    assert done.status == 1
    assert f"{closed.host}/app:1: destination: " in done.stderr
    assert len(done.stderr.splitlines()) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_two_at_once_and_an_end_in_the_middle(ground: Ground, number: signal.Signals) -> None:
    for tag in range(4):
        ground.put(image(tag, 500_000), f"1.{tag}")
    ground.write()
    running = ground.begin("--limit-rate", "200k", "--report", ground.folder / "r.json")
    _until(lambda: bool(ground.destination.requests("POST", ground.repository, "/uploads/")))
    second = ground.run()
    assert second.status == 1
    assert f"{ground.config} is being mirrored already by process {running.pid} on " in second.stderr
    assert ground.run("--skip-if-running").status == 0
    began = time.monotonic()
    running.send_signal(number)
    said = running.communicate(timeout=30)[1]
    assert time.monotonic() - began < 10
    assert running.returncode == (143 if number is signal.SIGTERM else -signal.SIGKILL)
    if number is signal.SIGTERM:
        assert said.splitlines()[-1] == "imgmove: interrupted; run the same command again to continue"
        assert json.loads((ground.folder / "r.json").read_text())["mirrors"][0]["tags"] == 4
    assert ground.run().status == 0
    ground.verify("1.0", "1.1", "1.2", "1.3")


def test_signatures_that_come_later(ground: Ground) -> None:
    signed = image(1)
    ground.put(signed, "1")
    ground.write()
    assert ground.run().status == 0
    ground.put(build_artifact(signed.root))
    later = ground.run()
    assert [line.rpartition(" (")[2] for line in later.lines] == ["1 new referrer)"]
    assert ground.run().stdout == ""
    ground.verify("1")


def test_what_signatures_cost_when_nothing_changed(ground: Ground) -> None:
    """A list under a fallback tag is read once, and what was found at the destination is believed for a day."""
    signed = image(1)
    ground.put(signed, "1", "latest")
    ground.put(build_artifact(signed.root))
    ground.put(build_artifact(signed.root, "application/vnd.other"))
    ground.put(image(2), f"sha256-{signed.root.digest.hex}.sig")
    ground.write()
    assert len(ground.run().lines) == 2
    ground.verify("1", "latest")
    for _ in range(2):
        count = ground.counting()
        assert ground.run().stdout == ""
        source, destination = count()
        # Both tags, and the two that the list of tags shows to belong to their digest.
        assert verbs(source) == {"GET tags": 1, "HEAD manifests": 4, "GET referrers": 1}
        assert verbs(destination) == {"HEAD manifests": 2}
    # One that the destination loses is missed by the next pass that does not believe any more.
    lost = build_artifact(signed.root).root.digest
    with imgmove.Session(ground.settings) as session:
        imgmove.delete(f"{ground.at_destination}@{lost}", by_digest=True, session=session)
    assert ground.run().stdout == ""
    ground.age_state(86400)
    assert [line.rpartition(" (")[2] for line in ground.run().lines] == ["1 new referrer)"]
    ground.verify("1")


def test_places_behind_another_host(ground: Ground, sshd: RealSshd) -> None:
    top = ground.repository.partition("/")[0]
    for name in ("a", "b"):
        ground.put(image(1), "1", "2", repository=f"{ground.source.host}/{top}/{name}")
    far = f"registry+ssh://{sshd.host}/{ground.source.host}/{top}"
    ground.write(source=f"{far}/*", destination=f"oci+ssh://{sshd.host}{ground.folder}/far")
    planned = ground.run("--dry-run", *sshd.options)
    (sent,) = {line.rpartition(" (")[2] for line in planned.lines}
    assert re.fullmatch(r"new; [0-9.]+ k?B to send\)", sent), sent
    assert [line.split("@sha256:")[0] for line in sorted(ground.run(*sshd.options).lines)] == [
        f"copied oci+ssh://{sshd.host}{ground.folder}/far:{top}/{name}:{tag}"
        for name in ("a", "b")
        for tag in ("1", "2")
    ]
    layout = Layout.existing(LocalFiles(), str(ground.folder / "far"))
    assert sum(len(found.names) for found in layout.images()) == 4
    before = len(ground.source.requests("/v2/", top))
    assert ground.run(*sshd.options).stdout == ""
    # Of each repository the list, both tags, and the one look for the API.
    assert len(ground.source.requests("/v2/", top)) - before == 2 * 3 + 1
    ground.write(source=f"{far}/a", destination=f"registry+ssh://{sshd.host}/{ground.at_destination}")
    assert len(ground.run(*sshd.options).lines) == 2
    assert ground.tags() == ["1", "2"]


def test_a_pattern_into_a_prefix_and_a_layout(ground: Ground) -> None:
    top = ground.repository.partition("/")[0]
    for name in ("a", "b"):
        ground.put(image(1), "v1", repository=f"{ground.source.host}/{top}/{name}")
    rename = "rename: [{tag: '^v', to: ''}, {repository: '^m[^/]*/', to: 'own/'}]"
    ground.write(rename, source=f"{ground.source.host}/{top}/*", destination=f"{ground.destination.host}/{top}/")
    assert sorted(line.split("@")[0] for line in ground.run().lines) == [
        f"copied {ground.destination.host}/{top}/own/{name}:1" for name in ("a", "b")
    ]
    ground.write(rename, "prune: {enabled: true}", source=f"{ground.source.host}/{top}/*", destination="./out")
    assert len(ground.run().lines) == 2
    assert ground.run().stdout == ""
    layout = Layout.existing(LocalFiles(), str(ground.folder / "out"))
    assert sorted(name for found in layout.images() for name in found.names) == ["own/a:1", "own/b:1"]


def test_hooks_and_metrics(ground: Ground) -> None:
    ground.put(image(1), "1")
    hook = ground.folder / "hook"
    hook.write_text(f"#!/bin/sh\ncat >> {ground.folder}/events\n")
    hook.chmod(hook.stat().st_mode | stat.S_IXUSR)
    ground.write(more=f"hooks: {{change: [{hook}]}}")
    metrics = ground.folder / "imgmove.prom"
    assert ground.run("--metrics-file", metrics).status == 0
    (line,) = (ground.folder / "events").read_text().splitlines()
    event = json.loads(line)
    assert (event["event"], event["destination"]) == ("copy", f"{ground.at_destination}:1")
    assert event["digest"] == str(image(1).root.digest)
    assert 'imgmove_mirror_tags{mirror="it",outcome="copy"} 1.0' in metrics.read_text()
    assert "imgmove_mirror_last_pass_success 1.0" in metrics.read_text()
    assert ground.run("--metrics-file", metrics).status == 0
    assert len((ground.folder / "events").read_text().splitlines()) == 1
    assert 'imgmove_mirror_tags{mirror="it",outcome="keep"} 1.0' in metrics.read_text()
    hook.write_text("#!/bin/sh\necho no >&2; exit 7\n")
    ground.put(image(2), "2")
    failed = ground.run("--metrics-file", metrics)
    assert failed.status == 3
    assert f"the hook {hook} ended with status 7: no" in failed.stderr
    assert "imgmove_mirror_last_pass_success 0.0" in metrics.read_text()


def test_the_report_on_stdout(ground: Ground) -> None:
    ground.put(image(1), "1")
    ground.write()
    document = json.loads(ground.run("--json", "-q").stdout)
    assert document["totals"]["copied"] == 1
    assert document["totals"]["bytes_sent"] == sum(len(blob) for blob in image(1).blobs.values())
    assert document["totals"]["bytes_total"] == document["totals"]["bytes_sent"]
    (tag,) = document["tags"]
    assert (tag["action"], tag["status"], tag["source"]) == ("copy", "done", f"{ground.at_source}:1")


def _until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_nothing_is_left_in_the_folder(ground: Ground) -> None:
    ground.put(image(1), "1")
    ground.write()
    ground.run("--report", ground.folder / "r.html", "--report", ground.folder / "r.json")
    assert {"mirror.yaml", "r.html", "r.json"} <= set(os.listdir(ground.folder))
    assert not [name for name in os.listdir(ground.folder) if name.endswith(".tmp")]


def test_an_image_by_its_digest(ground: Ground) -> None:
    ground.put(image(1), "1")
    ground.write(source=f"{ground.at_source}@{image(1).root.digest}")
    assert len(ground.run().lines) == 1
    assert ground.run().stdout == ""


def test_few_connections(ground: Ground) -> None:
    for number in range(8):
        ground.put(image(number, 50_000), f"1.{number}")
    limits = "{max_connections: 1}"
    ground.write(more=f"registries: {{'{ground.source.host}': {limits}, '{ground.destination.host}': {limits}}}")
    assert len(ground.run().lines) == 8
    # One registry on both sides, and a name in it that was not there.
    ground.write(destination=f"{ground.source.host}/{ground.repository}/again")
    assert len(ground.run().lines) == 8
