"""Docker where its own settings say that it is: behind TCP with TLS, in a context, on another host."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trustme

import imgmove
from imgmove.errors import ImgmoveError
from imgmove.settings import Settings
from tests.real.counted_link import CountedLink
from tests.real.engine_fixtures import ADDED, BASE, Listener, allowed, copied, diff_ids_of
from tests.real.engines import RealEngine, run_dockerd
from tests.real.requirements import require
from tests.real.sshd import run_sshd

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]


@dataclass(frozen=True)
class DockerBehindTls:
    """A docker that lets in only who shows a certificate.

    Attributes:
        certificates: a folder as ``DOCKER_CERT_PATH`` names it.
    """

    engine: RealEngine
    link: CountedLink
    certificates: Path

    @property
    def variables(self) -> dict[str, str]:
        """What leads docker's own client to it."""
        address = f"tcp://127.0.0.1:{self.link.port}"
        return {"DOCKER_HOST": address, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(self.certificates)}


@pytest.fixture(scope="module")
def behind_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerBehindTls]:
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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    files = ("--tlscacert", "ca.pem", "--tlscert", "server.pem", "--tlskey", "server-key.pem")
    tls = [word if word.startswith("--") else str(folder / word) for word in files]
    flags = ("--storage-driver", "overlay2", "-H", f"tcp://127.0.0.1:{port}", "--tlsverify", *tls)
    with run_dockerd(folder, *flags) as engine, contextlib.closing(CountedLink(port)) as link:
        yield DockerBehindTls(engine, link, folder)


def _with(settings: Settings, variables: dict[str, str]) -> Settings:
    environment = replace(settings.environment, variables={**settings.environment.variables, **variables})
    return replace(settings, environment=environment)


def test_only_the_new_layer_is_sent_through_tls(
    behind_tls: DockerBehindTls, layout: str, settings: Settings, listener: Listener
) -> None:
    engine, link = behind_tls.engine, behind_tls.link
    engine.clean()
    with imgmove.Session(_with(settings, behind_tls.variables), listener) as session:
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


def test_a_line_to_tcp_that_breaks_is_mended(behind_tls: DockerBehindTls, layout: str, settings: Settings) -> None:
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


def test_a_context_brings_its_certificates(behind_tls: DockerBehindTls, settings: Settings, tmp_path: Path) -> None:
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
    behind_tls: DockerBehindTls, layout: str, settings: Settings, tmp_path: Path
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


def test_a_docker_host_that_is_reached_by_ssh(
    docker20: RealEngine,
    layout: str,
    settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    docker20.clean()
    lines = f"SetEnv PATH={os.environ['PATH']} DOCKER_HOST=unix://{docker20.socket}"
    with run_sshd(tmp_path_factory.mktemp("docker-host"), lines) as sshd:
        there = _with(sshd.settings(settings), {"DOCKER_HOST": f"ssh://{sshd.host}"})
        with imgmove.Session(there) as session:
            copied(session, f"{layout}:app:1", "docker-daemon:app:1")
    assert docker20.names() == ["app:1"]
    docker20.clean()
