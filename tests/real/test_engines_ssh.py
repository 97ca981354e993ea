"""Engines on another host, over a real sshd: bytes are counted on the line between."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

import imgmove
from imgmove.errors import ImgmoveError, NotFound
from imgmove.settings import Settings
from imgmove.wire.remote_machine import RemoteCommand
from imgmove.wire.ssh import SshConnection
from imgmove.wire.ssh.listener import RemoteListener
from tests.real.edge import Connect, Edge, behind_link
from tests.real.engine_fixtures import ADDED, BASE, Listener, allowed, copied, diff_ids_of
from tests.real.engines import RealEngine
from tests.real.fixtures import RealRegistry
from tests.real.sshd import RealSshd, run_sshd

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]


def test_only_the_new_layer_is_sent(
    engine: RealEngine, edge: Edge, connect: Connect, layout: str, listener: Listener
) -> None:
    copied(connect(edge), f"{layout}:app:1", edge.at(engine, "app:1"))
    edge.link.bytes = 0
    copied(connect(edge), f"{layout}:app:2", edge.at(engine, "app:2"))
    assert 1_000_000 < edge.link.bytes < allowed(1_000_000)
    assert engine.diff_ids("app:2") == diff_ids_of([BASE, ADDED])
    edge.link.bytes = 0
    report = copied(connect(edge), f"{layout}:app:2", edge.at(engine, "app:2"))
    assert report.images[0].status == "present"
    assert edge.link.bytes < 64 << 10
    assert engine.names() == [engine.shown("app:1"), engine.shown("app:2")]
    assert listener.notes == []


def test_a_registry_is_sent_only_what_it_lacks(
    engine: RealEngine,
    edge: Edge,
    connect: Connect,
    layout: str,
    plain_registry: RealRegistry,
    session: imgmove.Session,
    listener: Listener,
) -> None:
    repository = f"{plain_registry.host}/s{uuid.uuid4().hex[:8]}/app"
    copied(session, f"{layout}:app:1", f"{repository}:1")
    copied(session, f"{layout}:app:2", engine.at("app:2"))
    edge.link.bytes = 0
    report = copied(connect(edge), edge.at(engine, "app:2"), f"{repository}:2")
    assert 1_000_000 < edge.link.bytes < allowed(1_000_000)
    assert listener.notes == [] or "digest of its own" in listener.notes[0]
    original = imgmove.inspect(f"{layout}:app:2", session=session)
    if engine.keeps_manifests:
        assert report.images[0].digest == original.root.digest
    out = imgmove.inspect(f"{repository}:2", session=session)
    assert out.layers[0].digest == original.layers[0].digest, "the registry's own form of the base is named"
    assert out.config["rootfs"] == original.config["rootfs"]
    imgmove.verify(f"{repository}:2", session=session)


def test_a_host_whose_tar_takes_nothing_out(
    docker20: RealEngine,
    connect: Connect,
    layout: str,
    plain_registry: RealRegistry,
    session: imgmove.Session,
    listener: Listener,
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
) -> None:
    docker20.clean()
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "tar").write_text(
        "#!/bin/sh\ncase $* in *--delete*) cat > /dev/null; echo 'tar: unrecognized option --delete' >&2; exit 1;; esac\n"
        f'exec {shutil.which("tar")} "$@"\n'
    )
    (tools / "tar").chmod(0o755)
    repository = f"{plain_registry.host}/s{uuid.uuid4().hex[:8]}/app"
    copied(session, f"{layout}:app:1", f"{repository}:1")
    copied(session, f"{layout}:app:2", docker20.at("app:2"))
    lines = f"SetEnv PATH={tools}:{os.environ['PATH']}"
    with run_sshd(tmp_path_factory.mktemp("busy"), lines) as sshd, behind_link(sshd, tmp_path) as edge:
        report = copied(connect(edge), edge.at(docker20, "app:2"), f"{repository}:2")
    assert report.totals.blobs_present == 1, "the registry is not sent what it has all the same"
    (note, _) = listener.notes
    assert note.endswith(
        f"(docker on {edge.sshd.host}: tar: unrecognized option --delete); sent the whole image instead"
    )
    docker20.clean()


def test_a_line_that_breaks_is_mended(
    engine: RealEngine, edge: Edge, connect: Connect, unseen: tuple[str, list[dict[str, bytes]]]
) -> None:
    source, layers = unseen
    edge.link.cut_after = 3_000_000
    copied(connect(edge), source, edge.at(engine, "app:1"))
    assert edge.link.cuts == 1
    assert engine.names() == [engine.shown("app:1")]
    assert engine.diff_ids("app:1") == diff_ids_of(layers)


def test_a_line_that_breaks_for_good_leaves_nothing(
    engine: RealEngine,
    edge: Edge,
    connect: Connect,
    unseen: tuple[str, list[dict[str, bytes]]],
    settings: Settings,
) -> None:
    source, layers = unseen
    edge.link.cut_after = 3_000_000
    hasty = imgmove.Session(replace(edge.sshd.settings(settings), retries=0))
    # An engine that pulls may get the rest another way.
    with hasty, contextlib.suppress(ImgmoveError):
        copied(hasty, source, edge.at(engine, "app:1"))
    assert edge.link.cuts == 1
    for name in engine.names():
        assert name == engine.shown("app:1"), "no other name is left"
        assert engine.diff_ids("app:1") == diff_ids_of(layers)
    copied(connect(edge), source, edge.at(engine, "app:1"))
    assert engine.diff_ids("app:1") == diff_ids_of(layers)


def test_a_layout_is_sent_only_what_it_lacks(
    engine: RealEngine, edge: Edge, connect: Connect, layout: str, session: imgmove.Session, tmp_path: Path
) -> None:
    store = f"oci:{tmp_path / 'store'}"
    for version in (1, 2):
        copied(session, f"{layout}:app:{version}", engine.at(f"app:{version}"))
        edge.link.bytes = 0
        copied(connect(edge), edge.at(engine, f"app:{version}"), f"{store}:app:{version}")
    assert 1_000_000 < edge.link.bytes < allowed(1_000_000)
    out = imgmove.inspect(f"{store}:app:2", session=session)
    assert out.config["rootfs"] == imgmove.inspect(f"{layout}:app:2", session=session).config["rootfs"]
    imgmove.verify(f"{store}:app:2", session=session)


@pytest.mark.parametrize("engine", ["docker26_containerd", "podman4"], indirect=True)
def test_a_save_without_held_layers_is_cut(
    engine: RealEngine,
    edge_sshd: RealSshd,
    edge: Edge,
    connect: Connect,
    layout: str,
    unseen: tuple[str, list[dict[str, bytes]]],
    plain_registry: RealRegistry,
    session: imgmove.Session,
) -> None:
    source, layers = unseen
    repository = f"{plain_registry.host}/s{uuid.uuid4().hex[:8]}/app"
    copied(session, f"{layout}:app:1", f"{repository}:1")
    copied(session, source, engine.at("app:1"))
    _cut_on_the_way_out(edge, edge_sshd, edge.at(engine, "app:1"), f"{repository}:2", session)
    edge.link.cut_after = 3_000_000
    copied(connect(edge), edge.at(engine, "app:1"), f"{repository}:2")
    assert edge.link.cuts == 2, "a line that breaks again is mended"
    out = imgmove.inspect(f"{repository}:2", session=session)
    assert out.config["rootfs"]["diff_ids"] == diff_ids_of(layers)  # type: ignore[index]
    imgmove.verify(f"{repository}:2", session=session)


@pytest.mark.parametrize("engine", ["docker20", "docker26_containerd", "podman4", "containerd1"], indirect=True)
def test_out_of_an_engine_over_a_line_that_is_cut(
    engine: RealEngine,
    edge_sshd: RealSshd,
    edge: Edge,
    connect: Connect,
    unseen: tuple[str, list[dict[str, bytes]]],
    plain_registry: RealRegistry,
    session: imgmove.Session,
) -> None:
    source, layers = unseen
    there = f"{plain_registry.host}/s{uuid.uuid4().hex[:8]}/app:1"
    copied(session, source, engine.at("app:1"))
    _cut_on_the_way_out(edge, edge_sshd, edge.at(engine, "app:1"), there, session)
    again = connect(edge)
    copied(again, edge.at(engine, "app:1"), there)
    found = imgmove.inspect(there, session=session)
    assert found.config["rootfs"]["diff_ids"] == diff_ids_of(layers)  # type: ignore[index]
    imgmove.verify(there, session=session)
    with pytest.raises(NotFound, match="app:1"):
        copied(again, edge.at(engine, "app:9"), there)


def _cut_on_the_way_out(edge: Edge, sshd: RealSshd, source: str, destination: str, session: imgmove.Session) -> None:
    """Cuts the line while an image comes over it, and makes sure that nothing is left at either end."""
    hasty = imgmove.Session(replace(edge.sshd.settings(session.settings), retries=0))
    edge.link.cut_after = 3_000_000
    with hasty, pytest.raises(ImgmoveError) as caught:
        copied(hasty, source, destination)
    assert caught.value.is_transient
    assert edge.link.cuts == 1
    _wait_until_nothing_runs(sshd)
    assert list((sshd.folder / "tmp").iterdir()) == [], "of what it kept there, nothing is left"
    with pytest.raises(NotFound):
        imgmove.inspect(destination, session=session)


def _wait_until_nothing_runs(sshd: RealSshd) -> None:
    """Fails where something goes on that was started through an sshd whose lines are all broken."""
    end = time.monotonic() + 20
    while found := _started_through(sshd):
        assert time.monotonic() < end, found
        time.sleep(0.1)


def _started_through(sshd: RealSshd) -> list[str]:
    mark, found = f" 127.0.0.1 {sshd.port}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = (folder / "environ").read_bytes().split(b"\0")
            if any(each.startswith(b"SSH_CONNECTION=") and each.endswith(mark) for each in variables):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def test_a_host_that_forbids_forwarding(
    docker26_containerd: RealEngine,
    connect: Connect,
    layout: str,
    listener: Listener,
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
) -> None:
    engine = docker26_containerd
    engine.clean()
    lines = (f"SetEnv PATH={os.environ['PATH']}", "AllowTcpForwarding no")
    with run_sshd(tmp_path_factory.mktemp("strict"), *lines) as sshd, behind_link(sshd, tmp_path) as edge:
        copied(connect(edge), f"{layout}:app:1", edge.at(engine, "app:1"))
        listener.notes.clear()
        edge.link.bytes = 0
        copied(connect(edge), f"{layout}:app:2", edge.at(engine, "app:2"))
        assert edge.link.bytes < allowed(1_000_000)
        (note,) = listener.notes
        assert "AllowTcpForwarding" in note or "listens on no port" in note
        assert engine.diff_ids("app:2") == diff_ids_of([BASE, ADDED])
    engine.clean()


@pytest.mark.parametrize("scheme", ["docker-daemon", "podman", "containerd"])
def test_a_host_without_the_engine(
    scheme: str, connect: Connect, layout: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    with (
        run_sshd(tmp_path_factory.mktemp("bare"), f"SetEnv PATH={tools}") as sshd,
        behind_link(sshd, tmp_path) as edge,
    ):
        session = connect(edge)
        with pytest.raises(ImgmoveError) as caught:
            copied(session, f"{layout}:app:1", f"{scheme}+ssh://{edge.sshd.host}/app:1")
    assert caught.value.exit_status == 1
    assert "no program" in caught.value.message or "no ctr" in caught.value.message


def test_nothing_listens_afterwards(
    docker26_containerd: RealEngine, edge: Edge, connect: Connect, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker26_containerd.clean()
    ports: list[int] = []
    listen = SshConnection.listen

    def noted(connection: SshConnection) -> RemoteListener:
        listener = listen(connection)
        ports.append(listener.port)
        assert is_listening(listener.port)
        return listener

    monkeypatch.setattr(SshConnection, "listen", noted)
    session = connect(edge)
    copied(session, f"{layout}:app:1", edge.at(docker26_containerd, "app:1"))
    assert ports
    assert not any(is_listening(port) for port in ports), "the connection is open still, the port is not"
    docker26_containerd.clean()


def is_listening(port: int) -> bool:
    """Whether anything listens on a TCP port of loopback."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(line[1] == f"0100007F:{port:04X}" and line[3] == "0A" for line in lines)


