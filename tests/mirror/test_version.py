from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import UsageError
from imgmove.mirror.version import Range, Version

TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}", fullmatch=True)


def version(tag: str) -> Version:
    parsed = Version.parse(tag)
    assert parsed is not None, tag
    return parsed


@pytest.mark.parametrize(
    ("tag", "numbers", "variant"),
    [
        ("1", (1,), ""),
        ("v1.27.3", (1, 27, 3), ""),
        ("1.27-alpine", (1, 27), "alpine"),
        ("1.27.3-alpine3.20", (1, 27, 3), "alpine3.20"),
        ("3.12-slim-bookworm", (3, 12), "slim-bookworm"),
        ("1.2.3.4", (1, 2, 3, 4), ""),
        ("2024-01-31", (2024, 1, 31), ""),
        ("1.0.0_amd64", (1,), "amd64"),
    ],
)
def test_versions(tag: str, numbers: tuple[int, ...], variant: str) -> None:
    parsed = version(tag)
    assert (parsed.numbers, parsed.variant, parsed.prerelease) == (numbers, variant, ())


@pytest.mark.parametrize(
    "tag", ["latest", "stable", "bookworm-20240101", "7b1c2d", "1.27alpine", "8u392-jdk", "1.2-", "-1"]
)
def test_tags_that_name_no_version(tag: str) -> None:
    assert Version.parse(tag) is None


@pytest.mark.parametrize(
    "tag",
    ["1.0.0-rc1", "1.0.0-rc.1", "1.0.0-beta", "1.0a1", "1.0.0-SNAPSHOT", "1.0-M2", "1.0.0.dev3", "1.0.0-alpha-alpine"],
)
def test_prereleases(tag: str) -> None:
    assert version(tag).prerelease
    assert version(tag).key < version("1.0.0").key


def test_no_tag_is_so_long() -> None:
    assert Version.parse("1." + "0" * 5000) is None
    assert Version.parse("1-r" + "0" * 5000) is None


def test_a_variant_is_no_prerelease() -> None:
    assert version("1.27.0-alpine").key == version("1.27.0").key
    assert version("1.0.0-alpha-alpine").variant == "alpine"


def test_the_order() -> None:
    order = [
        "1.0-dev",
        "1.0-alpha1",
        "1.0-beta.2",
        "1.0-beta.11",
        "1.0-rc1",
        "1.0-rc2",
        "1.0",
        "1.0-1",
        "1.0-2",
        "1.0.1",
        "1.9",
        "1.10",
        "2",
    ]
    assert sorted(sorted(order), key=lambda tag: version(tag).key) == order
    assert version("1.27").key == version("v1.27.0").key
    assert version("1.2-debian-12-r4").key > version("1.2-debian-12-r3").key
    assert version("1.2-debian-12-r4").variant == "debian-12"


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (">=1.25 <2", "1.25 1.25.0 1.99.9 1.26-alpine", "1.24.9 2 2.0.0 3"),
        (">=1.25, <2", "1.25 1.99.9", "2.0.0"),
        ("1.27", "1.27 1.27.0 1.27.9", "1.26 1.28 1.28.0"),
        ("1.x", "1 1.99", "0.9 2"),
        ("1.27.*", "1.27.3", "1.28.0"),
        ("=1.2.3", "1.2.3 1.2.3-4", "1.2.4 1.2"),
        ("!=1.2.3", "1.2.4 1.2", "1.2.3"),
        (">1.2", "1.3 2", "1.2 1.2.9"),
        ("<=1.2", "1.2.9 1.1", "1.3"),
        ("^1.4", "1.4 1.99", "1.3 2"),
        ("^0.2.3", "0.2.3 0.2.9", "0.2.2 0.3"),
        ("^0.0.3", "0.0.3", "0.0.4"),
        ("~1.4.2", "1.4.2 1.4.9", "1.4.1 1.5"),
        ("~1", "1 1.9", "2"),
        ("^1.4 || ~2.1.0", "1.5 2.1.3", "2.0 2.2"),
        ("*", "0 1.2.3 99", ""),
        (">= 1.25", "1.25", "1.24"),
    ],
)
def test_ranges(text: str, inside: str, outside: str) -> None:
    wanted = Range.parse(text)
    assert [tag for tag in inside.split() if not wanted.holds(version(tag))] == []
    assert [tag for tag in outside.split() if wanted.holds(version(tag))] == []


def test_prereleases_only_where_they_are_asked_for() -> None:
    assert not Range.parse(">=1.9").holds(version("2.0.0-rc1"))
    assert not Range.parse("^1.4").holds(version("2.0.0-rc1"))
    assert not Range.parse("*").holds(version("2.0.0-rc1"))
    asked = Range.parse(">=2.0.0-rc1")
    assert asked.holds(version("2.0.0-rc1"))
    assert asked.holds(version("2.0.0-rc2"))
    assert asked.holds(version("2.0.0"))
    assert not asked.holds(version("2.0.0-beta1"))
    assert not asked.holds(version("2.1.0-rc1"))


@pytest.mark.parametrize("text", ["", "||", ">=", "latest", ">=1.25 and <2", "1.27-alpine", ">>1", "^1 ||"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(UsageError, match="range"):
        Range.parse(text)


@given(TAGS, TAGS)
def test_any_tags_can_be_compared(one: str, other: str) -> None:
    first, second = Version.parse(one), Version.parse(other)
    if first is not None and second is not None:
        assert (first.key < second.key) + (first.key == second.key) + (first.key > second.key) == 1


@given(st.text(max_size=30))
def test_any_text_is_a_range_or_refused(text: str) -> None:
    try:
        Range.parse(text).holds(version("1.2.3"))
    except UsageError:
        return
