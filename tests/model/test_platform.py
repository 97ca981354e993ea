"""Platforms, and which image serves which machine."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import MalformedContent, UsageError
from imgmove.model.platform import Platform
from tests.conftest import FIXTURES


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("arm64", Platform("linux", "arm64")),
        ("linux/x86_64", Platform("linux", "amd64")),
        ("linux/aarch64", Platform("linux", "arm64")),
        ("linux/arm/v7", Platform("linux", "arm", "v7")),
        ("linux/armhf", Platform("linux", "arm", "v7")),
        ("macos/arm64", Platform("darwin", "arm64")),
    ],
)
def test_what_people_type(text: str, platform: Platform) -> None:
    assert Platform.parse(text) == platform


@pytest.mark.parametrize("text", ["", "linux/", "a/b/c/d", "linux/am d64", "/", "linux", "Windows"])
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(UsageError):
        Platform.parse(text)


def test_arm_falls_back_to_older_ones_never_to_newer() -> None:
    document = json.loads((FIXTURES / "manifests/docker/v2list-variants.json").read_bytes())
    offered = [Platform.from_json(item["platform"]) for item in document["manifests"]]

    def best(wanted: str, offered: list[Platform]) -> str | None:
        ranks = [
            (rank, item.variant)
            for item in offered
            if (rank := Platform("linux", "arm", wanted).rank(item)) is not None
        ]
        return min(ranks)[1] if ranks else None

    # No variant means v7, as containerd has it.
    assert best("v7", offered) == ""
    assert best("v8", offered) == ""
    assert best("v7", offered[:3]) == "v6"
    assert best("v6", offered) == "v6"
    assert best("v5", offered) is None


@pytest.mark.parametrize(
    ("wanted", "offered", "rank"),
    [
        ("linux/amd64", "linux/amd64", 0),
        ("linux/amd64/v3", "linux/amd64", 200),
        ("linux/amd64", "linux/amd64/v2", None),
        ("linux/arm64", "linux/arm64/v8", 0),
        ("linux/arm", "linux/arm/v7", 0),
        ("linux/arm", "linux/arm/v6", 100),
        ("linux/amd64", "linux/arm64", None),
        ("windows/amd64", "linux/amd64", None),
        ("linux/ppc64le", "linux/ppc64le", 0),
        ("linux/arm64/v8.2", "linux/arm64/v8", 2),
        ("linux/arm64/v8", "linux/arm64/v8.2", None),
        ("linux/arm64/v9", "linux/arm64/v8.5", 95),
    ],
)
def test_ranks(wanted: str, offered: str, rank: int | None) -> None:
    assert Platform.parse(wanted).rank(Platform.parse(offered)) == rank


def test_windows_runs_its_own_build_only() -> None:
    host = Platform("windows", "amd64", os_version="10.0.20348.1")
    assert host.rank(Platform("windows", "amd64", os_version="10.0.20348.9")) == 0
    assert host.rank(Platform("windows", "amd64", os_version="10.0.17763.1")) is None


PLATFORMS = st.builds(
    Platform,
    st.sampled_from(["linux", "windows"]),
    st.sampled_from(["amd64", "arm", "arm64", "riscv64"]),
    st.sampled_from(["", "v5", "v6", "v7", "v8", "v9", "odd"]),
)


@given(PLATFORMS)
def test_everybody_runs_their_own(platform: Platform) -> None:
    assert platform.rank(platform) == 0
    assert Platform.from_json(platform.to_json()) == platform


VARIANTS = st.builds("v{}.{}".format, st.integers(0, 12), st.integers(0, 99))


@given(VARIANTS, VARIANTS, VARIANTS)
def test_the_newest_that_is_not_too_new_is_best(machine: str, one: str, other: str) -> None:
    def version(variant: str) -> tuple[int, ...]:
        return tuple(int(part) for part in variant.removeprefix("v").split("."))

    def rank(offered: str) -> int | None:
        return Platform("linux", "arm64", machine).rank(Platform("linux", "arm64", offered))

    for offered in (one, other):
        assert (rank(offered) is None) == (version(offered) > version(machine))
    first, second = rank(one), rank(other)
    if first is not None and second is not None:
        assert (first < second) == (version(one) > version(other))


def test_old_names_of_architectures_mean_the_same_on_either_side() -> None:
    assert Platform("linux", "x86_64").rank(Platform("linux", "amd64")) == 0
    assert Platform("linux", "amd64").rank(Platform("linux", "x86_64")) == 0
    assert Platform("linux", "aarch64").rank(Platform("linux", "arm64", "v8")) == 0


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["os", "architecture", "variant", "os.version", "os.features"]), inner)
        ),
    )
)
def test_hostile_platforms(value: object) -> None:
    with contextlib.suppress(MalformedContent):
        Platform.from_json(value)
