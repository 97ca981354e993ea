from __future__ import annotations

import re

import pytest

from imgmove.errors import UsageError
from imgmove.mirror.naming import PreviousName, Renaming, renamed
from imgmove.mirror.select import Selection
from imgmove.mirror.version import Range
from imgmove.model.digest import Digest
from tests.mirror.moments import NOON

TAGS = [
    "1.24.0",
    "1.25.0",
    "1.26.0",
    "1.26.0-alpine",
    "1.27.0",
    "1.27.0-alpine",
    "1.27.0-perl",
    "1.28.0-rc1",
    "2.0.0",
    "stable",
    "latest",
]


def chosen(selection: Selection, tags: list[str] = TAGS) -> list[str]:
    return [tag for tag, reason in selection.judge(tags).items() if not reason]


def test_without_rules_all_are_taken_but_for_digest_tags() -> None:
    digest_tags = ["sha256-" + "0" * 64, "sha256-" + "0" * 64 + ".sig"]
    assert chosen(Selection(), [*TAGS, *digest_tags]) == TAGS


def test_each_rule_has_to_pass() -> None:
    assert chosen(Selection(include=("1.2[67]*",))) == [
        "1.26.0",
        "1.26.0-alpine",
        "1.27.0",
        "1.27.0-alpine",
        "1.27.0-perl",
    ]
    assert chosen(Selection(regex=re.compile(r"^v?\d+\.\d+\.\d+$"))) == [
        "1.24.0",
        "1.25.0",
        "1.26.0",
        "1.27.0",
        "2.0.0",
    ]
    assert chosen(Selection(semver=Range.parse(">=1.26 <2"))) == [
        *("1.26.0", "1.26.0-alpine", "1.27.0", "1.27.0-alpine", "1.27.0-perl")
    ]
    both = Selection(include=("1.*",), semver=Range.parse(">=1.27"), exclude=("*-perl",))
    assert chosen(both) == ["1.27.0", "1.27.0-alpine"]


def test_an_include_without_wildcards_always_passes() -> None:
    selection = Selection(include=("1.*", "stable"), semver=Range.parse(">=1.27 <2"), latest=1)
    assert chosen(selection) == ["1.27.0", "1.27.0-alpine", "1.27.0-perl", "stable"]
    assert "stable" not in chosen(Selection(include=("stable",), exclude=("sta*",)))


def test_the_latest_of_each_variant() -> None:
    plain_and_alpine = Selection(variants=("", "alpine"), semver=Range.parse("*"), latest=1)
    assert chosen(plain_and_alpine) == ["1.27.0-alpine", "2.0.0"]
    assert chosen(Selection(variants=("alpine",), latest=5)) == ["1.26.0-alpine", "1.27.0-alpine"]
    assert chosen(Selection(latest=1), ["1.0", "v1.0.0", "0.9"]) == ["1.0", "v1.0.0"]
    # 1.10 is newer than 1.9, and "latest" is no version.
    assert chosen(Selection(latest=1), ["1.9", "1.10", "latest"]) == ["1.10"]


def test_reasons() -> None:
    selection = Selection(include=("1.*",), exclude=("*-perl",), semver=Range.parse(">=1.25"), variants=("",), latest=2)
    reasons = selection.judge(TAGS)
    assert reasons["1.24.0"] == "its version is not >=1.25"
    assert reasons["1.25.0"] == "it is not among the latest 2"
    assert reasons["1.27.0"] == ""
    assert reasons["1.27.0-alpine"] == "the variant alpine is not chosen"
    assert reasons["2.0.0"] == "no include fits"
    assert Selection(latest=1).judge(["latest"])["latest"] == "it names no version"
    assert Selection(exclude=("*-perl",)).judge(TAGS)["1.27.0-perl"] == "*-perl is excluded"


def test_renaming() -> None:
    rules = [
        Renaming.parse("repository", "^library/", ""),
        Renaming.parse("tag", r"^v(\d.*)$", r"\1"),
        Renaming.parse("tag", "^v", "x"),
    ]
    assert renamed(rules, "repository", "library/nginx") == "nginx"
    assert renamed(rules, "tag", "v1.2") == "1.2"
    assert renamed(rules, "tag", "vanilla") == "xanilla"
    assert renamed(rules, "tag", "1.2") == "1.2"
    for pattern, to in (("(", ""), ("a", r"\1"), ("a", r"\g<b>")):
        with pytest.raises(UsageError):
            Renaming.parse("tag", pattern, to)


def test_names_of_previous_images() -> None:
    digest = Digest("sha256", "ab" * 32)
    rule = PreviousName.parse("{tag}-prev-{date}-{time}-{digest}")
    name = rule.name("1.2", digest, NOON)
    assert name == "1.2-prev-20260301-120000-abababababab"
    assert rule.fits(name)
    assert rule.fits(f"{name}-2")
    assert not rule.fits("1.2")
    assert not rule.is_one_a_tag
    assert PreviousName.parse("{tag}-old").is_one_a_tag
    for wrong in ("prev-{date}", "{tag}", "{tag}-{when}", "{tag}-{0.x}"):
        with pytest.raises(UsageError, match="keep_previous"):
            PreviousName.parse(wrong)
