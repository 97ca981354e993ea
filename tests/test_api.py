"""Bundles and serving from Python, through the package's own names alone."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import imgmove
from imgmove.settings import Settings
from tests.images import build_image
from tests.quirks import RegistryServer


@pytest.fixture
def session(settings: Settings) -> Iterator[imgmove.Session]:
    with imgmove.Session(settings) as session:
        yield session


@pytest.fixture
def layout(tmp_path: Path) -> str:
    from imgmove.endpoints.layout import Layout
    from imgmove.wire.files import LocalFiles

    layout = Layout.writable(LocalFiles(), str(tmp_path / "layout"))
    for number in (1, 2):
        build_image([{"base": b"base" * 500}, {"number": str(number).encode() * 900}]).put(layout, f"team/app:{number}")
    return f"oci:{tmp_path / 'layout'}"


def test_the_whole_round_trip(
    session: imgmove.Session, layout: str, registry_factory: Callable[..., RegistryServer], tmp_path: Path
) -> None:
    """One session throughout, so nothing that one call opened may be taken for what another asks for."""
    far = f"{registry_factory().host}/mirror/"
    _, public = imgmove.make_keys(str(tmp_path / "ours"), b"open sesame")
    key = imgmove.read_signing_key(str(tmp_path / "ours.key"), b"open sesame")
    trusted = imgmove.read_public_key(public)
    bundle, receipt = str(tmp_path / "x.bundle"), str(tmp_path / "receipt.json")
    told: list[imgmove.Preflight] = []
    options = imgmove.CreateBundleOptions(sign_key=key)
    made = imgmove.create_bundle(f"{layout}:team/app:1", bundle, options, announce=told.append, session=session)
    assert made == told[0]
    assert made.size == (tmp_path / "x.bundle").stat().st_size
    assert imgmove.verify_bundle(bundle, key=trusted, session=session).is_signed
    papers = imgmove.Papers(receipt=receipt, sign_key=key)
    loaded = imgmove.load_bundle(
        f"bundle:{bundle}", far, imgmove.LoadBundleOptions(key=trusted, papers=papers), session=session
    )
    loaded.raise_failures()
    assert imgmove.tags(f"{far}team/app", session=session) == ["1"]
    delta = imgmove.CreateBundleOptions(have=(receipt,), key=trusted, sign_key=key)
    both = [f"{layout}:team/app:{number}" for number in (1, 2)]
    second = imgmove.create_bundle(both, bundle, delta, session=session)
    assert (second.blobs, second.assumed) == (2, 3), "the same name again, and another bundle"
    found = imgmove.inspect_bundle([bundle], key=trusted, session=session)
    assert [image.names for image in found.images] == [("docker.io/team/app:1",), ("docker.io/team/app:2",)]
    assert found.signature == "valid"
    imgmove.load_bundle([bundle], far, session=session).raise_failures()
    stock = imgmove.take_inventory(far, session=session)
    assert len(stock.holdings.images) == 2
    assert len(stock.holdings.blobs) == 5


def test_what_a_session_opened_is_opened_anew_for_each_call(
    session: imgmove.Session, layout: str, tmp_path: Path
) -> None:
    archive = tmp_path / "same.tar"
    for number in ("1", "2"):
        report = imgmove.save(f"{layout}:team/app:{number}", archive, session=session)
        report.raise_failures()
        assert imgmove.tags(archive, session=session) == [f"docker.io/team/app:{number}"]
        assert imgmove.inspect(archive, session=session).root.digest == report.images[0].digest
        imgmove.verify(archive).raise_differences()


def test_one_session_for_many_threads(session: imgmove.Session, layout: str, tmp_path: Path) -> None:
    def copied(number: int) -> object:
        report = imgmove.copy(f"{layout}:team/app:1", f"oci:{tmp_path / 'far'}:x:{number}", session=session)
        report.raise_failures()
        return report.images[0].digest

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(copied, range(16)))) == 1
    assert len(imgmove.tags(f"oci:{tmp_path / 'far'}", session=session)) == 16


def test_whoever_serves_on_a_loopback_address_is_not_seen_from_elsewhere(session: imgmove.Session, layout: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with imgmove.serve(layout, imgmove.ServeOptions("[::1]:0"), session=session) as serving:
        assert not serving.is_exposed


def test_of_a_bundle_that_holds_several_images_none_can_be_named(
    session: imgmove.Session, layout: str, tmp_path: Path
) -> None:
    both = [f"{layout}:team/app:{number}" for number in (1, 2)]
    imgmove.create_bundle(both, tmp_path / "x.bundle", session=session)
    with pytest.raises(
        imgmove.ImgmoveError, match=r"holds 2 images \(imgmove load takes all of docker.io/team/app:1, "
    ):
        imgmove.inspect(f"bundle:{tmp_path / 'x.bundle'}", session=session)


def test_what_is_saved_is_an_archive_whatever_its_name(session: imgmove.Session, layout: str, tmp_path: Path) -> None:
    imgmove.save(f"{layout}:team/app:1", str(tmp_path / "images"), session=session).raise_failures()
    assert (tmp_path / "images").is_file()


def test_a_name_is_no_list_of_its_letters(session: imgmove.Session, layout: str) -> None:
    imgmove.tag(f"{layout}:team/app:1", "stable", session=session)
    options = imgmove.CopyOptions(additional_tags="newest")
    imgmove.copy(f"{layout}:team/app:1", f"{layout}:new", options, session=session).raise_failures()
    assert imgmove.tags(layout, session=session) == ["new", "newest", "stable", "team/app:1", "team/app:2"]


def test_platforms_are_written_as_on_the_command_line(session: imgmove.Session, layout: str, tmp_path: Path) -> None:
    source = f"{layout}:team/app:1"
    for number, given in enumerate(("linux/amd64", ["linux/amd64"], "linux/arm64,linux/amd64")):
        options = imgmove.CopyOptions(platforms=given)
        report = imgmove.copy(source, f"oci:{tmp_path / 'far'}:{number}", options, session=session)
        report.raise_failures()
    with pytest.raises(imgmove.ImgmoveError, match="not a platform: 'linux'"):
        imgmove.CreateBundleOptions(platforms="linux")


def test_serving(session: imgmove.Session, layout: str, tmp_path: Path) -> None:
    """A layout, and the volumes of a bundle, one of which is missing at first."""
    both = [f"{layout}:team/app:{number}" for number in (1, 2)]
    made = imgmove.create_bundle(
        both, str(tmp_path / "cut"), imgmove.CreateBundleOptions(volume_size=15_000), session=session
    )
    assert made.volumes > 1
    for places, faults in (([layout], 0), (made.paths, 0), (made.paths[1:], 1)):
        with imgmove.serve(places, imgmove.ServeOptions("127.0.0.1:0"), session=session) as serving:
            host = serving.url.removeprefix("http://")
            assert imgmove.repos(host) == ["team/app"]
            assert len(serving.faults) == faults
            if not faults:
                for image in both:
                    imgmove.verify(f"{host}/{image.partition(':')[2].partition(':')[2]}", image, session=session)
    with pytest.raises(imgmove.ImgmoveError, match="served together"), imgmove.serve([layout, made.paths[0]]):
        pass


def test_what_is_refused(session: imgmove.Session, layout: str, tmp_path: Path) -> None:
    with pytest.raises(imgmove.ImgmoveError, match="needs --volume-size"):
        imgmove.CreateBundleOptions(volume=1)
    imgmove.make_keys(str(tmp_path / "locked"), b"open sesame")
    with pytest.raises(imgmove.ImgmoveError, match="is encrypted"):
        imgmove.read_signing_key(str(tmp_path / "locked.key"))
    with pytest.raises(imgmove.ImgmoveError, match="can't be"):
        imgmove.create_bundle(
            f"{layout}:team/app:1", "-", imgmove.CreateBundleOptions(volume_size=10_000), session=session
        )
    with pytest.raises(imgmove.ImgmoveError, match="not a bundle"):
        imgmove.verify_bundle(str(tmp_path / "locked.key"), session=session)
