"""How registries that know sha256 alone take manifests that go by another digest: not at all, and they say so."""

from __future__ import annotations

from pathlib import Path

import pytest

import imgmove
from imgmove.errors import NotFound
from imgmove.settings import Settings
from tests.real.fixtures import RealRegistry
from tests.stages.test_sha512 import make_source

pytestmark = pytest.mark.real


def test_distribution_refuses_and_shows_nothing(
    plain_registry: RealRegistry, settings: Settings, tmp_path: Path
) -> None:
    start, _, _ = make_source(tmp_path / "in")
    with imgmove.Session(settings) as session:
        error = imgmove.copy(start, f"{plain_registry.host}/sha512:1", session=session).images[0].error
        assert error is not None
        assert error.exit_status == 1
        assert "takes no manifest named by sha512" in str(error)
        with pytest.raises(NotFound):
            imgmove.inspect(f"{plain_registry.host}/sha512:1", session=session)
