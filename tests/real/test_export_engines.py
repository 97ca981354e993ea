"""Exports out of real engines: of their images as of any other, and of their containers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

import imgmove
from imgmove.errors import MalformedContent, NotFound, UsageError
from imgmove.model.location_grammar import parse_location
from imgmove.settings import Settings
from imgmove.stages.export import export_to_stream
from tests.real.engine_fixtures import copied
from tests.real.engines import RealEngine
from tests.real.programs import hello_program
from tests.real.sshd import RealSshd

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]


def test_an_engines_image_gives_the_same_bytes(
    engine: RealEngine, layout: str, session: imgmove.Session, tmp_path: Path
) -> None:
    copied(session, f"{layout}:app:2", engine.at("app:2"))
    imgmove.export(f"{layout}:app:2", str(tmp_path / "expected.tar"), session=session)
    imgmove.export(engine.at("app:2"), str(tmp_path / "out.tar"), session=session)
    assert (tmp_path / "out.tar").read_bytes() == (tmp_path / "expected.tar").read_bytes()


@pytest.fixture(params=["docker20", "podman4"])
def with_container(request: pytest.FixtureRequest, layout: str, session: imgmove.Session) -> Iterator[RealEngine]:
    """An engine with a container that is called web."""
    found: RealEngine = request.getfixturevalue(request.param)
    found.clean()
    copied(session, f"{layout}:app:1", found.at("app:1"))
    found.do("create", "--name", "web", "app:1")
    yield found
    found.do("rm", "web")
    found.clean()


def test_a_container(with_container: RealEngine, session: imgmove.Session, tmp_path: Path) -> None:
    with_container.do("export", "-o", str(tmp_path / "expected.tar"), "web")
    expected = (tmp_path / "expected.tar").read_bytes()
    place = with_container.at("@web")
    imgmove.export(place, str(tmp_path / "out.tar"), session=session)
    assert (tmp_path / "out.tar").read_bytes() == expected
    stream = io.BytesIO()
    export_to_stream(session, parse_location(place), stream)
    assert stream.getvalue() == expected
    imgmove.export(place, folder=str(tmp_path / "tree"), session=session)
    assert (tmp_path / "tree" / "hello").read_bytes() == hello_program()


def test_a_container_that_can_not_be_had(with_container: RealEngine, session: imgmove.Session, tmp_path: Path) -> None:
    out = str(tmp_path / "out.tar")
    with pytest.raises(NotFound, match="[Nn]o such container|no container") as caught:
        imgmove.export(with_container.at("@nobody"), out, session=session)
    assert caught.value.side == "source"
    with pytest.raises(UsageError, match="one platform"):
        imgmove.export(with_container.at("@web"), out, platform="linux/amd64", session=session)
    with pytest.raises(MalformedContent, match="more than the 1000"):
        imgmove.export(with_container.at("@web"), out, max_size=1000, session=session)
    session.close()
    assert not (tmp_path / "out.tar").exists()


def test_a_container_on_another_host(
    with_container: RealEngine, sshd: RealSshd, settings: Settings, tmp_path: Path
) -> None:
    with_container.do("export", "-o", str(tmp_path / "expected.tar"), "web")
    place = f"{with_container.scheme}+ssh://{sshd.host}/@web?{with_container.options}"
    with imgmove.Session(sshd.settings(settings)) as session:
        imgmove.export(place, str(tmp_path / "out.tar"), session=session)
    assert (tmp_path / "out.tar").read_bytes() == (tmp_path / "expected.tar").read_bytes()


def test_containerd_has_none(session: imgmove.Session, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gives out no containers"):
        imgmove.export("containerd:@web", str(tmp_path / "out.tar"), session=session)
