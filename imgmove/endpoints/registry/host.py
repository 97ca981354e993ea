"""One registry: where it is, how it is spoken to, and what was learned about it during this command."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urljoin, urlsplit, urlunsplit

from imgmove.errors import NetworkError, ServerRefused
from imgmove.model.credentials import Credentials
from imgmove.model.digest import Digest
from imgmove.model.reference import HUB, HUB_ADDRESS
from imgmove.ports import RequestGate
from imgmove.wire.auth import Authenticator, Scope
from imgmove.wire.http import Body, HttpClient, Response, error_of
from imgmove.wire.http.client import led_to, origin
from imgmove.wire.http.errors import WITH_TLS, ConnectionBroke, NoSuchHost, NotTls, shown

_MOST_CHALLENGES = 5
_HTTP_PORT = 80
_BAD_REQUEST = 400
"""Which teaches nothing of a registry: that is what servers for TLS say to those who come without."""


@dataclass(frozen=True)
class Access:
    """How a registry is reached.

    Attributes:
        host: as people write it.
        plain_http: HTTP from the first request on.
        allows_http: HTTP where no TLS server is found; only the user's own registries.conf allows that.
        credentials: those for a repository of this registry.
        gate: who has to be asked before each request; None for nobody.
        memory: remembers what was read; None for nothing.
    """

    host: str
    plain_http: bool
    allows_http: bool
    credentials: Callable[[str], Credentials | None]
    gate: RequestGate | None = None
    memory: DocumentMemory | None = None


class DocumentMemory(Protocol):
    """Remembers small documents by their digest, from one run to the next; for many threads."""

    def kept(self, digest: Digest) -> bytes | None:
        """A document; None when it is not known."""
        ...

    def keep(self, digest: Digest, content: bytes) -> None:
        """Remembers one, if it is small enough."""
        ...


class RegistryHost:
    """A registry for all of its repositories and for many threads.

    Attributes:
        name: the host as people write it.
        has_referrers_api: None as long as nobody asked.
        looking_for_api: held by the one who asks first, so that the others need not ask in vain.
        largest_request: bytes, once something on the way refused a larger one, so that uploads go in pieces.
        memory: remembers documents that were read; None for no such thing.
        takes_pieces: False once it refused to go on with an upload, so that each blob goes in one.
    """

    def __init__(self, access: Access, client: HttpClient) -> None:
        self.name = access.host
        self.has_referrers_api: bool | None = None
        self.looking_for_api = threading.Lock()
        self.largest_request: int | None = None
        self.takes_pieces = True
        self.memory = access.memory
        self._client = client
        self._access = access
        self._authenticator = Authenticator(client, access.host, access.credentials)
        address = HUB_ADDRESS if access.host == HUB else access.host
        self._base = f"{'http' if access.plain_http else 'https'}://{address}/"
        self._first = threading.Lock()
        self._is_known = False

    def send(
        self,
        method: str,
        place: str,
        scopes: Sequence[Scope],
        headers: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
    ) -> Response:
        """Sends a request, with whatever the registry wants to see first, and returns its answer.

        Args:
            place: a path below the registry, or a whole URL, which gets credentials only if it is the registry's.

        Raises:
            AccessDenied: the registry refuses, and nothing more can be tried.
            NetworkError: it can't be reached.
        """
        if self._is_known:
            return self._sent(method, place, scopes, headers or {}, body)
        # The first request of all goes alone: what it learns (a challenge, a token) spares the others theirs.
        with self._first:
            response = self._begun(method, place, scopes, headers or {}, body)
            self._is_known = response.status != _BAD_REQUEST
            return response

    def url(self, place: str) -> str:
        """A path below the registry as a URL; a URL as it is."""
        return urljoin(self._base, place)

    def following(self, response: Response, location: str) -> str:
        """Where an answer leads, as a URL.

        Registries behind a proxy that ends TLS name themselves with ``http:``; what came over TLS goes on over it.

        Raises:
            ServerRefused: to no address, or out of TLS.
        """
        target = led_to(response.url, location)
        (scheme, name, port), (own_scheme, own_name, own_port) = origin(target), origin(self._base)
        if scheme in (own_scheme, "https"):
            return target
        if name == own_name and port in (_HTTP_PORT, own_port):
            parts = urlsplit(target)
            return urlunsplit(("https", urlsplit(self._base).netloc, parts.path, parts.query, ""))
        raise ServerRefused(f"{self.name} leads out of TLS to {shown(target)}, which is not safe")

    def _begun(
        self, method: str, place: str, scopes: Sequence[Scope], headers: Mapping[str, str], body: Body | bytes | None
    ) -> Response:
        try:
            return self._sent(method, place, scopes, headers, body)
        except NotTls:
            if not self._access.allows_http or isinstance(body, Body):
                raise
            self._base = self._base.replace("https://", "http://", 1)
            return self._sent(method, place, scopes, headers, body)
        except ConnectionBroke as error:
            # Many servers for TLS close the connection without a word, or before it can be read.
            error.hint = f"if it speaks TLS, {WITH_TLS}" if self._access.plain_http else ""
            raise
        except NoSuchHost as error:
            # Not so where it is a proxy that has no address.
            is_hub = error.message.endswith(f": {HUB_ADDRESS}")
            error.hint = "that is Docker Hub, where names without a host belong" if is_hub else ""
            raise

    def _sent(
        self, method: str, place: str, scopes: Sequence[Scope], headers: Mapping[str, str], body: Body | bytes | None
    ) -> Response:
        url = self.url(place)
        is_ours = origin(url) == origin(self._base)
        for _ in range(_MOST_CHALLENGES):
            authorization = self._authenticator.header(scopes) if is_ours else None
            proof = {"Authorization": authorization} if authorization else {}
            response = self._passed(method, url, {**headers, **proof}, body)
            # Whoever a redirect leads to has no say in where our credentials go.
            if response.status != 401 or origin(response.url) != origin(self._base):
                return response
            self._authenticator.challenged(response, scopes, authorization)
            if isinstance(body, Body):
                # The body is gone; whoever sent it asks how far it came and goes on with a new token.
                raise NewToken(f"{self.name} wants a new token in the middle of an upload")
        authorization = self._authenticator.header(scopes)
        proof = {"Authorization": authorization} if authorization else {}
        response = self._passed(method, url, {**headers, **proof}, body)
        if response.status == 401:
            raise error_of(response)
        return response

    def _passed(self, method: str, url: str, headers: Mapping[str, str], body: Body | bytes | None) -> Response:
        gate = self._access.gate
        if gate is None:
            return self._client.request(method, url, headers, body)
        gate.before(method, url)
        response = self._client.request(method, url, headers, body)
        gate.after(response.headers)
        return response


class NewToken(NetworkError):
    """The registry did not take the token that a body was sent with; the next try has another one."""

    is_lesson = True


def pull_scope(repository: str) -> Scope:
    """What reading a repository needs."""
    return Scope("repository", repository, "pull")


def push_scope(repository: str) -> Scope:
    """What writing to a repository needs."""
    return Scope("repository", repository, "pull,push")


def delete_scope(repository: str) -> Scope:
    """What deleting from a repository needs."""
    return Scope("repository", repository, "delete,pull,push")


CATALOG = Scope("registry", "catalog", "*")
