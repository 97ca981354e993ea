"""Connections to a real registry that break in every way: right content or one clear line, and a rerun that succeeds."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.layout import Layout
from imgmove.engine.run import RetryPolicy
from imgmove.errors import ImgmoveError, NotFound
from imgmove.settings import Settings
from imgmove.wire.files import LocalFiles
from tests.images import build_image
from tests.real.fault_proxy import Fault, FaultProxy
from tests.real.fixtures import RealRegistry

pytestmark = pytest.mark.real

IMAGE = build_image([{"big": random.Random(21).randbytes(3 << 20)}, {"middle": random.Random(22).randbytes(400_000)}])
MIB = 1 << 20


@dataclass(frozen=True)
class Ground:
    """A layout with the image, a registry that has it, and settings that do not wait between tries."""

    layout: str
    there: str
    settings: Settings
    folder: Path

    def copy(self, source: str, destination: str) -> ImgmoveError | None:
        with imgmove.Session(self.settings) as session:
            return imgmove.copy(source, destination, session=session).images[0].error

    def verify(self, place: str) -> None:
        with imgmove.Session(self.settings) as session:
            imgmove.verify(self.layout, place, session=session).raise_differences()


@pytest.fixture
def ground(
    plain_registry: RealRegistry,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Ground:
    monkeypatch.setattr(RetryPolicy, "delay", lambda *_: 0.0)
    IMAGE.put(Layout.writable(LocalFiles(), str(tmp_path / "in")), "app:1")
    made = Ground(
        f"oci:{tmp_path / 'in'}:app:1",
        f"{plain_registry.host}/faults:1",
        replace(settings, retries=3, timeout=1.0),
        tmp_path,
    )
    assert made.copy(made.layout, made.there) is None
    return made


def temporary(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".imgmove-*")]


DOWN = {
    "closed once": Fault("close", MIB, count=1),
    "reset a few times": Fault("reset", MIB, count=3),
    "closed at the very start": Fault("close", 0, count=2),
    "closed in a header": Fault("close", 100, count=2),
    "every connection after 1 MiB": Fault("reset", MIB),
    "stalls twice": Fault("stall", MIB, count=2),
    "stalls before an answer": Fault("stall", 0, count=2),
    "between requests": Fault("idle"),
    "one bit": Fault("flip", MIB, count=1),
    "a bit of every connection": Fault("flip", MIB),
    "a bit of the first answer": Fault("flip", 5, count=1),
    "never an answer": Fault("close", 0),
    "never more than the beginning": Fault("reset", 2000),
}
MUST_WORK = set(DOWN) - {
    "one bit",
    "a bit of every connection",
    "a bit of the first answer",
    "never an answer",
    "never more than the beginning",
}


def check_error(error: ImgmoveError | None, side: str, statuses: set[int]) -> None:
    if error is not None:
        assert error.exit_status in statuses, error
        assert error.side == side
        assert "\n" not in str(error)
        assert "Traceback" not in str(error)


@pytest.mark.parametrize("target", ["layout", "archive", "compressed archive"])
@pytest.mark.parametrize("name", DOWN)
def test_reading(name: str, target: str, ground: Ground, plain_registry: RealRegistry) -> None:
    places = {"layout": "oci:{}:app:1", "archive": "{}.tar", "compressed archive": "{}.tar.gz"}
    place = places[target].format(ground.folder / "out")
    final = ground.folder / (place.removeprefix("oci:").removesuffix(":app:1"))
    with FaultProxy(plain_registry.host, DOWN[name]) as proxy:
        source = f"{proxy.host}/faults:1"
        error = ground.copy(source, place)
        # On a quick machine no connection may rest for long enough.
        assert proxy.happened or DOWN[name].kind == "idle"
        check_error(error, "source", {1, 4})
        if name in MUST_WORK:
            assert error is None
        if error is not None:
            assert not (final / "index.json").exists()
            assert not final.is_file()
            assert all(left.endswith(".partial") for left in temporary(ground.folder))
        proxy.heal()
        assert ground.copy(source, place) is None
    ground.verify(place)
    assert temporary(ground.folder) == []


UP = {
    "closed once": Fault("close", MIB, "up", 1),
    "reset a few times": Fault("reset", MIB, "up", 3),
    "stalls twice": Fault("stall", MIB, "up", 2),
    "the answers are lost": Fault("close", 1000, "down", 3),
    "between requests": Fault("idle"),
    "one bit of a layer": Fault("flip", 2 * MIB, "up", 1),
    "a bit of every connection": Fault("flip", 2 * MIB, "up"),
    "a bit of the first request": Fault("flip", 5, "up", 1),
    "nothing gets through": Fault("reset", 100, "up"),
}
UP_MUST_WORK = set(UP) - {"a bit of every connection", "a bit of the first request", "nothing gets through"}


@pytest.mark.parametrize("name", UP)
def test_writing(name: str, ground: Ground, plain_registry: RealRegistry) -> None:
    repository = f"written-{''.join(filter(str.isalnum, name))}"
    with FaultProxy(plain_registry.host, UP[name]) as proxy:
        place = f"{proxy.host}/{repository}:1"
        error = ground.copy(ground.layout, place)
        assert proxy.happened or UP[name].kind == "idle"
        check_error(error, "destination", {1, 5})
        if name in UP_MUST_WORK:
            assert error is None
        proxy.heal()
        if error is not None:
            with imgmove.Session(ground.settings) as session, pytest.raises(NotFound):
                imgmove.inspect(place, session=session)
        assert ground.copy(ground.layout, place) is None
        ground.verify(place)


LARGE = random.Random(23).randbytes(64 << 20)


@pytest.mark.parametrize(
    ("most", "is_split"), [(20 << 20, False), (5 << 20, True)], ids=["one connection", "several connections"]
)
@pytest.mark.parametrize("target", ["oci:{}/out:app:1", "{}/out.tar"])
def test_a_registry_whose_every_connection_breaks(
    target: str, most: int, is_split: bool, ground: Ground, plain_registry: RealRegistry
) -> None:
    """After 20 MiB over one connection; several carry less each, so they break earlier."""
    image = build_image([{"large": LARGE}], compression="none")
    image.put(Layout.writable(LocalFiles(), str(ground.folder / "large")), "app:1")
    large = f"oci:{ground.folder / 'large'}:app:1"
    assert ground.copy(large, f"{plain_registry.host}/large:1") is None
    place = target.format(ground.folder)
    # Whoever limits the rate has no use for further connections.
    limited = replace(ground.settings, limit_rate=None if is_split else 1 << 40)
    with FaultProxy(plain_registry.host, Fault("reset", most), rate=25 << 20 if is_split else 0) as proxy:
        assert replace(ground, settings=limited).copy(f"{proxy.host}/large:1", place) is None
        assert proxy.happened >= 3
        assert proxy.down <= 1.1 * len(LARGE)
    replace(ground, layout=large).verify(place)
    assert temporary(ground.folder) == []
