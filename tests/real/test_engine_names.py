"""What a run that was cut off leaves in real engines is found and taken away by a later one."""

from __future__ import annotations

import time

import pytest

import imgmove
from imgmove.endpoints.engines.containerd import Containerd
from imgmove.endpoints.engines.docker import Docker
from imgmove.endpoints.engines.podman import Podman
from imgmove.errors import SomeFailed
from imgmove.settings import Settings
from tests.real.engine_fixtures import BASE, copied, diff_ids_of
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
