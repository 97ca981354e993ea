"""Pipes: one pass, pieces that can be sent again, and what can't be done with them."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.factory import Endpoints
from imgmove.endpoints.layout import Layout
from imgmove.endpoints.layout_reader import blob_path
from imgmove.errors import ContentError, NotFound, Truncated, UsageError
from imgmove.model.location_grammar import parse_location
from imgmove.settings import Settings
from imgmove.stages.copy import copy
from imgmove.stages.report import CopyReport
from imgmove.wire.files import LocalFiles
from tests.endpoints.archive.tars import Item, layout_items, tar_with
from tests.images import build_artifact, build_image, docker_archive
from tests.quirks import Drop, Quirks, RegistryServer

BIG = random.Random(11).randbytes(9 << 20)
Factory = Callable[..., RegistryServer]


@pytest.fixture
def quick(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose retries do not wait."""
    from imgmove.engine.run import RetryPolicy

    monkeypatch.setattr(RetryPolicy, "delay", lambda *_: 0.0)
    return replace(settings, retries=4)


@pytest.fixture
def old_archive(tmp_path: Path) -> Path:
    docker_archive(tmp_path / "old.tar", build_image([{"big": BIG}, {"small": b"x"}]))
    return tmp_path / "old.tar"


@pytest.fixture
def new_archive(tmp_path: Path, settings: Settings) -> Path:
    image = build_image([{"big": BIG}, {"small": b"x"}])
    layout = Layout.writable(LocalFiles(), str(tmp_path / "layout"))
    image.put(layout, "app:1")
    build_artifact(image.root).put(layout)
    with imgmove.Session(settings) as session:
        imgmove.save(f"oci:{tmp_path / 'layout'}:app:1", str(tmp_path / "new.tar"), session=session).raise_failures()
    return tmp_path / "new.tar"


def piped(
    settings: Settings,
    content: Path,
    target: str,
    options: imgmove.CopyOptions | None = None,
    output: io.BytesIO | None = None,
) -> CopyReport:
    with imgmove.Session(settings) as session, content.open("rb") as stream:
        session.endpoints = Endpoints(settings, stdin=stream, stdout=output)
        return copy(session, [parse_location("-")], [parse_location(target)], options)


def test_a_pipe_that_is_cut_off_fails_where_all_is_there_too(
    quick: Settings, new_archive: Path, tmp_path: Path
) -> None:
    place = f"oci:{tmp_path / 'out'}:app:1"
    piped(quick, new_archive, place).raise_failures()
    (tmp_path / "cut.tar").write_bytes(new_archive.read_bytes()[: 4 << 20])
    with pytest.raises(Truncated, match="ends in the middle of"):
        piped(quick, tmp_path / "cut.tar", place)


def test_what_was_a_pipe_is_not_called_by_its_temporary_file(
    quick: Settings, registry: RegistryServer, new_archive: Path, tmp_path: Path
) -> None:
    prefix = f"{registry.host}/"
    assert [image.source for image in piped(quick, new_archive, prefix).images] == ["-"]
    (tmp_path / "cut.tar").write_bytes(new_archive.read_bytes()[: 4 << 20])
    with pytest.raises(Truncated, match=r"^source: the pipe ends in the middle of"):
        piped(quick, tmp_path / "cut.tar", prefix)


@pytest.mark.parametrize("which", ["old", "new"])
def test_a_broken_piece_is_sent_again(
    which: str, quick: Settings, registry_factory: Factory, old_archive: Path, new_archive: Path
) -> None:
    archive = old_archive if which == "old" else new_archive
    broken = registry_factory(Quirks(drops=(Drop("PATCH upload", 1 << 20, 3, "upload"),)))
    whole = registry_factory()
    one = piped(quick, archive, f"{broken.host}/app:1").images[0]
    two = piped(quick, archive, f"{whole.host}/app:1").images[0]
    assert one.digest == two.digest
    with imgmove.Session(quick) as session:
        imgmove.verify(f"{broken.host}/app:1", f"{whole.host}/app:1", session=session).raise_differences()
        assert len(imgmove.inspect(f"{broken.host}/app:1", session=session).referrers) == (which == "new")


