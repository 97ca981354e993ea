from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import UsageError
from imgmove.model.credentials import Credentials


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("me:pw", Credentials("me", "pw")),
        ("me:p:w:", Credentials("me", "p:w:")),
        ("me:", Credentials("me")),
        ("me", Credentials("me")),
        ("robot$ci:pw", Credentials("robot$ci", "pw")),
    ],
)
def test_what_a_person_types(text: str, expected: Credentials) -> None:
    assert Credentials.parse(text) == expected


@pytest.mark.parametrize("text", ["", ":", ":hunter2"])
def test_a_user_name_is_needed(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Credentials.parse(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["m\udc80e:pw", "me:hunter2\ud800"])
def test_what_is_no_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="^credentials must be valid UTF-8 text$"):
        Credentials.parse(text)


@pytest.mark.parametrize("token", ["a b", "a\n", "a\r\nX: y", "\u00fc"])
def test_a_token_that_is_no_header_is_refused_unseen(token: str) -> None:
    with pytest.raises(UsageError, match="^a registry's token must be one word of printable ASCII characters$"):
        Credentials(registry_token=token)


def test_nothing_counts_as_false() -> None:
    assert not Credentials()
    assert Credentials(registry_token="t")
    assert Credentials(identity_token="t")
    assert Credentials("me")


@given(st.text(st.characters(categories=["L", "N"], max_codepoint=0x7E), min_size=12, max_size=20))
def test_secrets_are_never_shown(secret: str) -> None:
    credentials = Credentials("me", secret, secret, secret)
    assert secret not in f"{credentials} {credentials!r} {[credentials]}"
