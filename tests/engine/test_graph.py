"""How much of a graph is held in memory."""

from __future__ import annotations

import pytest

from imgmove.engine.graph import ManifestAllowance, ManifestsTogether, read_node
from imgmove.errors import MalformedContent
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.ports import Reader
from imgmove.streams import BytesReader


def manifest(size: int) -> Descriptor:
    return Descriptor.of(bytes(size), media_types.OCI_MANIFEST)


class Signed:
    """A place that has a manifest whose digest leaves out its signatures."""

    def open(self, _: Descriptor, offset: int = 0) -> Reader:
        return BytesReader(b"what its signatures are about, with them"[offset:])


def test_a_signed_manifest_of_schema_1_is_called_by_its_name() -> None:
    signed = Descriptor.of(b"what its signatures are about", media_types.DOCKER_SCHEMA1_SIGNED)
    with pytest.raises(MalformedContent, match="schema 1"):
        read_node(Signed(), signed)


def test_large_manifests_of_many_images_do_not_add_up_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgmove.engine.graph.MOST_MANIFEST_BYTES", 60)
    monkeypatch.setattr("imgmove.engine.graph.MOST_TOGETHER_BYTES", 100)
    monkeypatch.setattr("imgmove.engine.graph.MODEST_BYTES", 10)
    together = ManifestsTogether()
    one, two, modest = (ManifestAllowance(together) for _ in range(3))
    one.spend(manifest(60))
    with pytest.raises(MalformedContent, match="together are over the limit of 100 bytes"):
        two.spend(manifest(50))
    modest.spend(manifest(10))
    with pytest.raises(MalformedContent, match="one image are over the limit of 60 bytes"):
        ManifestAllowance().spend(manifest(61))
