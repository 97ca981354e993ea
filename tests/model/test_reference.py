"""References, held against the distribution project's own cases."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import UsageError
from imgmove.model.digest import Digest
from imgmove.model.reference import Reference, check_host
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


WORD = st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,4})?", fullmatch=True)
REFERENCES = st.builds(
    Reference,
    st.sampled_from(
        ["docker.io", "localhost", "localhost:5000", "reg.example.com", "[::1]:5000", "Host", "10.0.0.1:80"]
    ),
    st.lists(WORD, min_size=2, max_size=4).map("/".join),
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    st.none() | st.binary(max_size=4).map(Digest.of),
)


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
    assert reference.with_digest(Digest.of(b"x")).tag == "1"
    assert reference.identifier == str(Digest.of(b""))
    with pytest.raises(UsageError, match="not a tag"):
        reference.with_tag("a b")


def test_repositories() -> None:
    assert Reference.parse_repository("alpine").name == "docker.io/library/alpine"
    with pytest.raises(UsageError, match="names an image"):
        Reference.parse_repository("alpine:3")


@pytest.mark.parametrize("host", ["", "a b", "-x", "x:", "http://x", "x/y", "x:99a"])
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(UsageError):
        check_host(host)


def test_hints() -> None:
    with pytest.raises(UsageError, match="lower case.*try registry/app"):
        Reference.parse("registry/App")
