from __future__ import annotations

from pathlib import Path

import pytest

from imgmove.endpoints.layout import Layout
from imgmove.engine.convert import Recipe
from imgmove.knowledge import KnowledgeFile
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.stages.bases import find_bases
from imgmove.wire.files import LocalFiles
from tests.images import BuiltImage, build_artifact, build_image, build_index

GZIP = Recipe("none", "gzip", None).name


@pytest.fixture
def knowledge(tmp_path: Path) -> KnowledgeFile:
    return KnowledgeFile(tmp_path / "knowledge.sqlite")


def repository(tmp_path: Path, **images: BuiltImage) -> Layout:
    place = Layout.writable(LocalFiles(), str(tmp_path / "place"))
    for name, image in images.items():
        image.put(place, name)
    return place


def plain(layers: list[dict[str, bytes]]) -> list[Digest]:
    return [layer.digest for layer in build_image(layers, compression="none").nodes[0].children[1:]]


def test_layers_are_known_by_their_contents(tmp_path: Path, knowledge: KnowledgeFile) -> None:
    base = {"base": b"1"}
    (diff_id, other) = plain([base, {"other": b"2"}])
    image = build_image([base])
    place = repository(tmp_path, old=image, sbom=build_artifact(), multi=build_index("linux/amd64", "linux/arm64"))
    found = find_bases(knowledge, place, "old", [diff_id, other], "gzip")
    layer = image.nodes[0].children[1]
    assert found.converted(diff_id, GZIP) == Descriptor(
        "application/vnd.oci.image.layer.v1.tar+gzip", layer.digest, layer.size
    )
    assert found.converted(other, GZIP) is None
    assert knowledge.converted(diff_id, GZIP) is None, "it counts for this place alone"


def test_what_is_known_in_general_is_known_too(tmp_path: Path, knowledge: KnowledgeFile) -> None:
    (diff_id,) = plain([{"x": b"1"}])
    result = Descriptor.of(b"packed", "application/vnd.oci.image.layer.v1.tar+gzip")
    found = find_bases(knowledge, repository(tmp_path), "", [diff_id], "gzip")
    found.learned_conversion(diff_id, GZIP, result)
    known = found.converted(diff_id, GZIP)
    assert known is not None
    assert known.digest == result.digest
    found.saw_blob("reg", "team/app", result.digest)
    assert found.repositories_with("reg", result.digest) == ["team/app"]


def test_plain_layers_and_other_compressions_are_no_help(tmp_path: Path, knowledge: KnowledgeFile) -> None:
    layers = [{"base": b"1"}]
    place = repository(tmp_path, old=build_image(layers, compression="none"))
    assert find_bases(knowledge, place, "old", plain(layers), "gzip").blobs == {}
    place = repository(tmp_path / "packed", old=build_image(layers))
    assert find_bases(knowledge, place, "old", plain(layers), "none").blobs == {}


def test_plain_layers_where_layers_are_to_be_plain(tmp_path: Path, knowledge: KnowledgeFile) -> None:
    image = build_image([{"base": b"1"}], compression="none")
    layer = image.nodes[0].children[1]
    found = find_bases(knowledge, repository(tmp_path, old=image), "old", [layer.digest], "none")
    assert [blob.digest for blob in found.blobs.values()] == [layer.digest]


def test_a_place_whose_other_images_have_the_layers(tmp_path: Path, knowledge: KnowledgeFile) -> None:
    layers = [{"hello": b"world"}]
    place = repository(tmp_path, other=build_image([{"x": b"1"}]), old=build_image(layers))
    (blob,) = find_bases(knowledge, place, "new", plain(layers), "gzip").blobs.values()
    assert blob.digest == build_image(layers).nodes[0].children[1].digest


def test_a_place_that_is_not_there(tmp_path: Path, knowledge: KnowledgeFile) -> None:
    assert find_bases(knowledge, repository(tmp_path), "new", plain([{"hello": b"world"}]), "gzip").blobs == {}
