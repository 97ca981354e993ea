from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from imgmove.errors import ConfigError
from imgmove.settings.engine_addresses import EngineAddress, docker_address, podman_address, podman_keys
from imgmove.settings.environment import Environment


def address(tmp_path: Path, variables: Mapping[str, str]) -> EngineAddress:
    return docker_address(Environment(variables, str(tmp_path)))


def write_context(tmp_path: Path, name: str, host: object) -> None:
    folder = tmp_path / ".docker" / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host}}}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", EngineAddress("unix", "/var/run/docker.sock")),
        ("unix:///run/user/1000/docker.sock", EngineAddress("unix", "/run/user/1000/docker.sock")),
        ("ssh://ops@edge1:2222", EngineAddress("ssh", "ops@edge1:2222")),
        ("ssh://ops@edge1/run/d.sock", EngineAddress("ssh", "ops@edge1", socket="/run/d.sock")),
        ("tcp://build:2376", EngineAddress("tcp", "build:2376")),
        ("tcp://build", EngineAddress("tcp", "build:2375")),
        ("build:2376", EngineAddress("tcp", "build:2376")),
        (":2375", EngineAddress("tcp", "127.0.0.1:2375")),
        ("tcp://[::1]:99", EngineAddress("tcp", "[::1]:99")),
    ],
)
def test_docker_host(tmp_path: Path, text: str, expected: EngineAddress) -> None:
    assert address(tmp_path, {"DOCKER_HOST": text}) == expected


def test_tls(tmp_path: Path) -> None:
    variables = {"DOCKER_HOST": "tcp://build", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"}
    assert address(tmp_path, variables) == EngineAddress("tcp", "build:2376", "/certs")
    variables.pop("DOCKER_CERT_PATH")
    assert address(tmp_path, variables) == EngineAddress("tcp", "build:2376", str(tmp_path / ".docker"))


@pytest.mark.parametrize(
    "text", ["npipe:////./pipe/docker", "docker", "unix://", "tcp://a:b", "tcp://a:99999", "tcp://[::1"]
)
def test_what_is_no_address(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="DOCKER_HOST"):
        address(tmp_path, {"DOCKER_HOST": text})


def test_contexts(tmp_path: Path) -> None:
    write_context(tmp_path, "edge", "ssh://ops@edge1")
    (tmp_path / ".docker" / "config.json").write_text('{"currentContext": "edge"}')
    assert address(tmp_path, {}) == EngineAddress("ssh", "ops@edge1")
    assert address(tmp_path, {"DOCKER_CONTEXT": "default"}).kind == "unix"
    assert address(tmp_path, {"DOCKER_HOST": "unix:///x"}) == EngineAddress("unix", "/x")
    with pytest.raises(ConfigError, match="gone"):
        address(tmp_path, {"DOCKER_CONTEXT": "gone"})


def test_a_context_without_a_host(tmp_path: Path) -> None:
    write_context(tmp_path, "odd", 7)
    with pytest.raises(ConfigError, match="names no host"):
        address(tmp_path, {"DOCKER_CONTEXT": "odd"})


def test_container_host(tmp_path: Path) -> None:
    variables = {"CONTAINER_HOST": "ssh://ops@edge1:2222/run/p.sock?secure=True", "CONTAINER_SSHKEY": "/keys/edge"}
    there = Environment(variables, str(tmp_path))
    assert podman_address(there) == EngineAddress("ssh", "ops@edge1:2222", socket="/run/p.sock")
    assert podman_keys(there) == {"ops@edge1:2222": "/keys/edge"}
    for text in ("", "unix:///run/p.sock", "tcp://edge1:8080"):
        here = Environment({**variables, "CONTAINER_HOST": text}, str(tmp_path))
        assert podman_address(here) is None, "podman goes there by itself"
        assert podman_keys(here) == {}
