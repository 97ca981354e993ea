"""Passwords before the registry (RFC 7617)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from imgmove.server.exchange import Handler, Refusal, Request, Response

PasswordCheck = Callable[[str, str], bool]
"""Whether this user has this password; called from many threads, and for every request."""


def require_password(handler: Handler, check: PasswordCheck, realm: str = "imgmove") -> Handler:
    """Lets through only requests with a user and password that ``check`` accepts."""
    challenge = {"WWW-Authenticate": f'Basic realm="{realm}", charset="UTF-8"'}

    def guarded(request: Request) -> Response:
        credentials = basic_credentials(request)
        if credentials is None or not check(*credentials):
            return Refusal(401, "UNAUTHORIZED", "a user and password are needed", challenge).response()
        return handler(request)

    return guarded


def basic_credentials(request: Request) -> tuple[str, str] | None:
    """The user and password of a request; None without them, or when they can't be read."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return (user, password) if colon else None
