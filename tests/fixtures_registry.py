"""Fixtures that give any test a registry of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.quirks import RegistryServer


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    """A registry that keeps to the spec, empty."""
    with RegistryServer() as server:
        yield server


@pytest.fixture
def registry_factory() -> Iterator[Callable[..., RegistryServer]]:
    """Makes running registries out of `RegistryServer`'s arguments, and stops them after the test."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(RegistryServer(*arguments, **options))
