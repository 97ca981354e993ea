"""One image to many engines, side by side."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.engines import Engines
from imgmove.endpoints.layout import Layout
from imgmove.errors import NetworkError, UsageError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.location import EngineLocation
from imgmove.model.manifest import Manifest
from imgmove.model.platform import Platform
from imgmove.ports import Holding, Opener
from imgmove.settings import Settings
from imgmove.wire.files import LocalFiles
from tests.images import BuiltImage, build_image, make_manifest_from


@dataclass
class Edge:
    """An engine that answers when others have taken an image."""

    waits_for: Sequence[Edge] = ()
    has_taken: threading.Event = field(default_factory=threading.Event)

    def platform(self) -> Platform:
        return Platform("linux", "amd64")

    def holding(self, image: Manifest, config: bytes, names: Sequence[str]) -> Holding:
        if not all(other.has_taken.wait(20) for other in self.waits_for):
            raise AssertionError("the others wait for this one")
        if self.waits_for:
            raise NetworkError("it did not answer in time")
        return Holding({child.digest for child in image.children}, is_complete=False)

    def pull(self, image: Manifest, config: bytes, names: Sequence[str], content: Opener) -> Sequence[str]:
        self.has_taken.set()
        return ()

    def close(self) -> None:
        pass


@pytest.mark.parametrize("jobs", [2, 32])
def test_nobody_waits_for_a_host_that_hangs(
    jobs: int, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_image().put(Layout.writable(LocalFiles(), str(tmp_path / "layout")), "app:1")
    near, far = Edge(), Edge()
    edges = {"hangs": Edge((near, far)), "near": near, "far": far}

    def opened(engines: Engines, location: EngineLocation) -> Edge:
        assert location.carrier is not None
        return edges[location.carrier.host]

    monkeypatch.setattr(Engines, "destination", opened)
    places = [f"podman+ssh://{host}/app:1" for host in edges]
    with imgmove.Session(replace(settings, jobs=jobs, retries=0)) as session:
        report = imgmove.copy(f"oci:{tmp_path / 'layout'}:app:1", places, session=session)
    assert [image.destination for image in report.images] == places
    assert [image.status for image in report.images] == ["failed", "copied", "copied"]


def test_a_layer_that_is_kept_elsewhere(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = build_image()
    document = json.loads(image.nodes[0].content)
    foreign = Descriptor(
        media_types.DOCKER_FOREIGN_LAYER + ".gzip", Digest.of(b"far away"), 8, ("https://example.com/",)
    )
    document["layers"].append(foreign.to_json())
    layout = Layout.writable(LocalFiles(), str(tmp_path / "layout"))
    BuiltImage((make_manifest_from(document),), image.blobs).put(layout, "app:1")
    monkeypatch.setattr(Engines, "destination", lambda *_: Edge())
    with imgmove.Session(settings) as session:
        report = imgmove.copy(f"oci:{tmp_path / 'layout'}:app:1", "podman:app:1", session=session)
    with pytest.raises(UsageError, match=f"{foreign.digest.short} is not kept with the image"):
        report.raise_failures()
