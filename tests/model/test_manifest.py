"""Manifests of every kind that builders and registries make, and those that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import MalformedContent
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Index, Manifest, digests_of_layers, parse_manifest, read_json, read_json_object
from imgmove.model.platform import Platform
from tests.conftest import FIXTURES

MANIFESTS = FIXTURES / "manifests"
NO_MANIFESTS = {
    "docker/archive-multi-manifest-with-tags.json",
    "docker/unicode-config.json",
    "oci/meta-scripts-platforms-sorted.json",
    "oci/meta-scripts-sort-in.json",
    "oci/meta-scripts-sort-out.json",
    "oci/oci1-config-extra-fields.json",
    "oci/ociv1.artifact.json",
}


def files(*folders: str) -> list[str]:
    return sorted(str(path.relative_to(MANIFESTS)) for name in folders for path in (MANIFESTS / name).glob("*.json"))


@pytest.mark.parametrize(
    "name", [name for name in files("docker", "oci", "helm", "oras-artifact") if name not in NO_MANIFESTS]
)
def test_real_manifests(name: str) -> None:
    content = (MANIFESTS / name).read_bytes()
    node = parse_manifest(content)
    assert node.content == content
    assert node.descriptor.digest == Digest.of(content)
    document = json.loads(content)
    key = "manifests" if isinstance(node, Index) else "layers" if "layers" in document else "blobs"
    listed = [child for child in node.children if not isinstance(node, Manifest) or child != node.config]
    assert [str(child.digest) for child in listed] == [item["digest"] for item in document[key]]
    assert node.media_type == document.get("mediaType", node.media_type)


@pytest.mark.parametrize("name", sorted(NO_MANIFESTS))
def test_other_documents_are_refused(name: str) -> None:
    with pytest.raises(MalformedContent):
        parse_manifest((MANIFESTS / name).read_bytes())


SCHEMA_1 = [
    path
    for path in sorted((MANIFESTS / "schema1").glob("*.json"))
    # Beside them lie the manifests and configs that they were converted to elsewhere.
    if "fsLayers" in (document := json.loads(path.read_bytes())) or document.get("schemaVersion") == 1
]


@pytest.mark.parametrize("path", SCHEMA_1, ids=lambda path: path.name)
def test_schema_1_is_refused_with_a_way_out(path: Path) -> None:
    with pytest.raises(MalformedContent, match="schema 1.*docker"):
        parse_manifest(path.read_bytes())


def test_types_that_nobody_told() -> None:
    for name, kind in (
        ("docker/v2s2-nomime.json", media_types.DOCKER_MANIFEST),
        ("oci/ociv1nomime.manifest.json", media_types.OCI_MANIFEST),
        ("oci/ociv1nomime.image.index.json", media_types.OCI_INDEX),
        ("helm/kafka-12.2.1-oci-manifest.json", media_types.OCI_MANIFEST),
    ):
        assert parse_manifest((MANIFESTS / name).read_bytes()).media_type == kind


@pytest.mark.parametrize("path", sorted((MANIFESTS / "bad").iterdir()), ids=lambda path: path.name)
def test_bad_ones_never_crash(path: Path) -> None:
    try:
        parse_manifest(path.read_bytes())
    except MalformedContent as error:
        assert "\n" not in str(error)


def test_a_document_that_is_two_things() -> None:
    both = {"schemaVersion": 2, "mediaType": media_types.OCI_MANIFEST, "manifests": [], "layers": []}
    with pytest.raises(MalformedContent, match="lists manifests"):
        parse_manifest(json.dumps(both).encode())
    with pytest.raises(MalformedContent, match="index"):
        parse_manifest(json.dumps({**both, "mediaType": media_types.OCI_INDEX}).encode())


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"a":' * 100_000, b"{" + b" " * (5 << 20) + b"}", b"", b"null", b"\xff\xfe", b'{"a":1e999999}'],
    ids=["brackets", "objects", "too large", "empty", "null", "not text", "number"],
)
def test_json_bombs(content: bytes) -> None:
    with pytest.raises(MalformedContent):
        parse_manifest(content)


def test_brackets_in_texts_do_not_count() -> None:
    assert read_json_object(json.dumps({"a": "[" * 500 + '\\"{'}).encode())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.just(str(Digest.of(b""))),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "schemaVersion",
                    "mediaType",
                    "config",
                    "layers",
                    "manifests",
                    "digest",
                    "size",
                    "urls",
                    "annotations",
                    "data",
                    "platform",
                    "subject",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(VALUES)
def test_hostile_documents(value: object) -> None:
    content = json.dumps(value).encode()
    for read in (parse_manifest, lambda text: Descriptor.from_json(json.loads(text)), digests_of_layers):
        try:
            read(content)
        except MalformedContent as error:
            assert "\n" not in str(error)


@given(
    st.builds(
        Descriptor,
        st.text(max_size=10),
        st.binary(max_size=5).map(Digest.of),
        st.integers(0, 1 << 60),
        urls=st.lists(st.text(max_size=5), max_size=2).map(tuple),
        annotations=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
        artifact_type=st.text(max_size=5),
        data=st.none() | st.binary(max_size=10),
    )
)
def test_descriptors_come_back(descriptor: Descriptor) -> None:
    again = Descriptor.from_json(json.loads(json.dumps(descriptor.to_json())))
    assert (again, again.urls, again.annotations, again.data) == (
        descriptor,
        descriptor.urls,
        descriptor.annotations,
        descriptor.data,
    )


@given(st.text(max_size=100) | st.from_regex(r"sha(256|512):[0-9a-fA-F]{60,130}", fullmatch=True))
def test_digests_are_safe_or_refused(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except MalformedContent:
        return
    assert str(digest) == text
    assert digest.hex.isalnum()


@pytest.mark.parametrize("value", [b"{}", b"[[]]", b'{"a":{}}', b'"ab"', b"1"])
def test_json_that_would_fill_the_memory(value: bytes) -> None:
    content = b'{"a":[' + (value + b",") * 400_000 + b"0]}"
    with pytest.raises(MalformedContent, match="more than 400000 values"):
        read_json_object(content, most=len(content))


def test_an_index_of_very_many_images_is_none_of_those() -> None:
    entry = Descriptor(
        media_types.OCI_MANIFEST,
        Digest.of(b"x"),
        1,
        annotations={"a": "x:1", "b": "y:1"},
        platform=Platform("linux", "amd64"),
    )
    content = json.dumps({"schemaVersion": 2, "manifests": [entry.to_json()] * 30_000}).encode()
    assert read_json_object(content, most=len(content))


@pytest.mark.parametrize("text", [b'{"a": NaN}', b"[Infinity]", b"-Infinity"])
def test_numbers_that_json_does_not_have(text: bytes) -> None:
    with pytest.raises(MalformedContent, match="not valid JSON"):
        read_json(text)


@pytest.mark.parametrize("text", [rb'{"a": "x\ud800y"}', b'{"a": "x\xed\xa0\x80y"}', rb'{"a": "x\udfffy"}'])
def test_half_a_surrogate_pair_can_not_break_who_writes_it(text: bytes) -> None:
    document = read_json(text)
    assert document == {"a": "x?y"}
    assert read_json(rb'{"a": "\ud83d\ude00 \u00e9"}') == {"a": "😀 é"}
