"""Passwords before the registry."""

from __future__ import annotations

import base64

import pytest

from imgmove.server import HttpServer, Response, require_password
from tests.server.client import Answer, call

USERS = {"alice": "s3cret", "bob": "pass:with:colons", "zoë": "ünïcode", "empty": ""}


def ask(authorization: str | None) -> Answer:
    handler = require_password(lambda _: Response.of(200, b"in"), lambda user, word: USERS.get(user) == word, "lab")
    with HttpServer(handler) as server:
        return call(server, "GET", "/v2/", headers={"Authorization": authorization} if authorization else {})


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(("user", "password"), USERS.items())
def test_the_right_password_opens(user: str, password: str) -> None:
    assert ask(f"Basic {encoded(f'{user}:{password}')}").body == b"in"
    assert ask(f"basic  {encoded(f'{user}:{password}')}").status == 200


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Basic",
        "Basic %%%",
        f"Basic {encoded('alice')}",
        f"Basic {encoded('alice:wrong')}",
        f"Basic {encoded('nobody:s3cret')}",
        f"Basic {base64.b64encode(bytes([0xFF, 0x3A])).decode()}",
        f"Bearer {encoded('alice:s3cret')}",
        f"Basic {encoded('alice:s3cret')}, Basic {encoded('alice:s3cret')}",
    ],
)
def test_anything_else_is_asked_for_one(authorization: str | None) -> None:
    answer = ask(authorization)
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="lab", charset="UTF-8"'
    assert "s3cret" not in answer.body.decode()
