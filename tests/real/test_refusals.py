"""A real registry that takes nothing: one line says why, and what the registry has stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.layout import Layout
from imgmove.errors import ServerRefused
from imgmove.settings import Settings
from imgmove.wire.files import LocalFiles
from tests.images import build_image
from tests.real.fixtures import run_registry

pytestmark = pytest.mark.real


def test_a_registry_under_maintenance(settings: Settings, tmp_path: Path) -> None:
    image = build_image([{"a": b"b"}])
    image.put(Layout.writable(LocalFiles(), str(tmp_path / "layout")), "app:1")
    source = f"oci:{tmp_path / 'layout'}:app:1"
    with run_registry(tmp_path) as registry, imgmove.Session(settings) as session:
        imgmove.copy(source, f"{registry.host}/there:1", session=session).raise_failures()
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "data")}, "maintenance": {"readonly": {"enabled": True}}}
    with run_registry(tmp_path, {"storage": storage}) as registry, imgmove.Session(settings) as session:
        there = f"{registry.host}/there"
        for target in (f"{registry.host}/new:1", f"{there}:2"):
            with pytest.raises(ServerRefused, match="destination: .*405.*reading only") as caught:
                imgmove.copy(source, target, session=session).raise_failures()
            assert caught.value.exit_status == 1
        with pytest.raises(ServerRefused, match="405"):
            imgmove.tag(f"{there}:1", "2", session=session)
        with pytest.raises(ServerRefused, match="does not allow deleting"):
            imgmove.delete(f"{there}:1", session=session)
        assert imgmove.tags(there, session=session) == ["1"]
        imgmove.verify(f"{there}:1", source, session=session).raise_differences()
