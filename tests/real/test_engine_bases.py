"""Images on bases that came into engines by ways that are not ours: what it costs to bring more in, and to take it out."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.layout import Layout
from imgmove.model.location import LayoutLocation
from imgmove.wire.files import LocalFiles
from tests.images import build_image
from tests.real.edge import Connect, Edge, behind_link
from tests.real.engine_fixtures import ENGINES, Traffic, allowed, copied
from tests.real.engines import RealEngine
from tests.real.fixtures import RealRegistry
from tests.real.sshd import run_sshd

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]

ADDED = 1_000_000


@dataclass(frozen=True)
class Story:
    """An engine, and versions of an image that no engine had before: each has a layer of its own on one base.

    Attributes:
        repository: of a registry, for this test alone.
    """

    engine: RealEngine
    session: imgmove.Session
    folder: Path
    repository: str
    base: bytes
    added: bytes

    def layers(self, version: int) -> list[dict[str, bytes]]:
        """The base alone is version 0."""
        own = {f"added{version}": bytes([version]) + self.added}
        return [{"base": self.base}, own] if version else [{"base": self.base}]

    def image(self, version: int) -> str:
        """A version in a layout."""
        place = Layout.writable(LocalFiles(), str(self.folder / "layout"))
        build_image(self.layers(version)).put(place, f"app:{version}")
        return f"oci:{self.folder / 'layout'}:app:{version}"

    def image_on(self, base: str, version: int) -> str:
        """A version in a layout whose base is what the engine made."""
        made, layer = f"oci:{self.folder / 'made'}", self.folder / f"layer{version}"
        layer.mkdir()
        for name, content in self.layers(version)[-1].items():
            (layer / name).write_bytes(content)
        copied(self.session, self.engine.at(base), f"{made}:base")
        onto = imgmove.ImportOptions(onto=LayoutLocation(str(self.folder / "made"), "base"))
        imgmove.import_rootfs(str(layer), f"{made}:app:{version}", onto, session=self.session)
        return f"{made}:app:{version}"


def loaded(story: Story, version: int) -> str:
    """Brings a version in as an archive of another program's; returns its name there."""
    archive = story.folder / f"{version}.tar"
    place = f"docker-archive:{archive}:x:{version}"
    subprocess.run(["skopeo", "copy", "-q", story.image(version), place], check=True)
    story.engine.load(archive)
    return f"x:{version}"


def pulled(story: Story, version: int) -> str:
    """Has the engine pull a version."""
    name = f"{story.repository}-pulled:{version}"
    copied(story.session, story.image(version), name)
    story.engine.pull(name)
    return name


def built(story: Story, version: int) -> str:
    """Has the engine build a version."""
    context = story.folder / f"context{version}"
    context.mkdir()
    (name, content) = next(iter(story.layers(version)[-1].items()))
    (context / name).write_bytes(content)
    (context / "Dockerfile").write_text(f"FROM {'built:0' if version else 'scratch'}\nCOPY {name} /{name}\n")
    story.engine.do("build", "-q", "-t", f"built:{version}", str(context))
    return f"built:{version}"


CASES = [
    (engine, way) for way in (loaded, pulled, built) for engine in ENGINES if (engine, way) != ("containerd1", built)
]


@pytest.mark.parametrize(("engine", "way"), CASES, indirect=["engine"])
def test_only_the_new_layer_crosses_the_line(
    engine: RealEngine,
    way: Callable[[Story, int], str],
    edge: Edge,
    connect: Connect,
    session: imgmove.Session,
    traffic: Traffic,
    plain_registry: RealRegistry,
    tmp_path: Path,
) -> None:
    repository = f"{plain_registry.host}/e{uuid.uuid4().hex[:8]}/app"
    story = Story(engine, session, tmp_path, repository, random.randbytes(2_000_000), random.randbytes(ADDED))
    base = way(story, 0)
    here, over_ssh = (story.image_on(base, n) if way is built else story.image(n) for n in (1, 2))

    traffic.bytes = 0
    copied(session, here, engine.at("app:1"))
    assert ADDED < traffic.bytes < allowed(ADDED), "on this machine"

    edge.link.bytes = 0
    copied(connect(edge), over_ssh, edge.at(engine, "app:2"))
    assert ADDED < edge.link.bytes < allowed(ADDED), "to another one"
    assert engine.diff_ids("app:2") == layers_of(session, over_ssh)
    edge.link.bytes = 0
    copied(connect(edge), over_ssh, edge.at(engine, "app:2"))
    assert edge.link.bytes < 64 << 10, "once more"

    copied(session, engine.at(base), f"{repository}:base")
    own = way(story, 3)
    edge.link.bytes = 0
    copied(connect(edge), edge.at(engine, own), f"{repository}:3")
    assert ADDED < edge.link.bytes < allowed(ADDED), "from another one to a registry"
    assert layers_of(session, f"{repository}:3") == engine.diff_ids(own)
    imgmove.verify(f"{repository}:3", session=session)


def test_a_podman_without_a_service(
    podman4: RealEngine,
    connect: Connect,
    session: imgmove.Session,
    plain_registry: RealRegistry,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    podman4.clean()
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "podman").write_text(f'#!/bin/sh\nexec {shutil.which("podman")} {shlex.join(podman4.client[1:])} "$@"\n')
    (tools / "podman").chmod(0o755)
    repository = f"{plain_registry.host}/e{uuid.uuid4().hex[:8]}/app"
    story = Story(podman4, session, tmp_path, repository, random.randbytes(2_000_000), random.randbytes(ADDED))
    with (
        run_sshd(tmp_path_factory.mktemp("serviceless"), f"SetEnv PATH={tools}:{os.environ['PATH']}") as sshd,
        behind_link(sshd, tmp_path) as edge,
    ):
        there = f"podman+ssh://{edge.sshd.host}"
        copied(connect(edge), story.image(0), f"{there}/app:0")
        edge.link.bytes = 0
        copied(connect(edge), story.image(1), f"{there}/app:1")
        assert ADDED < edge.link.bytes < allowed(ADDED)
        assert podman4.names() == ["localhost/app:0", "localhost/app:1"]
        assert podman4.diff_ids("app:1") == layers_of(session, story.image(1))
        copied(session, story.image(0), f"{repository}:0")
        edge.link.bytes = 0
        copied(connect(edge), f"{there}/app:1", f"{repository}:1")
        assert ADDED < edge.link.bytes < allowed(ADDED)
    imgmove.verify(f"{repository}:1", session=session)
    podman4.clean()


def layers_of(session: imgmove.Session, place: str) -> list[str]:
    """What an image's config says of its layers."""
    config = imgmove.inspect(place, session=session).config
    found: list[str] = config["rootfs"]["diff_ids"]  # type: ignore[index]
    return found
