"""A registry for tests, and what real registries do that the spec does not foresee."""

from __future__ import annotations

from tests.quirks.definition import Drop, Failure, Quirks, Stall, TokenAuth
from tests.quirks.server import BlobOrigin, RegistryServer

__all__ = ["BlobOrigin", "Drop", "Failure", "Quirks", "RegistryServer", "Stall", "TokenAuth"]
