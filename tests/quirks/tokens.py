"""Bearer tokens for a test's registry (distribution's token specification), with the habits of real realms."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs

from imgmove.server.auth import basic_credentials
from imgmove.server.exchange import Handler, Refusal, Request, Response
from tests.quirks.definition import TokenAuth
from tests.quirks.kinds import kind_of

_DEFAULT_SECONDS = 60


class _Token:
    def __init__(self, grants: Mapping[str, frozenset[str]], auth: TokenAuth) -> None:
        self.grants = grants
        self.ends = time.monotonic() + (auth.expires_in or _DEFAULT_SECONDS)
        self.uses_left = auth.uses or 1 << 60


class TokenGate:
    """Lets through who has a token that is good for what is asked, and gives out tokens at ``/token``."""

    def __init__(self, handler: Handler, auth: TokenAuth) -> None:
        self._handler = handler
        self._auth = auth
        self._tokens: dict[str, _Token] = {}
        self._refresh: dict[str, str] = {}
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Response:
        if request.path == "/token":
            return self._give(request)
        needs = _needs(request)
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        with self._lock:
            token = self._tokens.get(text.strip()) if scheme.lower() == "bearer" else None
            if token is None or token.ends <= time.monotonic() or token.uses_left <= 0:
                return self._challenge(request, needs, "" if token is None else "invalid_token")
            token.uses_left -= 1
        for resource, actions in needs.items():
            if not actions <= token.grants.get(resource, frozenset()):
                return self._challenge(request, needs, "insufficient_scope")
        return self._handler(request)

    def _challenge(self, request: Request, needs: Mapping[str, frozenset[str]], error: str) -> Response:
        scheme = "https" if request.is_secure else "http"
        host = request.headers.get("host", "")
        parts = [f'Bearer realm="{scheme}://{host}/token"', f'service="{host}"']
        scopes = " ".join(
            f"{resource}:{','.join(sorted(actions, reverse=True))}" for resource, actions in needs.items()
        )
        parts += [f'scope="{scopes}"'] if scopes else []
        parts += [f'error="{error}"'] if error else []
        headers = {"WWW-Authenticate": ",".join(parts)}
        return Refusal(401, "UNAUTHORIZED", "a token is needed", headers).response()

    def _give(self, request: Request) -> Response:
        if request.method == "POST":
            if not self._auth.oauth2:
                return Refusal(404, "UNSUPPORTED", "no such path").response()
            form = {key: values[0] for key, values in parse_qs(request.body.read().decode()).items()}
            return self._answer(self._user_of(form), form.get("scope", "").split(), wants_refresh=True)
        scopes = [scope for value in request.parameters("scope") for scope in value.split()]
        credentials = basic_credentials(request)
        if credentials is None:
            return self._answer("", scopes, wants_refresh=False)
        user, password = credentials
        known = self._auth.users.get(user) == password
        return self._answer(user if known else None, scopes, wants_refresh=bool(request.parameter("offline_token")))

    def _user_of(self, form: Mapping[str, str]) -> str | None:
        if form.get("grant_type") == "refresh_token":
            return self._refresh.get(form.get("refresh_token", ""))
        user = form.get("username", "")
        return user if user and self._auth.users.get(user) == form.get("password") else None

    def _answer(self, user: str | None, scopes: Sequence[str], *, wants_refresh: bool) -> Response:
        if user is None:
            return Refusal(401, "UNAUTHORIZED", "wrong user or password").response()
        kept = scopes if self._auth.scopes == "all" else scopes[:1]
        grants = dict(_grant(scope, user, self._auth) for scope in kept)
        text = secrets.token_urlsafe(24)
        document: dict[str, object] = {self._auth.field: text}
        if self._auth.expires_in:
            document["expires_in"] = self._auth.expires_in
        with self._lock:
            self._tokens[text] = _Token(grants, self._auth)
            if user and wants_refresh:
                document["refresh_token"] = self.identity_token(user)
        return Response.json(200, document)

    def identity_token(self, user: str) -> str:
        """A refresh token for a user, as a login would store it."""
        text = secrets.token_urlsafe(24)
        self._refresh[text] = user
        return text


def _grant(scope: str, user: str, auth: TokenAuth) -> tuple[str, frozenset[str]]:
    resource, _, actions = scope.rpartition(":")
    wanted = frozenset(action for action in actions.split(",") if action)
    if user:
        return resource, wanted | {"pull", "push", "delete"} if "*" in wanted else wanted
    name = resource.partition(":")[2]
    return resource, wanted & {"pull"} if name.startswith(auth.anonymous_pull) else frozenset()


def _needs(request: Request) -> dict[str, frozenset[str]]:
    """What a token must be good for."""
    kind = kind_of(request.method, request.path)
    if kind.endswith(("version", "other")):
        return {}
    if kind.endswith("catalog"):
        return {"registry:catalog": frozenset({"*"})}
    name = request.path.removeprefix("/v2/")
    for part in ("/manifests/", "/blobs/", "/tags/", "/referrers/"):
        name = name.rpartition(part)[0] or name
    actions = {"GET": {"pull"}, "HEAD": {"pull"}, "DELETE": {"delete"}}.get(request.method, {"pull", "push"})
    if kind == "DELETE upload":
        actions = {"pull", "push"}
    needs = {f"repository:{name}": frozenset(actions)}
    origin = request.parameter("from")
    if request.parameter("mount") and origin:
        needs[f"repository:{origin}"] = frozenset({"pull"})
    return needs
