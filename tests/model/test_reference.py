"""References, held against the distribution project's own cases."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import UsageError
from imgmove.model.digest import Digest
from imgmove.model.reference import Reference, check_host, check_repository, split_host
from tests.conftest import FIXTURES

CASES: dict[str, Any] = json.loads((FIXTURES / "reference-cases.json").read_text())
SHA512 = "validname@sha512:"


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["input"][:60] or "empty")
def test_the_reference_cases(case: dict[str, Any]) -> None:
    # The one case that says "invalid" for an algorithm that its library had not loaded; sha512 works here.
    is_valid = case["valid"] or case["input"].startswith(SHA512)
    if not is_valid:
        with pytest.raises(UsageError):
            Reference.parse(case["input"], default_tag="")
        return
    reference = Reference.parse(case["input"], default_tag="")
    if case["tag"] is not None:
        assert reference.tag == case["tag"]
    if case["digest"] is not None:
        assert str(reference.digest) == case["digest"]
    if case["grammar"] == "normalized":
        for found, wanted in (
            (reference.host, case["domain"]),
            (reference.repository, case["path"]),
            (reference.familiar, case["familiar"]),
            (str(reference), case.get("canonical")),
        ):
            assert wanted is None or found == wanted


@pytest.mark.parametrize("case", CASES["any_reference"], ids=lambda case: case["input"][:40])
def test_names_and_bare_digests(case: dict[str, Any]) -> None:
    if case["is_bare_digest"]:
        with pytest.raises(UsageError):
            Reference.parse(case["input"], default_tag="")
    else:
        assert str(Reference.parse(case["input"], default_tag="")) == case["canonical"]


@pytest.mark.parametrize("case", CASES["docker_ref_with_default_tag"], ids=lambda case: case["input"][:40])
def test_the_default_tag(case: dict[str, Any]) -> None:
    reference = Reference.parse(case["input"])
    if "@" in case["input"] and ":latest@" in case["input"]:
        # docker drops the tag here; we keep both.
        assert reference.tag == "latest"
        assert str(reference).replace(":latest@", "@") == case["canonical"]
    else:
        assert str(reference) == case["canonical"]


WORD = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,4})?", fullmatch=True) | st.just("localhost")
REFERENCES = st.builds(
    Reference,
    st.sampled_from(
        ["docker.io", "localhost", "localhost:5000", "reg.example.com", "[::1]:5000", "Host", "10.0.0.1:80"]
    ),
    st.lists(WORD, min_size=2, max_size=4).map("/".join),
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    st.none() | st.binary(max_size=4).map(Digest.of),
)
HASH = "a" * 64


@given(REFERENCES)
def test_texts_parse_back(reference: Reference) -> None:
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference


@given(st.text(max_size=80))
def test_any_text_is_a_reference_or_a_usage_error(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        assert Reference.parse(str(reference)) == reference


def test_changing_the_tag_drops_the_digest() -> None:
    reference = Reference.parse(f"app:1@{Digest.of(b'')}")
    assert str(reference.with_tag("2")) == "docker.io/library/app:2"
    assert reference.identifier == str(Digest.of(b""))
    with pytest.raises(UsageError, match="not a tag"):
        reference.with_tag("a b")


@pytest.mark.parametrize("host", ["", "a b", "-x", "x:", "http://x", "x/y", "x:99a"])
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(UsageError):
        check_host(host)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("registry/App", "lower case.*try registry/app"),
        ("App:V1", "try app:V1"),
        (f"Reg.io/App:V1@sha256:{HASH}", f"try reg.io/app:V1@sha256:{HASH}"),
        ("Images.tar", "a file is written ./Images.tar"),
        ("a_b.c/app", "not a registry host"),
        (f"sha512:{HASH}{HASH}", "image ID"),
        ("x" * 300, "longer than 255"),
    ],
)
def test_what_is_wrong_and_what_to_write(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Reference.parse(text)


@pytest.mark.parametrize("text", ["bob:hunter2@reg.io/app", "bob:hunter2@reg.io:5000/app:1", "bob:hunter2/@reg.io/app"])
def test_a_password_is_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Reference.parse(text)
    assert "hunter2" not in str(caught.value)
    assert "login" in str(caught.value)


@pytest.mark.parametrize("text", ["a\n" * 200, "\x1b[31m" * 90, "A\nb", "docker.io/\r\n", "a:\n", "a@\n"])
def test_messages_are_one_plain_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Reference.parse(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "familiar"),
    [
        ("docker.io/localhost/app", "docker.io/localhost/app:latest"),
        ("docker.io/a.b/app", "docker.io/a.b/app:latest"),
        ("docker.io/library/a/b", "library/a/b:latest"),
        (f"docker.io/library/{HASH}", f"{HASH}:latest"),
    ],
)
def test_short_forms_never_read_as_something_else(text: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert reference.familiar == familiar
    assert Reference.parse(familiar) == reference


def test_a_short_form_is_no_image_id() -> None:
    assert Reference("docker.io", f"library/{HASH}").familiar == f"library/{HASH}"


def test_where_the_host_is_known_nothing_else_is_taken_for_one() -> None:
    assert Reference.parse_at("reg", "localhost/app:1") == Reference("reg", "localhost/app", "1")
    assert str(Reference.parse_at("index.docker.io", "alpine")) == "docker.io/library/alpine:latest"
    with pytest.raises(UsageError, match="not a registry host"):
        Reference.parse_at("re g", "app")
    with pytest.raises(UsageError, match="lower case"):
        Reference.parse_at("reg", "App")


def test_splitting_off_the_host() -> None:
    assert split_host("team/app") == ("docker.io", "team/app")
    assert split_host("localhost/app") == ("localhost", "app")
    assert split_host("Reg/app") == ("Reg", "app")
    assert split_host("localhost") == ("docker.io", "localhost")


@pytest.mark.parametrize("repository", ["", "/", "a/", "/a", "a//b", "A", "a b", "a-", "a___b", "a..b", "x" * 256])
def test_what_is_no_repository(repository: str) -> None:
    with pytest.raises(UsageError):
        check_repository(repository)


@pytest.mark.parametrize("piece", ["a", "a.", "a-", "a_", "a/", "A/", "@sha256:a", ":a", "-"])
def test_long_texts_are_read_in_linear_time(piece: str) -> None:
    # A grammar that backtracks would not come back from this at all.
    with pytest.raises(UsageError):
        Reference.parse(piece * 50_000 + "!")
