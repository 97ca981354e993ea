"""Container engines: docker, podman, containerd."""

from __future__ import annotations

from imgmove.endpoints.engines.opening import Engines
from imgmove.endpoints.engines.thinned import SavedLayer, ThinSave

__all__ = ["Engines", "SavedLayer", "ThinSave"]
