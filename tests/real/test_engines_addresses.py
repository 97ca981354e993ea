"""Docker where its own settings say that it is: behind TCP with TLS, in a context, on another host."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trustme

import imgmove
from imgmove.errors import ImgmoveError
from imgmove.settings import Settings
from tests.real.counted_link import CountedLink
from tests.real.edge import Edge
from tests.real.engine_fixtures import ADDED, BASE, Listener, allowed, copied, diff_ids_of
from tests.real.engines import RealEngine, run_dockerd
from tests.real.fixtures import free_port
from tests.real.requirements import require
from tests.real.sshd import run_sshd

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]


@dataclass(frozen=True)
class DockerOnTcp:
    """A docker on a port, behind a line that counts.

    Attributes:
        certificates: a folder as ``DOCKER_CERT_PATH`` names it, where only who shows a certificate is let in.
    """

    engine: RealEngine
    link: CountedLink
    certificates: Path = Path()

    @property
    def variables(self) -> dict[str, str]:
        """What leads docker's own client to it."""
        address = {"DOCKER_HOST": f"tcp://127.0.0.1:{self.link.port}"}
        tls = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(self.certificates)}
        return address if self.certificates == Path() else {**address, **tls}


@pytest.fixture(scope="module")
def behind_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerOnTcp]:
    """Debian's docker behind TLS and a line that counts."""
    require("dockerd", "docker")
    folder = tmp_path_factory.mktemp("docker-tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name in ("server", "client"):
        issued = authority.issue_cert("127.0.0.1")
        certificate = "cert.pem" if name == "client" else "server.pem"
        issued.private_key_pem.write_to_path(str(folder / ("key.pem" if name == "client" else "server-key.pem")))
        (folder / certificate).write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    port = free_port()
    files = ("--tlscacert", "ca.pem", "--tlscert", "server.pem", "--tlskey", "server-key.pem")
    tls = [word if word.startswith("--") else str(folder / word) for word in files]
    flags = ("--storage-driver", "overlay2", "-H", f"tcp://127.0.0.1:{port}", "--tlsverify", *tls)
    with run_dockerd(folder, *flags) as engine, contextlib.closing(CountedLink(port)) as link:
        yield DockerOnTcp(engine, link, folder)


@pytest.fixture(scope="module")
def without_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerOnTcp]:
    """Debian's docker on a port that lets in everybody."""
    require("dockerd", "docker")
    port = free_port()
    flags = ("--storage-driver", "overlay2", "-H", f"tcp://127.0.0.1:{port}", "--tls=false")
    with (
        run_dockerd(tmp_path_factory.mktemp("docker-tcp"), *flags) as engine,
        contextlib.closing(CountedLink(port)) as link,
    ):
        yield DockerOnTcp(engine, link)


def _with(settings: Settings, variables: dict[str, str]) -> Settings:
    environment = replace(settings.environment, variables={**settings.environment.variables, **variables})
    return replace(settings, environment=environment)


@pytest.mark.parametrize("name", ["behind_tls", "without_tls"])
def test_only_the_new_layer_is_sent(
    name: str, request: pytest.FixtureRequest, layout: str, settings: Settings, listener: Listener
) -> None:
    docker: DockerOnTcp = request.getfixturevalue(name)
    engine, link = docker.engine, docker.link
    engine.clean()
    with imgmove.Session(_with(settings, docker.variables), listener) as session:
        copied(session, f"{layout}:app:1", "docker-daemon:app:1")
        link.bytes = 0
        copied(session, f"{layout}:app:2", "docker-daemon:app:2")
        assert 1_000_000 < link.bytes < allowed(1_000_000)
        assert engine.diff_ids("app:2") == diff_ids_of([BASE, ADDED])
        link.bytes = 0
        assert copied(session, f"{layout}:app:2", "docker-daemon:app:2").images[0].status == "present"
        assert link.bytes < 64 << 10
    assert engine.names() == ["app:1", "app:2"]
    assert listener.notes == []


def test_a_line_to_tcp_that_breaks_is_mended(behind_tls: DockerOnTcp, layout: str, settings: Settings) -> None:
    engine, link = behind_tls.engine, behind_tls.link
    engine.clean()
    cuts = link.cuts
    # So early that the rest can't be on its way already.
    link.cut_after = 500_000
    with imgmove.Session(_with(settings, behind_tls.variables)) as session:
        copied(session, f"{layout}:app:1", "docker-daemon:app:1")
    assert link.cuts == cuts + 1
    assert engine.names() == ["app:1"]
    assert engine.diff_ids("app:1") == diff_ids_of([BASE])


