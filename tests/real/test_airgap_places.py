"""Bundles into places on other hosts and into engines, and what such places say of what they hold."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.layout import Layout
from imgmove.settings import Settings
from imgmove.wire.files import LocalFiles
from tests.airgap.conftest import BASE, noise
from tests.images import build_image
from tests.real.engines import RealEngine
from tests.real.fixtures import RealRegistry
from tests.real.sshd import RealSshd, run_sshd

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]

PLACES = ["layout+ssh", "registry+ssh", "docker26+ssh", "podman4+ssh"]
SPEAKING = ["layout+ssh", "registry+ssh", "containerd1"]


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSshd]:
    """A host that finds the programs that the tests find."""
    with run_sshd(tmp_path_factory.mktemp("far"), f"SetEnv PATH={os.environ['PATH']}") as running:
        yield running


@pytest.fixture
def session(edge: RealSshd, settings: Settings) -> Iterator[imgmove.Session]:
    with imgmove.Session(edge.settings(settings)) as session:
        yield session


@pytest.fixture
def place(request: pytest.FixtureRequest, edge: RealSshd, tmp_path: Path) -> Iterator[str]:
    """Each place, with nothing in it."""
    kind, _, carrier = request.param.partition("+")
    if kind == "layout":
        yield f"oci+ssh://{edge.host}{tmp_path}/far" if carrier else f"oci:{tmp_path}/far"
    elif kind == "registry":
        registry: RealRegistry = request.getfixturevalue("plain_registry")
        yield f"registry+ssh://{edge.host}/{registry.host}/airgap{uuid.uuid4().hex[:8]}/"
    else:
        engine: RealEngine = request.getfixturevalue(kind)
        engine.clean()
        where = f"+ssh://{edge.host}/" if carrier else ":"
        yield f"{engine.scheme}{where}?{engine.options}"
        engine.clean()


@pytest.fixture
def near(tmp_path: Path) -> str:
    """Two versions of an image that share a layer."""
    layout = Layout.writable(LocalFiles(), str(tmp_path / "near"))
    for number in (1, 2):
        build_image([BASE, noise(60 + number)]).put(layout, f"team/app:{number}")
    return f"oci:{tmp_path / 'near'}"


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_a_bundle_and_a_delta_by_its_receipt(place: str, near: str, session: imgmove.Session, tmp_path: Path) -> None:
    first, second, receipt = (str(tmp_path / name) for name in ("first.bundle", "second.bundle", "receipt.json"))
    imgmove.create_bundle(f"{near}:team/app:1", first, session=session)
    papers = imgmove.Papers(receipt=receipt, report=str(tmp_path / "report.json"))
    loaded = imgmove.load_bundle(first, place, imgmove.LoadBundleOptions(papers=papers), session=session)
    loaded.raise_failures()
    assert loaded.images[0].proof is not None, "every place can be asked what it has"
    delta(place, near, second, receipt, session)
    assert json.loads((tmp_path / "report.json").read_text())["content"]["images"][0]["status"] == "copied"


@pytest.mark.parametrize("place", SPEAKING, indirect=True)
def test_a_delta_by_inventory(place: str, near: str, session: imgmove.Session, tmp_path: Path) -> None:
    first, second, stock = (str(tmp_path / name) for name in ("first.bundle", "second.bundle", "stock.json"))
    imgmove.create_bundle(f"{near}:team/app:1", first, session=session)
    imgmove.load_bundle(first, place, session=session).raise_failures()
    found = imgmove.take_inventory(place, session=session)
    assert found.skipped == []
    assert len(found.holdings.images) >= 1
    assert len(found.holdings.blobs) == (2 if place.startswith("containerd") else 3), "configs go to engines each time"
    Path(stock).write_bytes(found.seal())
    delta(place, near, second, stock, session)


def delta(place: str, near: str, bundle: str, known: str, session: imgmove.Session) -> None:
    """Both versions; of the first nothing but what an engine has to be shown is carried."""
    both = [f"{near}:team/app:{number}" for number in (1, 2)]
    made = imgmove.create_bundle(both, bundle, imgmove.CreateBundleOptions(have=(known,)), session=session)
    assert made.blob_bytes < 65_000, "of the layers, only the new one"
    loaded = imgmove.load_bundle(bundle, place, session=session)
    loaded.raise_failures()
    assert [image.report.status for image in loaded.images] == ["present", "copied"]


@pytest.mark.parametrize("place", ["docker26+ssh", "podman4+ssh"], indirect=True)
def test_engines_that_keep_no_blobs_say_so(place: str, session: imgmove.Session) -> None:
    with pytest.raises(imgmove.ImgmoveError, match="do not keep blobs as they came"):
        imgmove.take_inventory(place, session=session)
