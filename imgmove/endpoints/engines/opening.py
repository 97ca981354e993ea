"""From a location to an engine: which socket or command leads to it, each engine once a command."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace

from imgmove.endpoints.engines.commands import Program
from imgmove.endpoints.engines.containerd import Containerd
from imgmove.endpoints.engines.destination import EngineDestination
from imgmove.endpoints.engines.docker import Docker
from imgmove.endpoints.engines.nearest import no_such_image
from imgmove.endpoints.engines.podman import Podman
from imgmove.errors import LocalError, NetworkError, NotFound
from imgmove.model.location import EngineLocation
from imgmove.ports import ByteStream, Machine, Reader
from imgmove.settings import Settings
from imgmove.settings.engine_addresses import EngineAddress, docker_address
from imgmove.wire.machine import LocalMachine
from imgmove.wire.stream_http import StreamHttp

AnyEngine = Docker | Podman | Containerd


class Engines:
    """Opens engines when they are first needed and closes them together. Safe for many threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engines: dict[EngineLocation, AnyEngine] = {}
        self._streams: list[Reader] = []
        self._lock = threading.Lock()

    def destination(self, location: EngineLocation) -> EngineDestination:
        """The engine as a place to move images to."""
        return EngineDestination(self._engine(location))

    def containerd(self, location: EngineLocation) -> Containerd:
        """Containerd, from which content can be read piece by piece."""
        engine = self._engine(location)
        assert isinstance(engine, Containerd)
        return engine

    def keeps_manifests(self, location: EngineLocation) -> bool:
        """Whether images come out of it with the digests that they came in with."""
        return self._engine(location).keeps_manifests

    def save(self, location: EngineLocation) -> Reader:
        """The archive of an image, as it comes out of docker or podman.

        Raises:
            NotFound: there is none of that name; the nearest names are given.
        """
        engine = self._engine(location)
        assert not isinstance(engine, Containerd)
        try:
            stream = engine.save([location.name])
        except NotFound:
            raise no_such_image(engine.label, location.name, engine.names()) from None
        self._streams.append(stream)
        return stream

    def close(self) -> None:
        """Ends all commands and connections."""
        for stream in self._streams:
            stream.close()
        self._streams.clear()
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()

    def _engine(self, location: EngineLocation) -> AnyEngine:
        place = replace(location, name="", container="")
        with self._lock:
            if place not in self._engines:
                self._engines[place] = self._opened(place)
            return self._engines[place]

    def _opened(self, place: EngineLocation) -> AnyEngine:
        machine = LocalMachine(self._settings.timeout)
        if place.engine == "docker-daemon":
            return _docker(place, machine, self._settings)
        return (
            _podman(place, machine, self._settings)
            if place.engine == "podman"
            else _containerd(place, machine, self._settings)
        )


def _docker(place: EngineLocation, machine: Machine, settings: Settings) -> Docker:
    address = EngineAddress("unix", place.socket) if place.socket else docker_address(settings.environment)
    return Docker(StreamHttp(_connect(address, machine, settings.timeout), "docker"), "docker")


def _connect(address: EngineAddress, machine: Machine, timeout: float) -> Callable[[], ByteStream]:
    if address.kind == "unix":
        return lambda: machine.connect(address.place)
    return lambda: _tcp(address, timeout)


def _podman(place: EngineLocation, machine: Machine, settings: Settings) -> Podman:
    address = f"unix://{place.socket}" if place.socket else settings.environment["CONTAINER_HOST"]
    return Podman(Program(machine, ["podman", "--url", address] if address else ["podman"], "podman"))


def _containerd(place: EngineLocation, machine: Machine, settings: Settings) -> Containerd:
    environment = settings.environment
    words = _ctr(machine)
    if address := place.socket or environment["CONTAINERD_ADDRESS"]:
        words += ["-a", address]
    if namespace := place.namespace or environment["CONTAINERD_NAMESPACE"]:
        words += ["-n", namespace]
    return Containerd(Program(machine, words, "containerd"), Program(machine, ["sh", "-c"], "containerd"), words)


def _ctr(machine: Machine) -> list[str]:
    """Containerd's own command, or the one that k3s brings along."""
    shell = Program(machine, ["sh", "-c"], "containerd")
    found = shell.ask("command -v ctr || command -v k3s || true").decode().strip()
    if not found:
        raise LocalError("the program ctr is not installed", hint="it comes with containerd; k3s has it too")
    return [found, "ctr"] if found.endswith("/k3s") else [found]


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
