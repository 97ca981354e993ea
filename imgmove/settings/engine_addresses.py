"""Where engines are spoken to: what docker's and podman's own settings say (contexts, ``DOCKER_HOST``, ``CONTAINER_HOST``)."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from imgmove.errors import ConfigError
from imgmove.settings.environment import Environment
from imgmove.settings.user_file import read_json_object

_DOCKER_SOCKET = "/var/run/docker.sock"
_DEFAULT_CONTEXT = "default"
_HOST_AND_PORT = re.compile(r"[\w.-]*:[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """Where an engine listens.

    Attributes:
        kind: a unix socket, TCP, or another host that is reached by SSH.
        place: the socket's path, ``HOST:PORT``, or ``[USER@]HOST[:PORT]``.
        certificates: the folder with ``ca.pem``, ``cert.pem`` and ``key.pem`` for TLS; empty for none.
        socket: on that other host; empty for the usual one.
    """

    kind: Literal["unix", "tcp", "ssh"]
    place: str
    certificates: str = ""
    socket: str = ""


def docker_address(environment: Environment) -> EngineAddress:
    """Where docker's own command would look: ``DOCKER_HOST``, ``DOCKER_CONTEXT``, the current context, the usual socket.

    Raises:
        ConfigError: the context isn't there, or an address is of a kind that is not known.
    """
    beside_settings = os.path.dirname(environment.docker_file)
    certificates = (environment["DOCKER_CERT_PATH"] or beside_settings) if environment["DOCKER_TLS_VERIFY"] else ""
    if environment["DOCKER_HOST"]:
        return _parsed(environment["DOCKER_HOST"], "DOCKER_HOST", certificates)
    name = environment["DOCKER_CONTEXT"]
    if not name:
        current = (read_json_object(environment.docker_file) or {}).get("currentContext")
        name = current if isinstance(current, str) else ""
    if name in ("", _DEFAULT_CONTEXT):
        return EngineAddress("unix", _DOCKER_SOCKET)
    contexts = os.path.join(os.path.dirname(environment.docker_file), "contexts")
    folder = hashlib.sha256(name.encode()).hexdigest()
    host = _host_of_context(os.path.join(contexts, "meta", folder, "meta.json"), name)
    tls = os.path.join(contexts, "tls", folder, "docker")
    return _parsed(host, f"the docker context {name}", tls if os.path.isdir(tls) else "")


def podman_address(environment: Environment) -> EngineAddress | None:
    """The other host that ``CONTAINER_HOST`` names; None where it doesn't, as podman itself goes by the rest."""
    text = environment["CONTAINER_HOST"]
    return _parsed(text, "CONTAINER_HOST", "") if text.startswith("ssh://") else None


def podman_keys(environment: Environment) -> dict[str, str]:
    """The private key that ``CONTAINER_SSHKEY`` names for that host, as podman's own command would show it."""
    key, address = environment["CONTAINER_SSHKEY"], podman_address(environment)
    return {address.place: os.path.expanduser(key)} if key and address else {}


def _host_of_context(path: str, name: str) -> str:
    document = read_json_object(path)
    if document is None:
        raise ConfigError(f"there is no docker context {name!r:.60}", hint="docker context ls names them")
    endpoints = document.get("Endpoints")
    docker = endpoints.get("docker") if isinstance(endpoints, dict) else None
    host = docker.get("Host") if isinstance(docker, dict) else None
    if not isinstance(host, str) or not host:
        raise ConfigError(f"{path} names no host")
    return host


def _parsed(text: str, origin: str, certificates: str) -> EngineAddress:
    scheme, separator, rest = text.partition("://")
    if not separator and _HOST_AND_PORT.fullmatch(text):
        scheme, rest = "tcp", text
    if rest and scheme == "unix":
        return EngineAddress("unix", rest)
    if rest and scheme == "ssh":
        host, _, path = rest.partition("?")[0].partition("/")
        return EngineAddress("ssh", host, socket=f"/{path}" if path else "")
    if rest and scheme in ("tcp", "http", "https"):
        with contextlib.suppress(ValueError):
            parts = urlsplit(f"//{rest}")
            port = parts.port or (2376 if certificates else 2375)
            host = parts.hostname or "127.0.0.1"
            return EngineAddress("tcp", f"[{host}]:{port}" if ":" in host else f"{host}:{port}", certificates)
    raise ConfigError(f"{origin} is no address that is known: {text!r:.100}", hint="write unix://, tcp:// or ssh://")