def test_a_context_brings_its_certificates(behind_tls: DockerOnTcp, settings: Settings, tmp_path: Path) -> None:
    behind_tls.engine.clean()
    folder = tmp_path / "docker"
    identity = hashlib.sha256(b"far").hexdigest()
    (folder / "contexts" / "meta" / identity).mkdir(parents=True)
    document = {"Name": "far", "Endpoints": {"docker": {"Host": behind_tls.variables["DOCKER_HOST"]}}}
    (folder / "contexts" / "meta" / identity / "meta.json").write_text(json.dumps(document))
    tls = folder / "contexts" / "tls" / identity / "docker"
    tls.mkdir(parents=True)
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tls / name).write_bytes((behind_tls.certificates / name).read_bytes())
    variables = {"DOCKER_CONFIG": str(folder), "DOCKER_CONTEXT": "far"}
    with (
        imgmove.Session(_with(settings, variables)) as session,
        pytest.raises(ImgmoveError, match="app:1") as caught,
    ):
        copied(session, "docker-daemon:app:1", f"oci:{tmp_path / 'out'}:app")
    assert caught.value.exit_status == 5, "docker was asked, and has none"


def test_without_a_certificate_nobody_is_let_in(
    behind_tls: DockerOnTcp, layout: str, settings: Settings, tmp_path: Path
) -> None:
    stranger = trustme.CA()
    issued = stranger.issue_cert("127.0.0.1")
    (tmp_path / "ca.pem").write_bytes((behind_tls.certificates / "ca.pem").read_bytes())
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    variables = {**behind_tls.variables, "DOCKER_CERT_PATH": str(tmp_path)}
    hasty = replace(_with(settings, variables), retries=0)
    with imgmove.Session(hasty) as session, pytest.raises(ImgmoveError) as caught:
        copied(session, f"{layout}:app:1", "docker-daemon:app:9")
    assert caught.value.exit_status == 1
    assert "certificate" in str(caught.value)


def test_a_docker_that_speaks_tls_is_asked_without(behind_tls: DockerOnTcp, layout: str, settings: Settings) -> None:
    plain = {"DOCKER_HOST": behind_tls.variables["DOCKER_HOST"]}
    with (
        imgmove.Session(_with(settings, plain)) as session,
        pytest.raises(ImgmoveError, match=r"docker says: .*HTTPS server.*DOCKER_TLS_VERIFY") as caught,
    ):
        copied(session, f"{layout}:app:1", "docker-daemon:app:9")
    assert caught.value.exit_status == 1


@pytest.mark.parametrize("has_path", [True, False])
def test_a_docker_host_that_is_reached_by_ssh(
    has_path: bool,
    docker20: RealEngine,
    layout: str,
    settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    docker20.clean()
    there = "" if has_path else f" DOCKER_HOST=unix://{docker20.socket}"
    with run_sshd(tmp_path_factory.mktemp("docker-host"), f"SetEnv PATH={os.environ['PATH']}{there}") as sshd:
        variables = {"DOCKER_HOST": f"ssh://{sshd.host}{docker20.socket if has_path else ''}"}
        with imgmove.Session(_with(sshd.settings(settings), variables)) as session:
            copied(session, f"{layout}:app:1", "docker-daemon:app:1")
    assert docker20.names() == ["app:1"]
    docker20.clean()


def test_a_container_host_that_is_reached_by_ssh(
    podman4: RealEngine, layout: str, settings: Settings, edge: Edge, listener: Listener, tmp_path: Path
) -> None:
    podman4.clean()
    address = f"ssh://{edge.sshd.host}{podman4.socket}?secure=True"
    variables = {"CONTAINER_HOST": address, "CONTAINER_SSHKEY": str(edge.sshd.key)}
    there = _with(replace(settings, ssh=replace(edge.sshd.settings(settings).ssh, key="")), variables)
    for tag in ("1", "2"):
        edge.link.bytes = 0
        with imgmove.Session(there, listener) as session:
            copied(session, f"{layout}:app:{tag}", f"podman:app:{tag}")
    assert 1_000_000 < edge.link.bytes < allowed(1_000_000)
    assert podman4.names() == ["localhost/app:1", "localhost/app:2"]
    assert podman4.diff_ids("app:2") == diff_ids_of([BASE, ADDED])
    assert listener.notes == []
    edge.link.bytes = 0
    with imgmove.Session(there) as session:
        copied(session, "podman:app:1", f"oci:{tmp_path / 'out'}:app")
    assert edge.link.bytes > 6_000_000, "it came from there"
    podman4.clean()
