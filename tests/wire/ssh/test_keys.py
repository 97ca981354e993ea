"""What is shown to a host that wants to know who we are, and what is said when nothing of it does."""

from __future__ import annotations

from typing import Any

import paramiko
import pytest

from imgmove.errors import AccessDenied
from imgmove.model.ssh import SshTarget
from imgmove.wire.ssh.keys import Proof


class WantsPassword:
    """A connection to a host that takes no password."""

    def __init__(self) -> None:
        self.passwords: list[str] = []

    def is_active(self) -> bool:
        return True

    def auth_none(self, _user: str) -> None:
        raise paramiko.BadAuthenticationType("", ["password"])

    def auth_password(self, _user: str, password: str, *, fallback: bool) -> None:
        assert not fallback
        self.passwords.append(password)
        raise paramiko.AuthenticationException


def test_wrong_passwords_are_told_of() -> None:
    host: Any = WantsPassword()
    proof = Proof(SshTarget("edge", "edge", 22, "ops", "edge"), "/nowhere", lambda _: "guess")
    with pytest.raises(AccessDenied, match="no password that was typed is the right one") as caught:
        proof.give(host)
    assert host.passwords == ["guess"] * 3
    assert "guess" not in str(caught.value)
