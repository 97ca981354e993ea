"""Names in index.json: how tools write them, what a person means by one, and what a change leaves alone."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.endpoints.index_file import (
    CONTAINERD_NAME,
    REF_NAME,
    IndexFile,
    digest_tag,
    full_name,
    is_digest,
    parse_digest_tag,
)
from imgmove.errors import MalformedContent, UsageError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.ports import NamedImage

ONE, TWO, THREE = (Descriptor.of(content, media_types.OCI_MANIFEST) for content in (b"1", b"22", b"333"))


def index_of(*named: tuple[Descriptor, dict[str, str]]) -> IndexFile:
    entries = [{**descriptor.to_json(), "annotations": annotations} for descriptor, annotations in named]
    return IndexFile.parse(json.dumps({"schemaVersion": 2, "manifests": entries}).encode())


def names_of(index: IndexFile) -> list[str]:
    return [entry.name for entry in index.entries]


@pytest.mark.parametrize(
    ("annotations", "name"),
    [
        ({REF_NAME: "1"}, "1"),
        ({REF_NAME: "1", CONTAINERD_NAME: "docker.io/library/app:1"}, "docker.io/library/app:1"),
        ({REF_NAME: "app:1", CONTAINERD_NAME: "docker.io/library/app:1"}, "app:1"),
        ({CONTAINERD_NAME: "docker.io/library/app:1"}, "docker.io/library/app:1"),
        ({"org.opencontainers.image.base.name": "quay.io/x/y:1"}, "quay.io/x/y:1"),
        ({"org.opencontainers.image.base.name": ""}, ""),
        ({}, ""),
    ],
)
def test_what_an_entry_is_called(annotations: dict[str, str], name: str) -> None:
    assert names_of(index_of((ONE, annotations))) == [name]


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ("app:1", "app:1"),
        ("app:1", "docker.io/library/app:1"),
        ("docker.io/library/app:1", "app:1"),
        ("docker.io/app:1", "app:1"),
        ("app", "app:latest"),
        ("app:1", "quay.io/library/app:1"),
        ("1", "app:1"),
        ("1", "localhost:5000/team/app:1"),
        ("app:1", "1"),
    ],
)
def test_what_a_person_means(asked: str, written: str) -> None:
    assert index_of((ONE, {REF_NAME: written}), (TWO, {REF_NAME: "other:9"})).matching(asked) == ONE


@pytest.mark.parametrize(
    ("asked", "written"),
    [("app:2", "app:1"), ("app", "app:1"), ("other:1", "app:1"), ("pp:1", "app:1"), ("5000", "h:5000/app:1")],
)
def test_what_nobody_means(asked: str, written: str) -> None:
    assert index_of((ONE, {REF_NAME: written})).matching(asked) is None


def test_the_closest_meaning_wins() -> None:
    index = index_of((ONE, {REF_NAME: "quay.io/library/app:1"}), (TWO, {REF_NAME: "app:1"}), (THREE, {REF_NAME: "1"}))
    assert index.matching("app:1") == TWO
    assert index.matching("docker.io/library/app:1") == TWO
    assert index.matching("1") == THREE


def test_equal_meanings_are_asked_about() -> None:
    index = index_of((ONE, {REF_NAME: "quay.io/a/app:1"}), (TWO, {REF_NAME: "ghcr.io/a/app:1"}))
    with pytest.raises(UsageError, match=r"ghcr\.io/a/app:1, quay\.io/a/app:1"):
        index.matching("1")
    same = index_of((ONE, {REF_NAME: "quay.io/a/app:1"}), (ONE, {REF_NAME: "ghcr.io/a/app:1"}))
    assert same.matching("1") == ONE


def test_only_the_exact_name_is_what_a_destination_has() -> None:
    index = index_of((ONE, {REF_NAME: "app:1"}))
    assert index.named("app:1") == ONE
    assert index.named("1") is None


def test_a_name_moves_to_its_new_image() -> None:
    index = index_of((ONE, {REF_NAME: "app:1"}), (ONE, {REF_NAME: "app:old"}), (TWO, {REF_NAME: "app:2"}))
    after = index.with_names(THREE, ["app:1", "app:2"], "")
    assert [(entry.name, entry.descriptor) for entry in after.entries] == [
        ("app:old", ONE),
        ("app:1", THREE),
        ("app:2", THREE),
    ]


@pytest.mark.parametrize("annotation", [REF_NAME, CONTAINERD_NAME])
def test_a_name_takes_its_full_form_along(annotation: str) -> None:
    index = index_of((ONE, {annotation: "docker.io/library/app:1"})).with_names(TWO, ["app:1"], "")
    assert index.matching("docker.io/library/app:1") == TWO
    assert index.matching("app:1") == TWO


def test_a_root_without_a_name() -> None:
    digest = str(ONE.digest)
    listed = IndexFile.empty().with_names(ONE, [digest], "")
    assert names_of(listed) == [""]
    assert listed.with_names(ONE, [digest], "") is listed, "once is enough"
    assert names_of(listed.with_names(ONE, ["app:1"], "")) == ["app:1"], "a name makes the nameless entry needless"
    referrer = IndexFile.empty().with_names(ONE, [digest], "application/x")
    assert referrer.entries[0].descriptor.artifact_type == "application/x"


def full_or_bare(name: str) -> str:
    return full_name(name) or name


@given(
    st.lists(
        st.tuples(
            st.sampled_from([ONE, TWO, THREE]),
            st.lists(
                st.sampled_from(["app:1", "docker.io/library/app:1", "b:1", "1", str(ONE.digest)]),
                unique_by=full_or_bare,
            ),
        )
    )
)
def test_many_roots_at_once_are_listed_as_one_after_the_other(roots: list[tuple[Descriptor, list[str]]]) -> None:
    slowly = IndexFile.empty()
    for descriptor, names in roots:
        slowly = slowly.with_names(descriptor, names or [str(descriptor.digest)], "")
    quickly = IndexFile.of(NamedImage(descriptor, tuple(names)) for descriptor, names in roots)
    assert [entry for entry in quickly.entries if entry.name] == [entry for entry in slowly.entries if entry.name]
    # One that has lost its only name is no image that nobody knows.
    assert {entry.descriptor for entry in slowly.entries} <= {entry.descriptor for entry in quickly.entries}
    assert {entry.descriptor for entry in quickly.entries} <= {descriptor for descriptor, _ in roots}


def test_what_is_not_understood_stays() -> None:
    document = {
        "schemaVersion": 2,
        "x-own": [1],
        "manifests": [{**ONE.to_json(), "x-field": {"y": None}, "annotations": {REF_NAME: "a:1", "own": "kept"}}],
    }
    after = json.loads(IndexFile.parse(json.dumps(document).encode()).with_names(TWO, ["b:1"], "").to_bytes())
    assert after["x-own"] == [1]
    assert after["manifests"][0] == document["manifests"][0]  # type: ignore[index]


def test_forgetting() -> None:
    index = index_of((ONE, {REF_NAME: "app:1"}), (ONE, {REF_NAME: "app:2"}), (TWO, {}))
    assert names_of(index.without_name("docker.io/library/app:1")) == ["app:2", ""]
    assert names_of(index.without_digest(ONE.digest)) == [""]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b'{"manifests": {}}',
        b'{"manifests": ["x"]}',
        b'{"manifests": [{"digest": "sha256:../../x", "size": 1}]}',
        b'{"manifests": [], "layers": []}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_index(content: bytes) -> None:
    with pytest.raises(MalformedContent):
        IndexFile.parse(content)


def test_no_list_is_an_empty_one() -> None:
    assert IndexFile.parse(b'{"schemaVersion":2,"manifests":null}').entries == ()


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("app:1", "docker.io/library/app:1"),
        ("quay.io/x/y", "quay.io/x/y:latest"),
        ("quay.io/x/y:1", "quay.io/x/y:1"),
        (f"app:1@sha256:{'a' * 64}", "docker.io/library/app:1"),
        (f"app@sha256:{'a' * 64}", ""),
        ("1", ""),
        ("Not:A:Name", ""),
        ("", ""),
    ],
)
def test_full_names(name: str, full: str) -> None:
    assert full_name(name) == full


def test_digest_tags() -> None:
    digest = Digest.of(b"x")
    tag = digest_tag(digest)
    assert parse_digest_tag(tag) == (tag, "")
    assert parse_digest_tag(f"quay.io/x/y:{tag}.sig") == (tag, ".sig")
    assert parse_digest_tag("sha256-abc") is None
    assert len(digest_tag(Digest.of(b"x", "sha512"))) == len("sha512-") + 64, "a tag has at most 128 characters"
    assert is_digest(str(digest))
    assert not is_digest(tag)


@given(st.text(max_size=40))
def test_any_text_may_be_a_name(name: str) -> None:
    if not name or is_digest(name):
        return
    index = IndexFile.empty().with_names(ONE, [name], "")
    again = IndexFile.parse(index.to_bytes()) if name.isprintable() else index
    assert again.matching(name) == ONE
    assert again.without_name(name).entries == ()
