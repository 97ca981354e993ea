"""Manifests that go by sha512 keep that name wherever the other side can give it to them."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.factory import Endpoints
from imgmove.endpoints.layout import Layout
from imgmove.errors import NotFound
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import make_index
from imgmove.settings import Settings
from imgmove.wire.files import LocalFiles
from tests.images import build_image
from tests.quirks import Quirks, RegistryServer

ALGORITHM = "sha512"


@pytest.fixture
def source(tmp_path: Path) -> tuple[str, Digest, Digest]:
    """A layout with an image that goes by sha512 in an index that does, and what they are called."""
    return make_source(tmp_path / "in")


def make_source(folder: Path) -> tuple[str, Digest, Digest]:
    layout = Layout.writable(LocalFiles(), str(folder))
    image = build_image()
    image.put(layout, "plain:1")
    (node,) = image.nodes
    child = Descriptor.of(node.content, node.media_type, ALGORITHM)
    layout.put_manifest(node.content, node.media_type, (), algorithm=ALGORITHM)
    index = make_index(media_types.OCI_INDEX, [child])
    layout.put_manifest(index.content, index.media_type, ("app:1",), algorithm=ALGORITHM)
    return f"oci:{folder}:app:1", Digest.of(index.content, ALGORITHM), child.digest


@pytest.fixture
def session(settings: Settings) -> Iterator[imgmove.Session]:
    with imgmove.Session(settings) as session:
        yield session


def test_every_hop_keeps_it(
    source: tuple[str, Digest, Digest], session: imgmove.Session, tmp_path: Path, registry: RegistryServer
) -> None:
    start, root, child = source
    route = [
        start,
        f"{registry.host}/app:1",
        f"oci-archive:{tmp_path / 'a.tar'}:app:1",
        f"docker-archive:{tmp_path / 'b.tar'}:app:1",
        f"{registry.host}/again:1",
        f"oci:{tmp_path / 'out'}:app:1",
    ]
    for origin, target in itertools.pairwise(route):
        report = imgmove.copy(origin, target, session=session)
        report.raise_failures()
        assert report.images[0].digest == root, target
        assert not imgmove.verify(start, target, session=session).differences
    for digest in (root, child):
        assert (tmp_path / "out" / "blobs" / ALGORITHM / digest.hex).is_file()
        assert imgmove.inspect(f"{registry.host}/app@{digest}", session=session).root.digest == digest


def test_without_a_name(source: tuple[str, Digest, Digest], session: imgmove.Session, tmp_path: Path) -> None:
    _, _, child = source
    report = imgmove.copy(f"oci:{tmp_path / 'in'}@{child}", f"oci:{tmp_path / 'out'}", session=session)
    report.raise_failures()
    listed = json.loads((tmp_path / "out" / "index.json").read_bytes())["manifests"]
    assert [entry["digest"] for entry in listed] == [str(child)]


def test_a_pipe_keeps_it(
    source: tuple[str, Digest, Digest],
    session: imgmove.Session,
    settings: Settings,
    tmp_path: Path,
    registry: RegistryServer,
) -> None:
    start, root, _ = source
    imgmove.copy(start, f"oci-archive:{tmp_path / 'a.tar'}:app:1", session=session).raise_failures()
    session.endpoints = Endpoints(settings, stdin=io.BytesIO((tmp_path / "a.tar").read_bytes()))
    report = imgmove.copy("-", f"{registry.host}/piped:1", session=session)
    report.raise_failures()
    assert imgmove.inspect(f"{registry.host}/piped:1", session=session).root.digest == root
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert f"blobs/{ALGORITHM}/{root.hex}" in archive.getnames()


def test_a_second_run_has_nothing_to_do(
    source: tuple[str, Digest, Digest], session: imgmove.Session, registry: RegistryServer
) -> None:
    start, _, _ = source
    imgmove.copy(start, f"{registry.host}/app:1", session=session)
    before = registry.count("PUT manifest")
    imgmove.copy(start, f"{registry.host}/app:1", session=session).raise_failures()
    assert registry.count("PUT manifest") == before


def test_a_registry_that_has_no_such_names_says_so(
    source: tuple[str, Digest, Digest], session: imgmove.Session, registry_factory: Callable[..., RegistryServer]
) -> None:
    server = registry_factory(Quirks(sha512=False))
    start, _, _ = source
    report = imgmove.copy(start, f"{server.host}/app:1", session=session)
    assert report.images[0].error is not None
    assert report.images[0].error.exit_status == 1
    assert "takes no manifest named by sha512" in report.images[0].error.message
    with pytest.raises(NotFound):
        imgmove.inspect(f"{server.host}/app:1", session=session)
