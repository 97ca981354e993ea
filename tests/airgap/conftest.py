"""The command line, and a connected side with images to carry."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from imgmove.endpoints.registry import Registries
from imgmove.model.reference import Reference
from imgmove.settings import Settings
from tests.cli.conftest import Ran, Run, imgmove
from tests.images import BuiltImage, build_artifact, build_image, build_index
from tests.quirks import RegistryServer

__all__ = ["Ran", "Run", "imgmove"]

BASE = {"base": random.Random(1).randbytes(200_000)}


def noise(seed: int, size: int = 60_000) -> dict[str, bytes]:
    """A layer that nothing compresses."""
    return {f"noise-{seed}": random.Random(seed).randbytes(size)}


@dataclass(frozen=True)
class Connected:
    """A registry with images.

    Attributes:
        names: of the images, as they are typed.
    """

    server: RegistryServer
    names: list[str]
    put: Callable[..., None]

    def push(self, name: str, image: BuiltImage) -> None:
        """Puts an image under ``REPO:TAG``."""
        self.put(name, image)


@pytest.fixture
def connected(registry_factory: Callable[..., RegistryServer], settings: Settings) -> Connected:
    """Three images that share a layer, one of them an index, one with an SBOM and a signature."""
    server = registry_factory()
    registries = Registries(settings)

    def put(name: str, image: BuiltImage, *more: str) -> None:
        place = registries.destination(Reference.parse(f"{server.host}/{name}"))
        image.put(place, name.rpartition(":")[2] if ":" in name else str(image.root.digest), *more)

    app = build_image([BASE, noise(2)])
    put("team/app:1", app)
    put("team/app", build_artifact(app.root))
    signature = build_artifact(None, "application/vnd.dev.cosign.artifact.sig.v1+json")
    put(f"team/app:sha256-{app.root.digest.hex}.sig", signature)
    put("team/web:1", build_image([BASE, noise(3)]))
    put("base/multi:2", build_index("linux/amd64", "linux/arm64"))
    return Connected(server, [f"{server.host}/{name}" for name in ("team/app:1", "team/web:1", "base/multi:2")], put)
