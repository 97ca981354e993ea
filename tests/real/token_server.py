"""A token server for docker-registry's token authentication, in a thread of the tests.

``alice`` with ``s3cret`` may do everything, ``bob`` with ``hunter2`` may pull, nobody needs a name to pull ``public/…``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import serialization

USERS = {"alice": ("s3cret", {"pull", "push", "delete", "*"}), "bob": ("hunter2", {"pull"})}
ISSUER, SERVICE = "imgmove-tests", "imgmove-registry"


class _Server(ThreadingHTTPServer):
    """One that many may come to at once, as connections that find no place in the queue are reset."""

    request_queue_size = 128


class TokenServer:
    """Signs tokens with a certificate that the registry trusts.

    Attributes:
        requests: how many tokens were asked for.
    """

    def __init__(self, certificate: bytes, key: bytes, lifetime: int = 300) -> None:
        self.requests = 0
        self._certificate = x509.load_pem_x509_certificate(certificate)
        self._key = serialization.load_pem_private_key(key, None)
        self._lifetime = lifetime
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def realm(self) -> str:
        """Where it is asked."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/token"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def token(self, user: str, scopes: list[str]) -> str:
        """A token for as much of the scopes as the user may have."""
        now = int(time.time())
        granted = [item for scope in scopes for item in self._granted(user, scope)]
        claims = {
            "iss": ISSUER,
            "sub": user,
            "aud": SERVICE,
            "exp": now + self._lifetime,
            "nbf": now - 10,
            "iat": now,
            "jti": uuid.uuid4().hex,
            "access": granted,
        }
        chain = base64.b64encode(self._certificate.public_bytes(serialization.Encoding.DER)).decode()
        public = self._certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        text = base64.b32encode(hashlib.sha256(public).digest()[:30]).decode()
        kid = ":".join(text[at : at + 4] for at in range(0, len(text), 4))
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"x5c": [chain], "kid": kid})  # type: ignore[arg-type]

    def _granted(self, user: str, scope: str) -> list[dict[str, Any]]:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        allowed = USERS.get(user, ("", set()))[1] | ({"pull"} if name.startswith("public/") else set())
        granted = sorted(set(actions.split(",")) & allowed)
        return [{"type": kind, "name": name, "actions": granted}] if granted else []

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                query = parse_qs(urlsplit(self.path).query)
                user = self._user()
                if user is None:
                    self.send_error(401)
                    return
                scopes = [part for scope in query.get("scope", []) for part in scope.split(" ")]
                content = json.dumps({"token": outer.token(user, scopes), "expires_in": outer._lifetime}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _user(self) -> str | None:
                header = self.headers.get("Authorization", "")
                if not header:
                    return ""
                name, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
                return name if USERS.get(name, ("",))[0] == password else None

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        return Handler