@pytest.mark.parametrize("engine", ["podman4", "containerd1"], indirect=True)
def test_a_line_that_breaks_when_all_is_sent(
    engine: RealEngine,
    layout: str,
    settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tools, temporary = tmp_path / "tools", tmp_path / "temporary"
    tools.mkdir()
    temporary.mkdir()
    program = tools / engine.client[0]
    program.write_text(
        f"#!/bin/sh\ncase $* in *' load '*|*' import '*) cat > {tools}/archive; touch {tools}/got; sleep 1;"
        f' exec {shutil.which(engine.client[0])} "$@" < {tools}/archive;; esac\n'
        f'exec {shutil.which(engine.client[0])} "$@"\n'
    )
    program.chmod(0o755)
    write, end_input = RemoteCommand.write, RemoteCommand.end_input
    fed: list[RemoteCommand] = []
    with (
        run_sshd(
            tmp_path_factory.mktemp("late"), f"SetEnv PATH={tools}:{os.environ['PATH']} TMPDIR={temporary}"
        ) as sshd,
        behind_link(sshd, tmp_path) as edge,
        imgmove.Session(replace(edge.sshd.settings(settings), retries=0)) as session,
    ):

        def written(command: RemoteCommand, data: bytes) -> None:
            fed[:] = [command]
            write(command, data)

        def ended(command: RemoteCommand) -> None:
            end_input(command)
            if fed == [command]:
                end = time.monotonic() + 20
                while not (tools / "got").exists():
                    assert time.monotonic() < end
                    time.sleep(0.01)
                edge.link.cut()

        monkeypatch.setattr(RemoteCommand, "write", written)
        monkeypatch.setattr(RemoteCommand, "end_input", ended)
        copied(session, f"{layout}:app:1", edge.at(engine, "app:1"))
    assert fed
    assert engine.names() == [engine.shown("app:1")]
    assert engine.diff_ids("app:1") == diff_ids_of([BASE])
    end = time.monotonic() + 20
    while kept := list(temporary.iterdir()):
        assert time.monotonic() < end, f"the program leaves {kept} behind"
        time.sleep(0.05)
