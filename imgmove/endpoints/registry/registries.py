"""All registries of a command: each host once a side, with the credentials, certificates and mirrors that settings name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from imgmove.endpoints.registry.host import Access, DocumentMemory, RegistryHost
from imgmove.endpoints.registry.listing import list_repositories
from imgmove.endpoints.registry.mirrored import MirroredSource
from imgmove.endpoints.registry.repository import RegistryRepository, RegistrySource
from imgmove.errors import Side
from imgmove.model.connection import ProxyRules, RegistryEndpoint, TlsFiles
from imgmove.model.credentials import Credentials
from imgmove.model.reference import Reference
from imgmove.ports import RequestGate
from imgmove.settings import Settings, SideSettings
from imgmove.wire.http import HttpClient, check_status


class Registries:
    """Opens repositories; connections and tokens are shared by all of one host and side.

    Attributes:
        gates: who is asked before each request, by host; to be filled before anything is opened.
        memory: remembers lists that were read, from one run to the next; to be set before anything is opened.

    Args:
        dial: makes the connections, where another host has to do that; proxies are not for those.
    """

    def __init__(self, settings: Settings, dial: Callable[[str, int], Any] | None = None) -> None:
        self._dial = dial
        self.gates: dict[str, RequestGate] = {}
        self.memory: DocumentMemory | None = None
        self._settings = settings
        self._hosts: dict[tuple[Side, str, bool], RegistryHost] = {}
        self._tls: dict[tuple[Side, str], TlsFiles] = {}
        self._clients: dict[Side, HttpClient] = {}
        self._lock = threading.Lock()

    def source(self, reference: Reference) -> RegistrySource | MirroredSource:
        """A repository to read from: its mirrors first, where registries.conf names some."""
        side = self._settings.for_side("source")
        digest = str(reference.digest) if reference.digest else ""
        places = side.endpoints_for(reference.host, reference.repository, tag=reference.tag, digest=digest)
        sources = [RegistrySource(self._host(side, place), place.repository) for place in places]
        return sources[0] if len(sources) == 1 else MirroredSource(sources)

    def destination(self, reference: Reference) -> RegistryRepository:
        """A repository to write to."""
        side = self._settings.for_side("destination")
        (place,) = side.endpoints_for(reference.host, reference.repository)
        return RegistryRepository(self._host(side, place), place.repository)

    def repositories(self, host: str, prefix: str) -> Iterator[str]:
        """The repositories of a registry at or below a prefix."""
        side = self._settings.for_side("source")
        place = side.endpoints_for(host, prefix or "library")[-1]
        return list_repositories(self._host(side, place), prefix)

    def check_credentials(self, host: str, credentials: Credentials) -> None:
        """Sees whether a registry takes credentials.

        Raises:
            AccessDenied: it doesn't.
        """
        side = self._settings.for_side("source")
        place = side.endpoints_for(host, "library")[-1]
        access = Access(host, place.plain_http, place.allows_http, lambda _: credentials)
        self._tls["source", host] = place.tls
        # A registry that everybody may read is asked for nothing less than its version, as docker does.
        response = RegistryHost(access, self._client(side)).send("GET", "/v2/", ())
        check_status(response, 200, what=f"logging in to {host}").close()

    def close(self) -> None:
        """Closes all connections."""
        for client in self._clients.values():
            client.close()

    def _host(self, side: SideSettings, place: RegistryEndpoint) -> RegistryHost:
        with self._lock:
            key = (side.side, place.host, place.is_named)
            if key not in self._hosts:
                self._tls[side.side, place.host] = place.tls
                finder, gate = _finder(side, place), self.gates.get(place.host)
                access = Access(place.host, place.plain_http, place.allows_http, finder, gate, self.memory)
                self._hosts[key] = RegistryHost(access, self._client(side))
            return self._hosts[key]

    def _client(self, side: SideSettings) -> HttpClient:
        def tls_for(host: str) -> TlsFiles:
            return self._tls.get((side.side, host)) or side.tls_files_for(host)

        if side.side not in self._clients:
            settings = self._settings
            proxies = settings.proxies if self._dial is None else ProxyRules()
            self._clients[side.side] = HttpClient(
                settings.timeout, proxies, tls_for, side.most_connections_to, dial=self._dial
            )
        return self._clients[side.side]


def _finder(side: SideSettings, place: RegistryEndpoint) -> Callable[[str], Credentials | None]:
    def find(repository: str) -> Credentials | None:
        named = RegistryEndpoint(place.host, repository or place.repository, is_named=place.is_named)
        return side.credentials_for(named)

    return find