def test_a_piece_too_large_is_cut_up(quick: Settings, registry_factory: Factory, old_archive: Path) -> None:
    server, whole = registry_factory(Quirks(largest_request=3 << 20)), registry_factory()
    one = piped(quick, old_archive, f"{server.host}/app:1").images[0]
    assert one.digest == piped(quick, old_archive, f"{whole.host}/app:1").images[0].digest
    assert max(exchange.received for exchange in server.log if exchange.status < 400) <= 3 << 20


def test_pieces_are_small(quick: Settings, registry: RegistryServer, new_archive: Path) -> None:
    piped(quick, new_archive, f"{registry.host}/app:1")
    sizes = [exchange.received for exchange in registry.log if exchange.method == "PATCH"]
    assert max(sizes) <= 8 << 20
    assert len(sizes) >= 2


def test_blobs_that_are_there_are_read_past(quick: Settings, registry: RegistryServer, new_archive: Path) -> None:
    first = piped(quick, new_archive, f"{registry.host}/app:1").totals
    registry.forget()
    again = piped(quick, new_archive, f"{registry.host}/app:2").totals
    assert registry.received("* upload") == 0
    assert (again.blobs_sent, again.bytes_sent) == (0, 0)
    assert (again.blobs_present, again.bytes_present) == (first.blobs_sent, first.bytes_sent)


@pytest.mark.parametrize("which", ["old", "new"])
def test_what_was_sent_is_counted(
    which: str, quick: Settings, registry: RegistryServer, old_archive: Path, new_archive: Path
) -> None:
    report = piped(quick, old_archive if which == "old" else new_archive, f"{registry.host}/app:1")
    (image,) = report.images
    assert image.size == image.bytes_sent == report.totals.bytes_sent == registry.received("* upload")
    assert image.referrers == (which == "new"), "signatures and the like came along"
    assert report.totals.blobs_sent == (5 if which == "new" else 3)
    assert report.totals.blobs_present == 0


def test_what_is_converted_on_the_way_is_counted_as_it_was_sent(
    quick: Settings, registry: RegistryServer, old_archive: Path
) -> None:
    piped(quick, old_archive, f"{registry.host}/app:gzip")
    before = registry.received("* upload")
    report = piped(quick, old_archive, f"{registry.host}/app:zstd", imgmove.CopyOptions(compression="zstd"))
    assert report.images[0].bytes_sent == report.totals.bytes_sent == registry.received("* upload") - before
    assert report.totals.blobs_sent == 2
    assert report.images[0].size == report.totals.bytes_sent + report.totals.bytes_present, "the config was there"


def test_from_pipe_to_pipe(quick: Settings, new_archive: Path, old_archive: Path, tmp_path: Path) -> None:
    output = io.BytesIO()
    report = piped(quick, new_archive, "-", output=output)
    (tmp_path / "out.tar").write_bytes(output.getvalue())
    with imgmove.Session(quick) as session:
        (image,) = imgmove.verify(str(tmp_path / "out.tar"), session=session).images
        assert image.verified.root.digest == report.images[0].digest
        assert imgmove.tags(str(tmp_path / "out.tar"), session=session) == imgmove.tags(
            str(new_archive), session=session
        )
    with pytest.raises(UsageError, match="another pipe"):
        piped(quick, old_archive, "-", output=io.BytesIO())
    with pytest.raises(UsageError, match="another pipe"):
        piped(quick, new_archive, "-", imgmove.CopyOptions(compression="zstd"), output=io.BytesIO())


@pytest.mark.parametrize("target", ["registry", "oci:{}/out", "{}/out.tar"])
def test_converting_out_of_a_pipe(
    target: str, quick: Settings, registry: RegistryServer, new_archive: Path, tmp_path: Path
) -> None:
    place = f"{registry.host}/app:1" if target == "registry" else target.format(tmp_path)
    options = imgmove.CopyOptions(compression="zstd", referrers=False)
    from_pipe = piped(quick, new_archive, place, options).images[0].digest
    with imgmove.Session(quick) as session:
        from_file = (
            imgmove.copy(str(new_archive), f"oci:{tmp_path / 'file'}", options, session=session).images[0].digest
        )
        assert from_pipe == from_file
        imgmove.verify(place, session=session)


