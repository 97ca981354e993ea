"""Proving who we are to one registry: basic, or bearer tokens from its token server.

Follows docker's token specification (distribution project, *Token Authentication*) with both ways to get a token: a GET
with the name and password, and the OAuth2 POST that identity tokens need.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from imgmove.errors import AccessDenied, ImgmoveError, MalformedContent, NotFound, ServerRefused
from imgmove.model.connection import is_loopback
from imgmove.model.credentials import Credentials
from imgmove.wire.auth.challenge import Challenge, parse_challenges
from imgmove.wire.http import HttpClient, Response, error_of
from imgmove.wire.http.client import led_to
from imgmove.wire.http.errors import printable

_CLIENT_ID = "imgmove"
_LIFETIME = 60.0
_LONGEST_LIFETIME = 86400.0
_MARGIN = 10.0
_LARGEST_ANSWER = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """What a token is to allow.

    Attributes:
        actions: sorted and joined by commas, such as ``pull,push``.
    """

    kind: str
    name: str
    actions: str

    def covers(self, other: Scope) -> bool:
        """Whether a token of this scope serves for the other."""
        mine, theirs = set(self.actions.split(",")), set(other.actions.split(","))
        return (self.kind, self.name) == (other.kind, other.name) and (theirs <= mine or "*" in mine)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{self.actions}"


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    scopes: tuple[Scope, ...]
    ends: float

    def serves(self, scopes: Sequence[Scope]) -> bool:
        is_fresh = time.monotonic() < self.ends
        return is_fresh and all(any(mine.covers(scope) for mine in self.scopes) for scope in scopes)


class Authenticator:
    """Gives requests to one registry their ``Authorization``; for many threads, which share every token.

    Args:
        find_credentials: those for a repository, asked when a challenge makes them necessary.
    """

    def __init__(self, client: HttpClient, host: str, find_credentials: Callable[[str], Credentials | None]) -> None:
        self._client = client
        self._host = host
        self._find = find_credentials
        self._challenge: Challenge | None = None
        self._is_plain_http = False
        self._tokens: list[_Token] = []
        self._guard = threading.Lock()
        self._asking: dict[tuple[Scope, ...], threading.Lock] = {}

    def header(self, scopes: Sequence[Scope]) -> str | None:
        """The ``Authorization`` for a request; None as long as the registry has not asked for any.

        Raises:
            AccessDenied: there are no credentials that it would take.
        """
        challenge = self._challenge
        if challenge is None:
            return None
        credentials = self._find(_repository(scopes))
        if credentials and credentials.registry_token:
            return f"Bearer {credentials.registry_token}"
        if challenge.scheme == "basic":
            return self._basic(credentials)
        return f"Bearer {self._token(challenge, tuple(sorted(set(scopes))), credentials)}"

    def challenged(self, response: Response, scopes: Sequence[Scope], sent: str | None) -> None:
        """Learns from an answer of 401, so that the same request may be tried once more.

        Args:
            sent: the ``Authorization`` that was not enough; None for none.

        Raises:
            AccessDenied: nothing more can be tried.
        """
        offered = parse_challenges(response.headers.get("www-authenticate", ""))
        usable = [item for item in offered if item.scheme in ("bearer", "basic")]
        chosen = next((item for item in usable if item.scheme == "bearer" and "realm" in item.parameters), None)
        chosen = chosen or next((item for item in usable if item.scheme == "basic"), None)
        was_known = self._challenge is not None
        is_refused = chosen is not None and chosen.parameters.get("error") == "insufficient_scope"
        if chosen is None or (sent is not None and (chosen.scheme == "basic" or is_refused)):
            raise self._denied(response, scopes, is_scope_too_small=is_refused)
        with self._guard:
            self._challenge = chosen
            self._is_plain_http = response.url.startswith("http:")
            # A token that the registry does not take is not shown to it again.
            self._tokens = [token for token in self._tokens if sent is None or not sent.endswith(f" {token.text}")]
        if sent is None and was_known and chosen.scheme == "basic":
            raise self._denied(response, scopes)
        response.close()

    def _denied(self, response: Response, scopes: Sequence[Scope], *, is_scope_too_small: bool = False) -> ImgmoveError:
        error, known = error_of(response), self._find(_repository(scopes))
        if not known:
            return AccessDenied(error.message, hint=f"log in first: imgmove login {self._host}")
        if is_scope_too_small:
            return AccessDenied(error.message, hint=f"the {known.description} may not allow this")
        return _wrong(self._host, known, error)

    def _basic(self, credentials: Credentials | None) -> str:
        if not credentials or not credentials.username:
            raise AccessDenied(
                f"{self._host} wants a user name and password", hint=f"log in first: imgmove login {self._host}"
            )
        return _basic_header(credentials)

    def _token(self, challenge: Challenge, scopes: tuple[Scope, ...], credentials: Credentials | None) -> str:
        with self._guard:
            if token := next((token for token in self._tokens if token.serves(scopes)), None):
                return token.text
            lock = self._asking.setdefault(scopes, threading.Lock())
        with lock:
            with self._guard:
                if token := next((token for token in self._tokens if token.serves(scopes)), None):
                    return token.text
            request = _TokenRequest(
                self._client, self._host, challenge, scopes, credentials, is_plain_http=self._is_plain_http
            )
            token = request.send()
            with self._guard:
                self._tokens = [old for old in self._tokens if time.monotonic() < old.ends] + [token]
            return token.text


@dataclass(frozen=True)
class _TokenRequest:
    """Asks a token server once.

    Attributes:
        is_plain_http: the registry itself is spoken to without TLS.
    """

    client: HttpClient
    host: str
    challenge: Challenge
    scopes: tuple[Scope, ...]
    credentials: Credentials | None
    is_plain_http: bool = field(kw_only=True)

    def send(self) -> _Token:
        self._check_realm()
        has_identity = self.credentials is not None and self.credentials.identity_token
        posted = self._posted(self.credentials) if self.credentials and has_identity else None
        return self._read(posted or self._got())

    @property
    def _realm(self) -> str:
        return self.challenge.parameters.get("realm", "")

    def _check_realm(self) -> None:
        try:
            led_to("", self._realm)
        except ServerRefused:
            raise ServerRefused(f"{self.host} names a token server that is no address") from None
        parts = urlsplit(self._realm)
        if parts.scheme == "http" and self.credentials and not is_loopback(parts.netloc) and not self._is_bare_already:
            raise AccessDenied(f"{self.host} wants credentials to be sent unencrypted to {printable(parts.netloc)}")

    @property
    def _is_bare_already(self) -> bool:
        """Whether the token server is the registry itself, which is spoken to without TLS anyway."""
        return self.is_plain_http and urlsplit(self._realm).netloc == self.host

    def _parameters(self) -> list[tuple[str, str]]:
        service = self.challenge.parameters.get("service")
        scopes = [str(scope) for scope in self.scopes]
        if not scopes and (asked := self.challenge.parameters.get("scope")):
            scopes = [asked]
        return [*([("service", service)] if service else []), *(("scope", scope) for scope in scopes)]

    def _got(self) -> Response:
        headers, parameters = {}, self._parameters()
        if self.credentials and self.credentials.username and self.credentials.password:
            headers["Authorization"] = _basic_header(self.credentials)
            parameters.append(("account", self.credentials.username))
        mark = "&" if urlsplit(self._realm).query else "?"
        response = self.client.request("GET", f"{self._realm}{mark}{urlencode(parameters)}", headers)
        if response.status in (404, 405) and self.credentials and self.credentials.password:
            response.close()
            return self._posted(self.credentials) or response
        return self._checked(response)

    def _posted(self, credentials: Credentials) -> Response | None:
        """OAuth2; None when the server doesn't know it."""
        form = [("client_id", _CLIENT_ID), ("access_type", "offline")]
        form += [(name, value) for name, value in self._parameters() if name == "service"]
        form.append(("scope", " ".join(str(scope) for scope in self.scopes)))
        if credentials.identity_token:
            form += [("grant_type", "refresh_token"), ("refresh_token", credentials.identity_token)]
        else:
            form += [
                ("grant_type", "password"),
                ("username", credentials.username),
                ("password", credentials.password),
            ]
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        response = self.client.request("POST", self._realm, headers, urlencode(form).encode("ascii"))
        if response.status in (404, 405):
            response.close()
            return None
        return self._checked(response)

    def _checked(self, response: Response) -> Response:
        if response.status == 200:
            return response
        error = error_of(response)
        if not isinstance(error, AccessDenied | NotFound | ServerRefused):
            raise error
        if self.credentials:
            raise _wrong(self.host, self.credentials, error)
        raise AccessDenied(
            f"{self.host} allows this to nobody without a login: {error.message}",
            hint=f"log in first: imgmove login {self.host}",
        )

    def _read(self, response: Response) -> _Token:
        content = response.read(_LARGEST_ANSWER)
        while more := response.read(_LARGEST_ANSWER):
            content += more
            if len(content) > _LARGEST_ANSWER:
                break
        response.close()
        try:
            answer = json.loads(content)
            text = answer.get("token") or answer.get("access_token")
            lifetime = float(answer.get("expires_in") or 0)
        except (ValueError, OverflowError, AttributeError, TypeError, RecursionError):
            raise MalformedContent(f"the token server of {self.host} answers with something that is no token") from None
        if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable():
            raise MalformedContent(f"the token server of {self.host} answers without a token")
        lifetime = min(lifetime, _LONGEST_LIFETIME) if lifetime > 0 else _LIFETIME
        # Long-lived tokens are renewed a little early, short-lived ones at half their time.
        return _Token(text, self.scopes, time.monotonic() + max(lifetime - _MARGIN, lifetime / 2))


def _wrong(host: str, credentials: Credentials, error: ImgmoveError) -> AccessDenied:
    """What to say of credentials that a registry or its token server does not know; they themselves are not shown."""
    hint = f"imgmove login {host} tries and keeps others" if credentials.is_stored else ""
    said = "" if error.message.endswith("says: status 401") else f": {error.message}"
    return AccessDenied(f"{host} does not accept the {credentials.description}{said}", hint=hint)


def _basic_header(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode('ascii')}"


def _repository(scopes: Sequence[Scope]) -> str:
    return next((scope.name for scope in scopes if scope.kind == "repository"), "")
