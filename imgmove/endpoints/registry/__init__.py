"""Registries: the OCI distribution API, spoken to whatever real servers make of it."""

from __future__ import annotations

from imgmove.endpoints.registry.registries import Registries
from imgmove.endpoints.registry.repository import RegistryRepository, RegistrySource

__all__ = ["Registries", "RegistryRepository", "RegistrySource"]
