"""registries.conf, over real connections: mirrors, locations, and what is blocked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import imgmove
from imgmove.settings import Settings
from tests.images import build_image
from tests.quirks import Failure, Quirks, RegistryServer

Factory = Callable[..., RegistryServer]


def configure(settings: Settings, text: str) -> None:
    folder = Path(settings.environment.config_folder) / "containers"
    folder.mkdir(parents=True)
    (folder / "registries.conf").write_text(text)


def test_mirrors_are_read_first(settings: Settings, registry_factory: Factory, tmp_path: Path) -> None:
    mirror, origin = registry_factory(), registry_factory()
    image, other = build_image(), build_image([{"other": b"x"}])
    for server in (mirror, origin):
        image.put(server.storage.make("team/app"), "1")
    other.put(origin.storage.make("team/app"), "2")
    configure(
        settings,
        f'[[registry]]\nprefix = "reg.example.com"\nlocation = "{origin.host}"\n'
        f'[[registry.mirror]]\nlocation = "{mirror.host}"\n',
    )
    with imgmove.Session(settings) as session:
        for tag, digest in (("1", image.root.digest), ("2", other.root.digest)):
            report = imgmove.copy(f"reg.example.com/team/app:{tag}", f"oci:{tmp_path / 'out'}", session=session)
            report.raise_failures()
            assert report.images[0].digest == digest
        assert imgmove.tags("reg.example.com/team/app", session=session) == ["1", "2"]
    assert origin.count("GET blob") == 2, "what the mirror lacks comes from the registry itself"


def test_a_mirror_that_is_down(settings: Settings, registry_factory: Factory, tmp_path: Path) -> None:
    broken, origin = registry_factory(Quirks(failures=(Failure("* *", 503, 1000),))), registry_factory()
    image = build_image()
    image.put(origin.storage.make("app"), "1")
    configure(settings, f'[[registry]]\nlocation = "{origin.host}"\n[[registry.mirror]]\nlocation = "{broken.host}"\n')
    with imgmove.Session(settings) as session:
        imgmove.copy(f"{origin.host}/app:1", f"oci:{tmp_path / 'out'}", session=session).raise_failures()


def test_a_blocked_registry(settings: Settings, registry: RegistryServer, tmp_path: Path) -> None:
    configure(settings, f'[[registry]]\nlocation = "{registry.host}"\nblocked = true\n')
    with imgmove.Session(settings) as session, pytest.raises(imgmove.ImgmoveError, match="blocks"):
        imgmove.copy(f"{registry.host}/app:1", f"oci:{tmp_path / 'out'}", session=session)
    assert registry.seen == []
