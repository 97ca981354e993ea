"""Container engines: docker, podman, containerd."""

from __future__ import annotations

from imgmove.endpoints.engines.opening import Engines

__all__ = ["Engines"]
