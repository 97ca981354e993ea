"""How much of a graph is held in memory."""

from __future__ import annotations

import pytest

from imgmove.engine.graph import ManifestAllowance, ManifestsTogether
from imgmove.errors import MalformedContent
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor


def manifest(size: int) -> Descriptor:
    return Descriptor.of(bytes(size), media_types.OCI_MANIFEST)


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
