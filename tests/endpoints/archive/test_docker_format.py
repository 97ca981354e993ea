"""manifest.json: as engines write it, and as we do."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from imgmove.endpoints.archive.docker_format import make_up, parse_docker_manifest, write_docker_manifest
from imgmove.endpoints.layout_reader import blob_path
from imgmove.errors import MalformedContent
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.manifest import to_json_bytes
from imgmove.ports import NamedImage
from tests.images import BuiltImage, build_artifact, build_image, build_index, make_manifest_from


def entries_for(image: BuiltImage, *names: str) -> list[dict[str, object]]:
    nodes = {node.descriptor.digest: node for node in image.nodes}
    return write_docker_manifest([NamedImage(image.root, names)], nodes)


@pytest.mark.parametrize("case", [str, str.lower, str.upper])
def test_the_case_of_keys_does_not_matter(case: type[str]) -> None:
    entry = {"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["./a/layer.tar", "b//layer.tar"]}
    (image,) = parse_docker_manifest(json.dumps([{case(key): value for key, value in entry.items()}]).encode())
    assert (image.config, image.layers, image.names) == ("c.json", ("a/layer.tar", "b/layer.tar"), ("app:1",))


def test_what_may_be_missing() -> None:
    (image,) = parse_docker_manifest(b'[{"Config": "c.json", "RepoTags": null, "Layers": null}]')
    assert (image.layers, image.names) == ((), ())
    (image,) = parse_docker_manifest(b'[{"Config": "c.json", "RepoTags": ["h:5000/app"]}]')
    assert image.names == ("h:5000/app:latest",)
    assert parse_docker_manifest(b"[]") == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[1]",
        b"[{}]",
        b'[{"Config": 1}]',
        b'[{"Config": "c", "Layers": "x"}]',
        b'[{"Config": "c", "Layers": [1]}]',
        b'[{"Config": "../c"}]',
        b'[{"Config": "c", "Layers": ["/etc/passwd"]}]',
        b"[" * 100_000,
    ],
)
def test_what_is_no_manifest(content: bytes) -> None:
    with pytest.raises(MalformedContent):
        parse_docker_manifest(content)


def test_a_manifest_is_made_up() -> None:
    image = build_image([{"a": b"1"}, {"b": b"2"}], compression="none")
    config, *layers = image.nodes[0].children
    made = make_up(image.blobs[config.digest], layers, "app:1")
    assert made.children == (config, *layers)
    assert made.media_type == media_types.OCI_MANIFEST
    assert make_up(image.blobs[config.digest], layers, "other").content == made.content
    with pytest.raises(MalformedContent, match="app:1 has 1 layers, but its config has 2"):
        make_up(image.blobs[config.digest], layers[:1], "app:1")


def test_what_docker_is_told() -> None:
    image = build_image([{"a": b"1"}, {"b": b"2"}])
    config, *layers = image.nodes[0].children
    assert entries_for(image, "app:1", "quay.io/x/app:1", "1") == [
        {
            "Config": blob_path(config.digest),
            "RepoTags": ["docker.io/library/app:1", "quay.io/x/app:1"],
            "Layers": [blob_path(layer.digest) for layer in layers],
        }
    ]
    assert entries_for(image)[0]["RepoTags"] is None


@pytest.mark.parametrize(
    ("platforms", "told"),
    [
        (("linux/arm64", "linux/amd64"), "linux/amd64"),
        (("linux/arm64", "linux/s390x"), "linux/arm64"),
        (("windows/amd64", "linux/arm64"), "windows/amd64"),
    ],
)
def test_one_platform_of_an_index(platforms: tuple[str, ...], told: str) -> None:
    index = build_index(*platforms, attested=True)
    (expected,) = build_index(told).nodes[:1]
    (entry,) = entries_for(index, "app:1")
    assert entry["Config"] == blob_path(expected.children[0].digest)


def test_what_docker_can_not_run_is_left_out() -> None:
    image = build_image()
    assert entries_for(build_artifact(), "chart:1") == []
    assert entries_for(build_artifact(image.root), "sbom:1") == []
    foreign = Descriptor.of(b"foreign", media_types.DOCKER_FOREIGN_LAYER + ".gzip")
    odd = Descriptor.of(b"odd", "application/vnd.example.build-type+json")
    for layer in (foreign, odd):
        config, *layers = image.nodes[0].children
        document = {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_MANIFEST,
            "config": config.to_json(),
            "layers": [item.to_json() for item in (*layers, layer)],
        }
        assert entries_for(replace(image, nodes=(make_manifest_from(document),)), "app:1") == []


def test_an_index_whose_images_are_elsewhere_is_left_out() -> None:
    index = build_index("linux/amd64")
    assert entries_for(replace(index, nodes=index.nodes[-1:]), "app:1") == []
    empty = make_manifest_from({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": []})
    assert entries_for(BuiltImage((empty,), {}), "app:1") == []


def test_one_image_under_two_roots_is_told_once() -> None:
    image = build_index("linux/amd64")
    child = image.nodes[0]
    nodes = {node.descriptor.digest: node for node in image.nodes}
    roots = [NamedImage(image.root, ("app:1",)), NamedImage(child.descriptor, ("app:amd64", "app:1"))]
    (entry,) = write_docker_manifest(roots, nodes)
    assert entry["RepoTags"] == ["docker.io/library/app:1", "docker.io/library/app:amd64"]


def test_configs_of_engines_are_kept_byte_for_byte() -> None:
    config = to_json_bytes({"rootfs": {"type": "layers", "diff_ids": []}}) + b" \n"
    assert make_up(config, [], "app:1").children[0] == Descriptor.of(config, media_types.OCI_CONFIG)
