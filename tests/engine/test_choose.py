"""Choosing platforms out of indexes that somebody made to be large."""

from __future__ import annotations

import json

import pytest

from imgmove.engine.choose import choose_one, flattened
from imgmove.errors import MalformedContent
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Index, Node, make_index, parse_manifest
from imgmove.model.platform import Platform
from tests.images import build_image


def _nested(levels: int, times: int) -> tuple[Index, dict[Digest, Node]]:
    """Indexes in one another, each listing the next one so many times."""
    root = build_image().root
    leaf = Descriptor(root.media_type, root.digest, root.size, platform=Platform("linux", "amd64"))
    index = make_index(media_types.OCI_INDEX, [leaf])
    nodes: dict[Digest, Node] = {}
    for _ in range(levels):
        nodes[index.descriptor.digest] = index
        index = make_index(media_types.OCI_INDEX, [index.descriptor] * times)
    return index, nodes


def test_an_index_that_is_listed_many_times_is_read_once() -> None:
    index, nodes = _nested(15, 100)
    flat = flattened(index, lambda child: nodes[child.digest])
    assert len(flat.manifests) == 1
    assert choose_one(flat, Platform("linux", "amd64")).digest == build_image().root.digest


def test_indexes_that_stand_in_one_another_too_deeply() -> None:
    index, nodes = _nested(18, 1)
    with pytest.raises(MalformedContent, match="deep"):
        flattened(index, lambda child: nodes[child.digest])


def test_what_says_that_it_is_an_index_and_is_none_stays() -> None:
    image = build_image().nodes[0]
    odd = json.dumps(
        {"schemaVersion": 2, "manifests": [{**image.descriptor.to_json(), "mediaType": media_types.OCI_INDEX}]}
    )
    index = parse_manifest(odd.encode(), media_types.OCI_INDEX)
    assert isinstance(index, Index)
    assert flattened(index, lambda _: image).manifests[0].digest == image.descriptor.digest
