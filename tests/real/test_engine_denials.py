"""Engines that can't be reached, or can't reach us: one clear line, or another way, whatever they are."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.layout import Layout
from imgmove.errors import AccessDenied, ImgmoveError
from imgmove.settings import Settings
from imgmove.settings.environment import Environment
from imgmove.wire.files import LocalFiles
from tests.images import build_image
from tests.real.edge import Connect, Edge
from tests.real.engine_fixtures import ADDED, BASE, Listener, allowed, copied, diff_ids_of
from tests.real.engines import RealEngine, in_own_network, run_dockerd
from tests.real.requirements import newer_programs, require
from tests.real.sshd import RealSshd, run_sshd

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]

NOBODY = 65534
KINDS = ["docker20", "podman4", "containerd1"]


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may look into, with a layout in it."""
    with tempfile.TemporaryDirectory() as folder:
        build_image().put(Layout.writable(LocalFiles(), f"{folder}/layout"), "app:1")
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        yield Path(folder)


def shown_in(folder: Path, engine: RealEngine) -> str:
    """An engine's own socket, where everybody finds it, but may not use it; returns the options that name it."""
    path = folder / f"{engine.name}.sock"
    os.link(engine.socket, path)
    assert path.stat().st_mode & 0o007 == 0
    return engine.options.replace(engine.socket, str(path))


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """This process, and what it starts, has the rights of nobody until the block ends."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.mark.parametrize("engine", KINDS, indirect=True)
def test_no_right_on_the_socket(engine: RealEngine, public: Path) -> None:
    there = f"{engine.scheme}:app:1?{shown_in(public, engine)}"
    settings = Settings(Environment({"HOME": str(public)}, str(public), str(public / "system")), retries=0)
    for source, destination in ((f"oci:{public / 'layout'}:app:1", there), (there, f"oci:{public / 'out'}:app")):
        with (
            as_nobody(),
            imgmove.Session(settings) as session,
            pytest.raises(AccessDenied, match="permission denied|no right to use") as caught,
        ):
            copied(session, source, destination)
        assert caught.value.side == ("source" if source == there else "destination")
        assert "as root" in caught.value.hint
    assert engine.names() == []


def test_no_right_on_the_sockets_of_another_host(
    docker20: RealEngine,
    podman4: RealEngine,
    containerd1: RealEngine,
    settings: Settings,
    public: Path,
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
) -> None:
    require("setpriv")
    tools = tmp_path / "tools"
    tools.mkdir()
    engines = [docker20, podman4, containerd1]
    for program in (engine.client[0] for engine in engines):
        (tools / program).write_text(
            f'#!/bin/sh\nexec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups {shutil.which(program)} "$@"\n'
        )
        (tools / program).chmod(0o755)
    with (
        run_sshd(tmp_path_factory.mktemp("denied"), f"SetEnv PATH={tools}:{os.environ['PATH']}") as sshd,
        imgmove.Session(replace(sshd.settings(settings), retries=0)) as session,
    ):
        for engine in engines:
            place = f"{engine.scheme}+ssh://{sshd.host}/app:1?{shown_in(public, engine)}"
            with pytest.raises(AccessDenied, match="permission denied"):
                copied(session, f"oci:{public / 'layout'}:app:1", place)


@pytest.mark.parametrize("place", ["docker-daemon:", "podman:", "containerd:", "docker-daemon+ssh://{}/"])
def test_nothing_listens(place: str, sshd: RealSshd, settings: Settings, public: Path, tmp_path: Path) -> None:
    require("docker", "podman", "ctr")
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(public / "s"))
    source = f"{place.format(sshd.host)}app:1?socket={public / 's'}"
    with (
        imgmove.Session(sshd.settings(settings)) as session,
        pytest.raises(ImgmoveError, match=f"nothing listens at {public / 's'}.*running") as caught,
    ):
        copied(session, source, f"oci:{tmp_path / 'out'}:app")
    assert caught.value.exit_status == 1
    assert caught.value.side == "source"


def test_an_engine_with_a_loopback_interface_of_its_own(
    edge: Edge,
    connect: Connect,
    layout: str,
    listener: Listener,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    require("docker", "unshare")
    path, folder = newer_programs(), tmp_path_factory.mktemp("apart")
    (folder / "daemon.json").write_text('{"features": {"containerd-snapshotter": true}}')
    flags = ("--config-file", str(folder / "daemon.json"))
    with run_dockerd(folder, *flags, path=path, keeps_manifests=True, start=in_own_network()) as engine:
        copied(connect(edge), f"{layout}:app:1", edge.at(engine, "app:1"))
        listener.notes.clear()
        edge.link.bytes = 0
        copied(connect(edge), f"{layout}:app:2", edge.at(engine, "app:2"))
        assert 1_000_000 < edge.link.bytes < allowed(1_000_000)
        (note,) = listener.notes
        assert "what docker asked for failed" in note
        assert "connection refused" in note
        assert note.endswith("sent only the missing layers instead")
        assert engine.names() == ["app:1", "app:2"]
        assert engine.diff_ids("app:2") == diff_ids_of([BASE, ADDED])