def test_converting_into_a_pipe(quick: Settings, new_archive: Path, tmp_path: Path) -> None:
    output = io.BytesIO()
    with imgmove.Session(quick) as session:
        session.endpoints = Endpoints(quick, stdout=output)
        options = imgmove.CopyOptions(compression="none")
        copy(session, [parse_location(str(new_archive))], [parse_location("-")], options).raise_failures()
    (tmp_path / "out.tar").write_bytes(output.getvalue())
    with imgmove.Session(quick) as session:
        assert imgmove.inspect(str(tmp_path / "out.tar"), session=session).layers[0].media_type.endswith(".tar")
        imgmove.verify(str(tmp_path / "out.tar"), session=session)


def test_several_images_and_no_name_for_each(quick: Settings, tmp_path: Path, new_archive: Path) -> None:
    build_image([{"other": b"y"}]).put(Layout.writable(LocalFiles(), str(tmp_path / "layout")), "other:1")
    with imgmove.Session(quick) as session:
        imgmove.load(f"oci:{tmp_path / 'layout'}", str(tmp_path / "two.tar"), session=session).raise_failures()
    with pytest.raises(UsageError, match="2 images"):
        piped(quick, tmp_path / "two.tar", f"oci:{tmp_path / 'out'}:one")
    assert not (tmp_path / "out" / "index.json").exists()


@pytest.mark.parametrize("target", ["oci:{}/out:app:1", "{}/out.tar"])
def test_a_pipe_without_an_image(quick: Settings, tmp_path: Path, target: str) -> None:
    (tmp_path / "empty.tar").write_bytes(tar_with(Item("manifest.json", b"[]")))
    with pytest.raises(NotFound, match="no image"):
        piped(quick, tmp_path / "empty.tar", target.format(tmp_path))
    assert not (tmp_path / "out.tar").exists()


def test_what_needs_a_second_look_is_refused(quick: Settings, new_archive: Path, tmp_path: Path) -> None:
    from imgmove.model.platform import Platform

    for options in (imgmove.CopyOptions(platforms=(Platform("linux", "amd64"),)), imgmove.CopyOptions(dry_run=True)):
        with pytest.raises(UsageError, match="pipe"):
            piped(quick, new_archive, f"oci:{tmp_path / 'out'}", options)


@pytest.mark.parametrize("which", ["docker 20", "docker 26", "imgmove"])
def test_a_pipe_needs_no_temporary_files(
    which: str,
    quick: Settings,
    registry: RegistryServer,
    old_archive: Path,
    new_archive: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    archive = {"docker 20": old_archive, "imgmove": new_archive, "docker 26": tmp_path / "docker26.tar"}[which]
    (tmp_path / "docker26.tar").write_bytes(tar_with(*layout_items(build_image([{"big": BIG}]), "app:1")))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert piped(quick, archive, f"{registry.host}/app:1").images[0].status == "copied"
    made = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert {path.name for path in made} <= {"knowledge.sqlite"}


@pytest.mark.parametrize("which", ["layer", "manifest"])
@pytest.mark.parametrize("is_there", [False, True])
def test_another_copy_of_a_blob_must_be_the_same(
    which: str, is_there: bool, quick: Settings, registry: RegistryServer, tmp_path: Path
) -> None:
    image = build_image([{"a": BIG[:300_000]}])
    node = image.nodes[0]
    layer = node.children[1].digest
    content = node.content if which == "manifest" else image.blobs[layer]
    name = blob_path(node.descriptor.digest if which == "manifest" else layer)
    parts = list(layout_items(image, "app:1"))
    if is_there:
        (tmp_path / "first.tar").write_bytes(tar_with(*parts))
        piped(quick, tmp_path / "first.tar", f"{registry.host}/app:1").raise_failures()
    (tmp_path / "same.tar").write_bytes(tar_with(*parts[:-2], Item(name, content), *parts[-2:]))
    piped(quick, tmp_path / "same.tar", f"{registry.host}/app:1").raise_failures()
    for wrong in (content.replace(b"a", b"b", 1), content[:-1]):
        (tmp_path / "wrong.tar").write_bytes(tar_with(*parts[:-2], Item(name, wrong), *parts[-2:]))
        with pytest.raises(ContentError):
            piped(quick, tmp_path / "wrong.tar", f"{registry.host}/app:2")
        assert "2" not in registry.storage.make("app").tags()
