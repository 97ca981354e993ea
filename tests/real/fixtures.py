"""Real registries for tests: docker-registry 2.8 plain, with a password and TLS, with tokens, and read-only."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.real.requirements import require
from tests.real.token_server import ISSUER, SERVICE, TokenServer

_PATIENCE = 20.0


@dataclass(frozen=True)
class RealRegistry:
    """A running docker-registry.

    Attributes:
        log: the file of its access log.
        ca_file: the authority of its certificate; empty for plain HTTP.
        credentials: name and password of somebody who may do everything; empty where nobody is asked.
    """

    host: str
    folder: Path
    log: Path
    ca_file: str = ""
    credentials: str = ""
    tokens: TokenServer | None = field(default=None)

    def requests(self, *parts: str) -> list[str]:
        """The lines of the access log that hold all of some texts."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if '"' in line and " HTTP/1.1" in line and all(part in line for part in parts)]


@pytest.fixture(scope="session")
def plain_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """One for all tests of a worker; each test uses repositories of its own."""
    with run_registry(tmp_path_factory.mktemp("plain")) as registry:
        yield registry


@pytest.fixture(scope="session")
def tls_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """With TLS of an authority of its own, and a password."""
    require("htpasswd")
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    subprocess.run(["htpasswd", "-Bbc", str(folder / "htpasswd"), "alice", "s3cret"], check=True, capture_output=True)
    config = {
        "auth": {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}},
        "http": {"tls": {"certificate": str(folder / "server.pem"), "key": str(folder / "server.pem")}},
    }
    with run_registry(folder, config, ca_file=str(folder / "ca.pem"), credentials="alice:s3cret") as registry:
        yield registry


@pytest.fixture(scope="session")
def token_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """With a token server beside it."""
    folder = tmp_path_factory.mktemp("token")
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    issued = authority.issue_cert("tokens.test", key_type=trustme.KeyType.RSA)
    certificate = issued.cert_chain_pems[0].bytes()
    (folder / "bundle.pem").write_bytes(certificate + authority.cert_pem.bytes())
    with TokenServer(certificate, issued.private_key_pem.bytes()) as tokens:
        bundle = str(folder / "bundle.pem")
        token = {"realm": tokens.realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": bundle}
        with run_registry(folder, {"auth": {"token": token}}, credentials="alice:s3cret", tokens=tokens) as registry:
            yield registry


@contextmanager
def run_registry(
    folder: Path,
    extra: dict[str, Any] | None = None,
    *,
    ca_file: str = "",
    credentials: str = "",
    tokens: TokenServer | None = None,
) -> Iterator[RealRegistry]:
    """Runs a docker-registry over a folder until the block ends."""
    require("docker-registry")
    port = free_port()
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": False}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        **(extra or {}),
    }
    config["http"] = {**config.get("http", {}), "addr": f"127.0.0.1:{port}"}
    # JSON is YAML.
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _wait(f"{'https' if ca_file else 'http'}://127.0.0.1:{port}/v2/", process)
        yield RealRegistry(f"127.0.0.1:{port}", folder, folder / "log", ca_file, credentials, tokens)
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            pytest.fail(f"docker-registry ended with status {process.returncode}")
        try:
            urllib.request.urlopen(url, timeout=1, context=context if url.startswith("https") else None).close()
        except urllib.error.HTTPError as answer:
            answer.close()
        except OSError as error:
            # Who ends the connection, to see a certificate of ours first, is there.
            if not isinstance(error, ssl.SSLError):
                time.sleep(0.05)
                continue
        return
    pytest.fail("docker-registry did not begin to answer")
