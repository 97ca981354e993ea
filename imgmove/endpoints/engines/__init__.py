"""Container engines: docker, podman, containerd."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

from imgmove.endpoints.engines.destination import EngineDestination
from imgmove.endpoints.engines.docker import Docker
from imgmove.endpoints.engines.source import saved
from imgmove.errors import NetworkError
from imgmove.settings import Settings
from imgmove.settings.engine_addresses import EngineAddress, docker_address
from imgmove.wire.machine import LocalMachine
from imgmove.wire.stream_http import StreamHttp

if TYPE_CHECKING:
    from imgmove.model.location import EngineLocation
    from imgmove.ports import ByteStream

__all__ = ["EngineDestination", "open_docker", "saved"]


def open_docker(location: EngineLocation, settings: Settings) -> Docker:
    """The docker daemon that a location means.

    Raises:
        ConfigError: docker's own settings lead nowhere.
    """
    address = EngineAddress("unix", location.socket) if location.socket else docker_address(settings.environment)
    machine = LocalMachine(settings.timeout)

    def connect() -> ByteStream:
        if address.kind == "unix":
            return machine.connect(address.place)
        return _tcp(address, settings.timeout)

    return Docker(StreamHttp(connect, "docker"), "docker")


def _tcp(address: EngineAddress, timeout: float) -> ByteStream:
    host, _, port = address.place.rpartition(":")
    try:
        plain = socket.create_connection((host.strip("[]"), int(port)), timeout)
        if not address.certificates:
            return plain
        return _context(address.certificates).wrap_socket(plain, server_hostname=host.strip("[]"))
    except OSError as error:
        raise NetworkError(f"docker at {address.place} can't be reached: {error.strerror or error}") from error


def _context(folder: str) -> ssl.SSLContext:
    from imgmove.model.connection import TlsFiles
    from imgmove.wire.tls import make_context

    pair = (f"{folder}/cert.pem", f"{folder}/key.pem")
    return make_context(TlsFiles(ca_files=(f"{folder}/ca.pem",), client_pairs=(pair,)))
