"""Descriptors: what is read from JSON, what is written back, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import MalformedContent
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.platform import Platform

DIGEST = Digest.of(b"content")
PLAIN: dict[str, object] = {"mediaType": media_types.OCI_LAYER_GZIP, "digest": str(DIGEST), "size": 7}

DESCRIPTORS = st.builds(
    Descriptor,
    st.sampled_from([media_types.OCI_MANIFEST, media_types.DOCKER_LAYER_GZIP, "application/x", ""]),
    st.binary(max_size=4).map(Digest.of),
    st.integers(0, 1 << 62),
    urls=st.lists(st.text(max_size=10), max_size=2).map(tuple),
    annotations=st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=3),
    platform=st.none()
    | st.builds(
        Platform,
        st.sampled_from(["linux", "windows", "unknown"]),
        st.sampled_from(["amd64", "arm", "unknown"]),
        st.sampled_from(["", "v7"]),
        st.sampled_from(["", "10.0.20348.1"]),
        st.lists(st.text(max_size=5), max_size=2).map(tuple),
    ),
    artifact_type=st.sampled_from(["", "application/x"]),
    data=st.none() | st.binary(max_size=20),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["mediaType", "digest", "size", "urls", "annotations", "platform", "artifactType", "data"]


@given(DESCRIPTORS)
def test_every_field_comes_back_from_json(descriptor: Descriptor) -> None:
    again = Descriptor.from_json(json.loads(json.dumps(descriptor.to_json())))
    # Equality looks at what names the content alone, so the other fields are compared one by one.
    for field in ("media_type", "digest", "size", "urls", "annotations", "platform", "artifact_type", "data"):
        assert getattr(again, field) == getattr(descriptor, field), field


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON)))
def test_hostile_fields(fields: dict[str, object]) -> None:
    try:
        descriptor = Descriptor.from_json(PLAIN | fields)
    except MalformedContent as error:
        assert str(error).isprintable()
    else:
        assert Descriptor.from_json(descriptor.to_json()) == descriptor


@given(JSON)
def test_hostile_values(value: object) -> None:
    with pytest.raises(MalformedContent):
        Descriptor.from_json(value)


def _nest(depth: int) -> object:
    value: object = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    "value", [_nest(100_000), 10**5000, -(10**5000), float("nan")], ids=["deep", "big", "low", "nan"]
)
def test_values_that_can_not_even_be_shown(field: str, value: object) -> None:
    with pytest.raises(MalformedContent):
        Descriptor.from_json(PLAIN | {field: value})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": -1}, "size"),
        ({"size": (1 << 62) + 1}, "size"),
        ({"size": True}, "size"),
        ({"size": 7.0}, "size"),
        ({"size": "7"}, "size"),
        ({"size": None}, "size"),
        ({"digest": None}, "digest"),
        ({"digest": "sha256:../x"}, "digest"),
        ({"mediaType": 1}, "mediaType"),
        ({"artifactType": {}}, "artifactType"),
        ({"urls": "http://x"}, "urls"),
        ({"urls": [1]}, "urls"),
        ({"annotations": ["a"]}, "annotations"),
        ({"annotations": {"a": 1}}, "annotations"),
        ({"platform": "linux/amd64"}, "platform"),
        ({"platform": {"os": ["linux"]}}, "platform"),
        ({"data": 1}, "base64"),
        ({"data": "a"}, "base64"),
        ({"data": "é"}, "base64"),
    ],
)
def test_what_is_no_descriptor(fields: dict[str, object], message: str) -> None:
    with pytest.raises(MalformedContent, match=message):
        Descriptor.from_json(PLAIN | fields)


def test_absent_and_null_are_the_same() -> None:
    nulls: dict[str, object] = dict.fromkeys(["urls", "annotations", "platform", "artifactType", "data"])
    assert Descriptor.from_json(PLAIN | nulls).to_json() == PLAIN


def test_what_names_the_content_makes_it_equal() -> None:
    bare, annotated = Descriptor.from_json(PLAIN), Descriptor.from_json(PLAIN | {"annotations": {"a": "b"}})
    assert bare == annotated
    assert hash(bare) == hash(annotated)
    assert bare != Descriptor.from_json(PLAIN | {"size": 8})


def test_what_a_descriptor_says_of_its_content() -> None:
    described = Descriptor.of(b"content", media_types.OCI_INDEX)
    assert (described.digest, described.size) == (DIGEST, 7)
    assert described.is_manifest
    assert described.is_index
    assert not described.is_foreign
    assert Descriptor.of(b"", media_types.DOCKER_FOREIGN_LAYER + ".gzip").is_foreign
    assert not Descriptor.of(b"", media_types.OCI_LAYER).is_manifest


def test_what_many_manifests_name_alike_is_kept_once() -> None:
    plain = {"mediaType": "application/x", "digest": f"sha256:{'a' * 64}", "size": 1}
    assert Descriptor.from_json(dict(plain)) is Descriptor.from_json(dict(plain))
    assert Descriptor.from_json({**plain, "size": 2}).size == 2
    assert Descriptor.from_json({**plain, "annotations": {"a": "b"}}).annotations == {"a": "b"}
