"""Passwords against their hashes."""

from __future__ import annotations

import bcrypt
import pytest

from imgmove.wire.passwords import HashedPasswords


def test_only_the_right_password_of_somebody_known() -> None:
    users = HashedPasswords({"alice": bcrypt.hashpw(b"s3cret", bcrypt.gensalt(4))})
    for _ in range(2):
        assert users("alice", "s3cret")
        assert not users("alice", "wrong")
        assert not users("bob", "s3cret")
        assert not users("alice", "")


def test_what_was_right_is_not_hashed_slowly_again(monkeypatch: pytest.MonkeyPatch) -> None:
    users = HashedPasswords({"alice": bcrypt.hashpw(b"s3cret", bcrypt.gensalt(4))})
    assert users("alice", "s3cret")

    def refuse(*_: object) -> bool:
        raise AssertionError

    monkeypatch.setattr(bcrypt, "checkpw", refuse)
    assert users("alice", "s3cret")


def test_long_passwords_and_broken_hashes() -> None:
    long = "x" * 100
    users = HashedPasswords({"a": bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)), "b": b"$2b$05$broken"})
    assert users("a", long)
    assert not users("b", "x")
