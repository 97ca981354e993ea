"""What a run that was cut off leaves in real engines is found and taken away by a later one."""

from __future__ import annotations

import json
import shlex
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.engines.containerd import Containerd
from imgmove.endpoints.engines.docker import Docker
from imgmove.endpoints.engines.podman import Podman
from imgmove.errors import NotFound, ServerRefused, SomeFailed
from imgmove.settings import Settings
from tests.real.engine_fixtures import ADDED, BASE, Listener, copied, diff_ids_of
from tests.real.engines import ContainerdEngine, RealEngine

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]

_DAY = 24 * 3600


def references(engine: RealEngine) -> list[str]:
    """Names of all images, those that go by digests alone too."""
    if isinstance(engine, ContainerdEngine):
        return engine.names()
    form = "{{.Repository}} {{.Tag}} {{.Digest}}"
    return engine.do("image", "ls", "-a", "--digests", "--format", form).splitlines()


def test_a_later_run_sweeps_what_an_earlier_one_left(
    engine: RealEngine, layout: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    began = time.time() - _DAY - 60
    with monkeypatch.context() as patch, imgmove.Session(settings) as session:
        for each in (Docker, Podman, Containerd):
            patch.setattr(each, "forget", killed)
            patch.setattr(each, "name", killed)
        patch.setattr("imgmove.endpoints.engines.temporary_names.time.time", lambda: began)
        with pytest.raises((KeyboardInterrupt, SomeFailed)):
            copied(session, f"{layout}:app:2", engine.at("app:2"))
    left = references(engine)
    assert "imgmove-" in " ".join(left), left
    with imgmove.Session(settings) as session:
        copied(session, f"{layout}:app:1", engine.at("app:1"))
    assert "imgmove-" not in " ".join(references(engine))
    assert engine.names() == [engine.shown("app:1")]
    assert engine.diff_ids("app:1") == diff_ids_of([BASE])


def test_what_is_told_of_a_name_that_stays_removes_it(
    engine: RealEngine, layout: str, settings: Settings, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise ServerRefused("it is read-only")

    with monkeypatch.context() as patch, imgmove.Session(settings, listener) as session:
        for each in (Docker, Podman, Containerd):
            patch.setattr(each, "forget", refused)
        copied(session, f"{layout}:app:1", engine.at("app:1"))
    assert engine.diff_ids("app:1") == diff_ids_of([BASE])
    commands = [note.split("`")[1] for note in listener.notes]
    assert commands
    for command in commands:
        program, *words = shlex.split(command)
        assert program.rpartition("/")[2] == engine.client[0]
        # Those of docker and podman name no socket.
        client = [program] if isinstance(engine, ContainerdEngine) else engine.client
        subprocess.run([*client, *words], check=True)
    assert "imgmove-" not in " ".join(references(engine))
    assert engine.names() == [engine.shown("app:1")]


def test_taking_away_what_is_not_there_is_nothing_to_tell(
    engine: RealEngine, layout: str, settings: Settings, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise ServerRefused("no such image will come")

    with monkeypatch.context() as patch, imgmove.Session(settings, listener) as session:
        for each in (Docker, Podman, Containerd):
            patch.setattr(each, "_load", refused)
        patch.setattr(Docker, "_pull", refused)
        with pytest.raises(ServerRefused, match="no such image will come") as caught:
            copied(session, f"{layout}:app:1", engine.at("app:1"))
    assert "temporary image" not in " ".join([caught.value.hint, *listener.notes])
    assert engine.names() == []


def test_an_image_goes_by_what_its_engine_calls_it(
    engine: RealEngine, layout: str, session: imgmove.Session, tmp_path: Path
) -> None:
    for tag in ("1", "2"):
        copied(session, f"{layout}:app:{tag}", engine.at(f"app:{tag}"))
    with pytest.raises(NotFound, match=r"no image app \(there is .*app:1"):
        copied(session, engine.at("app"), str(tmp_path / "none.tar"))
    copied(session, f"{layout}:app:2", engine.at("app:latest"))
    names = ["app", *_identities(engine, imgmove.inspect(f"{layout}:app:2", session=session))]
    for number, name in enumerate(names):
        copied(session, engine.at(name), str(tmp_path / f"{number}.tar"))
        made = imgmove.inspect(str(tmp_path / f"{number}.tar"), session=session)
        assert made.config["rootfs"] == {"type": "layers", "diff_ids": diff_ids_of([BASE, ADDED])}, name
    with tarfile.open(tmp_path / "0.tar") as archive:
        file = archive.extractfile("manifest.json")
        assert file is not None
        assert json.load(file)[0]["RepoTags"][0].endswith("/app:latest")


def _identities(engine: RealEngine, image: imgmove.Inspection) -> list[str]:
    if not isinstance(engine, ContainerdEngine):
        identity = engine.do("image", "inspect", "--format", "{{.Id}}", "app:2").removeprefix("sha256:")
        return [identity, identity[:12], f"sha256:{identity}"]
    assert image.manifest is not None
    assert image.manifest.config is not None
    # As Kubernetes has it, and shows it to people.
    engine.do("images", "tag", engine.shown("app:2"), str(image.manifest.config.digest))
    digests = [image.root.digest, image.manifest.config.digest]
    return [f"app@{image.root.digest}", *(text for digest in digests for text in (str(digest), digest.hex[:12]))]
