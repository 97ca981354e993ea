"""Converting manifests that others wrote, and choosing among them, as the fixtures' page says of each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imgmove.engine.choose import choose_one
from imgmove.engine.convert import Conversions, Format, is_convertible
from imgmove.errors import MalformedContent, UsageError
from imgmove.model import media_types
from imgmove.model.digest import Digest
from imgmove.model.manifest import Index, Manifest, parse_manifest
from imgmove.model.media_types import Compression
from imgmove.model.platform import Platform
from imgmove.wire import codec
from tests.conftest import FIXTURES

MANIFESTS = FIXTURES / "manifests"
COMPRESSIONS: list[Compression] = ["gzip", "zstd", "none"]


def manifest(name: str) -> Manifest:
    node = parse_manifest((MANIFESTS / name).read_bytes())
    assert isinstance(node, Manifest)
    return node


def index(name: str) -> Index:
    node = parse_manifest((MANIFESTS / name).read_bytes())
    assert isinstance(node, Index)
    return node


@pytest.mark.parametrize(
    ("name", "wanted", "expected"),
    [
        ("docker/v2s2-all-media-types.json", "oci", "docker/v2s2-all-media-types-to-oci1.json"),
        ("docker/v2s2-all-media-types-to-oci1.json", "oci", "docker/v2s2-all-media-types-to-oci1.json"),
    ],
)
def test_every_type_of_layer_in_the_other_format(name: str, wanted: Format, expected: str) -> None:
    converted = Conversions(codec, format=wanted).rebuild(manifest(name), {})
    other = manifest(expected)
    assert converted.media_type == other.media_type
    assert [child.to_json() for child in converted.children[1:]] == [child.to_json() for child in other.layers]


def test_dockers_format_has_no_zstd() -> None:
    everything = manifest("oci/oci1-all-media-types.json")
    with pytest.raises(UsageError, match="no zstd"):
        Conversions(codec, format="docker").rebuild(everything, {})
    document = json.loads(everything.content)
    expected = json.loads((MANIFESTS / "oci" / "oci1-all-media-types-to-schema2.json").read_bytes())
    kept = [number for number, layer in enumerate(document["layers"]) if "zstd" not in layer["mediaType"]]
    document["layers"] = [document["layers"][number] for number in kept]
    converted = Conversions(codec, format="docker").rebuild(parse_manifest(json.dumps(document).encode()), {})
    assert json.loads(converted.content)["layers"] == [expected["layers"][number] for number in kept]
    assert converted.media_type == expected["mediaType"]


@pytest.mark.parametrize("name", ["oci/ociv1.invalid-layer-type.json", "bad/oci1-invalid-media-type.json"])
def test_layers_of_no_known_type_move_as_they_are_or_not_at_all(name: str) -> None:
    odd = manifest(name)
    (layer,) = [layer for layer in odd.layers if media_types.layer_compression(layer.media_type) is None][:1]
    assert Conversions(codec).rebuild(odd, {}) is odd
    assert Conversions(codec).recipe(layer, is_made_up=False) is None
    for compression in COMPRESSIONS:
        with pytest.raises(UsageError, match="can't be converted"):
            Conversions(codec, compression).recipe(layer, is_made_up=False)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_encrypted_and_foreign_layers_are_never_recompressed(compression: Compression) -> None:
    for name in (
        "oci/ociv1.encrypted.json",
        "oci/ociv1.nondistributable.zstd.json",
        "docker/v2s2-nondistributable.json",
    ):
        for layer in manifest(name).layers:
            assert layer.is_foreign or "+encrypted" in layer.media_type
            assert Conversions(codec, compression).recipe(layer, is_made_up=False) is None


@pytest.mark.parametrize("wanted", ["oci", "docker"])
def test_artifacts_are_in_no_format(wanted: Format) -> None:
    for name in ("oci/oci1-artifact.json", "oras-artifact/net-monitor-image-sbom.json"):
        artifact = manifest(name)
        assert not is_convertible(artifact)
        assert Conversions(codec, "zstd", format=wanted).rebuild(artifact, {}) is artifact


def test_of_two_for_one_platform_the_first_is_taken() -> None:
    for name, platform, place in (
        ("docker/jib-v22manifest_list.json", "linux/amd64", 1),
        ("oci/oci1.index.zstd-selection.json", "linux/amd64", 0),
        ("oci/oci1.index.zstd-selection.json", "linux/arm64", 2),
    ):
        listed = index(name)
        assert choose_one(listed, Platform.parse(platform)) == listed.manifests[place], name


def test_everything_that_a_manifest_may_say() -> None:
    node = manifest("oci/ociv1.everything.json")
    assert node.artifact_type
    assert node.subject is not None
    described = [node.config, *node.layers, node.subject]
    assert any(item is not None and item.data is not None for item in described)
    assert any(item is not None and item.urls for item in described)
    assert any(item is not None and item.annotations for item in described)
    (listed, *_) = index("docker/v2list-everything.json").manifests
    assert listed.urls
    assert listed.platform is not None
    assert (listed.platform.variant, bool(listed.platform.os_version)) != ("", False)
    mixed = {child.media_type for child in index("oci/fedora.index.json").manifests}
    assert mixed == {media_types.OCI_MANIFEST, media_types.DOCKER_MANIFEST}
    dressed = index("oci/jib-ociindex_artifacttype.json")
    assert {child.media_type for child in dressed.manifests} == {media_types.DOCKER_MANIFEST}
    assert all(child.artifact_type for child in dressed.manifests)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("docker/unicode-config-manifest.json", "docker/unicode-config.json"),
        ("oci/oci1-extra-config-fields.json", "oci/oci1-config-extra-fields.json"),
    ],
)
def test_the_bytes_of_a_config_are_what_its_manifest_names(name: str, config: str) -> None:
    content = (MANIFESTS / config).read_bytes()
    named = manifest(name).config
    assert named is not None
    assert (named.digest, named.size) == (Digest.of(content), len(content))


@pytest.mark.parametrize("name", ["unknown-version.json", "non-json.bin", "single-blank-archive-manifest.json"])
def test_what_is_no_manifest(name: str) -> None:
    path: Path = MANIFESTS / "bad" / name
    with pytest.raises(MalformedContent):
        parse_manifest(path.read_bytes())
