"""What is shown to a host that wants to know who we are, and what is said when nothing of it does."""

from __future__ import annotations

from typing import Any

import paramiko
import pytest

from imgmove.errors import AccessDenied
from imgmove.model.ssh import SshTarget
from imgmove.wire.ssh.answers import Answers
from imgmove.wire.ssh.keys import Proof


class WantsPassword:
    """A connection to a host that takes one password, or answer to its question."""

    def __init__(self, password: str, way: str = "password") -> None:
        self.shown: list[str] = []
        self._password = password
        self._way = way

    def is_active(self) -> bool:
        return True

    def auth_none(self, _user: str) -> None:
        raise paramiko.BadAuthenticationType("", [self._way])

    def auth_password(self, _user: str, password: str, *, fallback: bool) -> list[str]:
        assert not fallback
        return self._judged(password)

    def auth_interactive(self, _user: str, answer: Any) -> list[str]:
        return self._judged(*answer("", "", [("Code:", False)]))

    def _judged(self, password: str) -> list[str]:
        self.shown.append(password)
        if password != self._password:
            raise paramiko.AuthenticationException
        return []


class Person:
    """Somebody who says one thing after another."""

    def __init__(self, *answers: str) -> None:
        self._answers = iter(answers)
        self.questions: list[str] = []

    def ask(self, question: str) -> str:
        self.questions.append(question)
        return next(self._answers)


def proof_of(person: Person) -> Proof:
    return Proof(SshTarget("edge", "edge", 22, "ops", "edge"), "/nowhere", Answers(person.ask))


def test_wrong_passwords_are_told_of() -> None:
    host: Any = WantsPassword("right")
    with pytest.raises(AccessDenied, match="no password that was typed is the right one") as caught:
        proof_of(Person("guess", "guess", "other")).give(host)
    assert host.shown == ["guess", "guess", "other"]
    assert "guess" not in str(caught.value)


@pytest.mark.parametrize("way", ["password", "keyboard-interactive"])
def test_nobody_is_asked_again_when_a_connection_broke(way: str) -> None:
    person = Person("wrong", "right", "changed")
    proof = proof_of(person)
    for password, shown in (("right", ["wrong", "right"]), ("right", ["right"]), ("changed", ["right", "changed"])):
        host: Any = WantsPassword(password, way)
        proof.give(host)
        assert host.shown == shown
    assert len(person.questions) == 3
    assert all("ops@edge" in question for question in person.questions)
