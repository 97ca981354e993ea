"""From a location to an engine: which socket or command leads to it, each engine once a command."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from imgmove.endpoints.engines.commands import Program
from imgmove.endpoints.engines.containerd import Containerd
from imgmove.endpoints.engines.destination import EngineDestination
from imgmove.endpoints.engines.docker import Docker
from imgmove.endpoints.engines.nearest import no_such_image
from imgmove.endpoints.engines.podman import Podman
from imgmove.endpoints.engines.thinned import SavedLayer, ThinSave
from imgmove.errors import NetworkError, NotFound, UsageError
from imgmove.model.digest import Digest
from imgmove.model.location import EngineLocation, SshHost
from imgmove.model.location_grammar import parse_ssh_host
from imgmove.ports import ByteStream, Machine, Reader
from imgmove.settings import Settings
from imgmove.settings.engine_addresses import EngineAddress, docker_address, podman_address
from imgmove.wire.machine import LocalMachine
from imgmove.wire.stream_http import StreamHttp

AnyEngine = Docker | Podman | Containerd


class Engines:
    """Opens engines when they are first needed and closes them together. Safe for many threads.

    Args:
        remote: gives another host, whose connection is its owner's to close.
    """

    def __init__(self, settings: Settings, remote: Callable[[SshHost], Machine]) -> None:
        self._settings = settings
        self._remote = remote
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

    def diff_ids(self, location: EngineLocation) -> Sequence[Digest]:
        """The layers of an image as they are uncompressed; none where there is no such image."""
        found = self._engine(location).find(location.name)
        return found.diff_ids if found else ()

    def save(self, location: EngineLocation) -> Reader:
        """The archive of an image, as it comes out of docker or podman.

        Raises:
            NotFound: there is none of that name; the nearest names are given.
        """
        engine = self._engine(location)
        assert not isinstance(engine, Containerd)
        try:
            stream = engine.save(location.name)
        except NotFound:
            raise no_such_image(engine.label, location.name, engine.references()) from None
        self._streams.append(stream)
        return stream

    def thin_save(self, location: EngineLocation) -> tuple[ThinSave, Sequence[SavedLayer]] | None:
        """The saving of an image, and its layers, where an engine on another host could leave some out.

        Raises:
            ServerRefused: that host can't take archives apart.
        """
        place = self._placed(location)
        engine = self._engine(location)
        if place.carrier is None or isinstance(engine, Containerd):
            return None
        image = engine.find(location.name)
        if image is None:
            return None
        words = (
            engine.save_words(location.name)
            if isinstance(engine, Podman)
            else _docker_save(place, engine.name_of_one(location.name))
        )
        save = ThinSave(self._machine(place.carrier), words, engine.label)
        return save, save.blobs(image, engine.platform()) if engine.keeps_manifests else save.layers(image)

    def container(self, location: EngineLocation) -> Reader:
        """The root file system of a container of docker or podman: one tar, as the engine sends it.

        Raises:
            NotFound: there is no such container; podman tells so at the first read.
            UsageError: the engine gives out none.
        """
        engine = self._engine(location)
        if isinstance(engine, Containerd):
            raise UsageError("containerd gives out no containers", hint="write containerd:NAME for an image")
        stream = engine.export(location.container)
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
        place = self._placed(location)
        with self._lock:
            if place not in self._engines:
                self._engines[place] = self._opened(place)
            return self._engines[place]

    def _placed(self, location: EngineLocation) -> EngineLocation:
        """The engine itself; where its own settings name another host, the one there."""
        place = replace(location, name="", container="")
        if place.engine == "containerd" or place.socket or place.carrier:
            return place
        found = (docker_address if place.engine == "docker-daemon" else podman_address)(self._settings.environment)
        if found is None or found.kind != "ssh":
            return place
        return replace(place, carrier=parse_ssh_host(found.place), socket=found.socket)

    def _opened(self, place: EngineLocation) -> AnyEngine:
        if place.engine == "docker-daemon":
            return self._docker(place)
        machine = self._machine(place.carrier)
        return (_podman if place.engine == "podman" else _containerd)(place, machine, self._settings)

    def _docker(self, place: EngineLocation) -> Docker:
        label = f"docker on {place.carrier}" if place.carrier else "docker"
        if place.socket or place.carrier:
            machine = self._machine(place.carrier)
            return Docker(StreamHttp(lambda: machine.connect(place.socket), label), machine, label)
        address = docker_address(self._settings.environment)
        here = LocalMachine(self._settings.timeout)
        return Docker(StreamHttp(_connect(address, here, self._settings.timeout), label), here, label)

    def _machine(self, carrier: SshHost | None) -> Machine:
        return self._remote(carrier) if carrier else LocalMachine(self._settings.timeout)


def _connect(address: EngineAddress, machine: Machine, timeout: float) -> Callable[[], ByteStream]:
    if address.kind == "unix":
        return lambda: machine.connect(address.place)
    return lambda: _tcp(address, timeout)


def _docker_save(place: EngineLocation, name: str) -> list[str]:
    return ["docker", *(["-H", f"unix://{place.socket}"] if place.socket else []), "save", name]


def _podman(place: EngineLocation, machine: Machine, settings: Settings) -> Podman:
    address = f"unix://{place.socket}" if place.socket else ""
    if not address and place.carrier is None:
        address = settings.environment["CONTAINER_HOST"]
    return Podman(Program(machine, ["podman", "--url", address] if address else ["podman"], _label(place)))


def _containerd(place: EngineLocation, machine: Machine, settings: Settings) -> Containerd:
    # What the environment says is about this machine.
    said = settings.environment if place.carrier is None else None
    address = place.socket or (said["CONTAINERD_ADDRESS"] if said else "")
    namespace = place.namespace or (said["CONTAINERD_NAMESPACE"] if said else "")
    return Containerd(machine, _label(place), address, namespace)


def _label(place: EngineLocation) -> str:
    return f"{place.engine} on {place.carrier}" if place.carrier else place.engine


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
