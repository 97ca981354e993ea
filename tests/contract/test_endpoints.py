"""One contract for every place: what is put can be had again, and nothing shows before it is whole.

A new endpoint is one line in `PLACES`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from imgmove.endpoints.factory import Endpoints
from imgmove.errors import ImgmoveError, NotFound
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.location_grammar import parse_location
from imgmove.ports import (
    BlobWriter,
    Destination,
    ImageLister,
    LastingDestination,
    NamedImage,
    NameResolver,
    Outline,
    OutlinedDestination,
    ReferrerLister,
    SequentialDestination,
    Source,
    TagLister,
    read_all,
)
from imgmove.settings import Settings
from imgmove.streams import BytesReader
from tests.images import BuiltImage, build_artifact, build_image, build_index
from tests.quirks import RegistryServer
from tests.real.sshd import RealSshd

BLOB = random.Random(3).randbytes(300_000)


@dataclass(frozen=True)
class Place:
    """A kind of place, and how to open a new one twice: to write, and then to read."""

    location: Callable[[Path, RegistryServer], str]
    name: str = "app:1"
    is_remote: bool = False


PLACES = {
    "layout": Place(lambda folder, _: f"oci:{folder / 'layout'}"),
    "archive": Place(lambda folder, _: f"oci-archive:{folder / 'x.tar'}"),
    "compressed archive": Place(lambda folder, _: f"oci-archive:{folder / 'x.tar.gz'}"),
    "bundle": Place(lambda folder, _: f"bundle:{folder / 'x.bundle'}"),
    "registry": Place(lambda _, server: f"{server.host}/team/app", name="1"),
    "layout over SSH": Place(lambda folder, _: f"oci+ssh://HOST{folder / 'layout'}", is_remote=True),
    "archive over SSH": Place(lambda folder, _: f"oci-archive+ssh://HOST{folder / 'x.tar'}", is_remote=True),
    "compressed archive over SSH": Place(
        lambda folder, _: f"docker-archive+ssh://HOST{folder / 'x.tar.gz'}", is_remote=True
    ),
}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    return PLACES[request.param]


@dataclass
class Opener:
    """Opens the place of one test."""

    text: str
    settings: Settings
    stack: ExitStack

    def to_write(self) -> Destination:
        endpoints = self._endpoints()
        opened = endpoints.destination(endpoints.shaped(parse_location(self.text)))
        assert isinstance(opened, Destination)
        return opened

    def to_read(self) -> Source:
        endpoints = self._endpoints()
        return endpoints.source(endpoints.looked_up(parse_location(self.text)))

    def _endpoints(self) -> Endpoints:
        return self.stack.enter_context(closing(Endpoints(self.settings)))


@pytest.fixture
def opener(
    place: Place, tmp_path: Path, registry: RegistryServer, settings: Settings, request: pytest.FixtureRequest
) -> Iterator[Opener]:
    text = place.location(tmp_path, registry)
    if place.is_remote:
        sshd: RealSshd = request.getfixturevalue("sshd")
        text, settings = text.replace("HOST", sshd.host), sshd.settings(settings)
    with ExitStack() as stack:
        yield Opener(text, settings, stack)


def put(destination: Destination, images: list[tuple[BuiltImage, tuple[str, ...]]]) -> None:
    """As the engine does it: the outline first, then blobs, then manifests."""
    contents = {digest: content for image, _ in images for digest, content in image.blobs.items()}
    blobs = {digest: Descriptor(media_types.OCTET_STREAM, digest, len(content)) for digest, content in contents.items()}
    if isinstance(destination, OutlinedDestination):
        nodes = {node.descriptor.digest: node for image, _ in images for node in image.nodes}
        roots = [NamedImage(image.root, names) for image, names in images]
        destination.begin(Outline(tuple(blobs.values()), tuple(nodes.values()), tuple(roots), is_whole=True))
    order = destination.order() if isinstance(destination, SequentialDestination) else blobs.values()
    for descriptor in order:
        writer = destination.put_blob(descriptor)
        assert writer.resume() == 0
        writer.write(BytesReader(contents[descriptor.digest]))
        writer.commit(descriptor)
        writer.abort()
    for image, names in images:
        for node in image.nodes:
            is_root = node is image.nodes[-1]
            destination.put_manifest(
                node.content, node.media_type, (names or (str(image.root.digest),)) if is_root else ()
            )
    if isinstance(destination, OutlinedDestination):
        destination.finish()
    destination.close()


def read(source: Source, descriptor: Descriptor, offset: int = 0) -> bytes:
    with closing(source.open(descriptor, offset)) as reader:
        return b"".join(iter(lambda: reader.read(70_000), b""))


def finish(writer: BlobWriter, content: bytes, descriptor: Descriptor) -> None:
    writer.write(BytesReader(content))
    writer.commit(descriptor)


def test_what_is_put_can_be_had(opener: Opener, place: Place) -> None:
    image = build_index("linux/amd64", "linux/arm64", attested=True)
    put(opener.to_write(), [(image, (place.name,))])
    with closing(opener.to_read()) as source:
        assert source.resolve(place.name) == image.root
        assert source.resolve(str(image.root.digest)) == image.root
        for node in image.nodes:
            assert read(source, node.descriptor) == node.content
        for digest, content in image.blobs.items():
            descriptor = Descriptor(media_types.OCTET_STREAM, digest, len(content))
            assert read(source, descriptor) == content
            assert read(source, descriptor, len(content) // 2) == content[len(content) // 2 :]
            assert read(source, descriptor, 1) == content[1:]


def test_what_is_not_there(opener: Opener, place: Place) -> None:
    put(opener.to_write(), [(build_image(), (place.name,))])
    absent = Digest.of(b"absent")
    with closing(opener.to_read()) as source:
        for name in ("none", str(absent)):
            with pytest.raises(NotFound):
                source.resolve(name)
        for kind in (media_types.OCTET_STREAM, media_types.OCI_MANIFEST):
            with pytest.raises(NotFound):
                read(source, Descriptor(kind, absent, 10))


def test_names_are_listed(opener: Opener, place: Place) -> None:
    one, two = build_image(), build_image([{"two": b"2"}])
    other = "2" if place.name == "1" else "other:2"
    put(opener.to_write(), [(one, (place.name,)), (two, (other,))])
    with closing(opener.to_read()) as source:
        if isinstance(source, TagLister):
            assert sorted(source.tags()) == sorted([place.name, other])
        else:
            assert isinstance(source, ImageLister)
            assert [(image.descriptor, image.names) for image in source.images()] == [
                (one.root, (place.name,)),
                (two.root, (other,)),
            ]


def test_referrers_are_found(opener: Opener, place: Place) -> None:
    image = build_image()
    sbom, signature = build_artifact(image.root), build_artifact(None, "application/x-signature")
    tag = f"sha256-{image.root.digest.hex}.sig"
    put(opener.to_write(), [(image, (place.name,)), (sbom, ()), (signature, (tag,))])
    with closing(opener.to_read()) as source:
        assert isinstance(source, ReferrerLister)
        found = {item.descriptor.digest: item.names for item in source.referrers(image.root.digest)}
        assert found == {sbom.root.digest: (), signature.root.digest: (tag,)}
        assert not source.referrers(sbom.root.digest)
        if isinstance(source, ImageLister):
            assert [item.descriptor for item in source.images()] == [image.root], "referrers are no images"


def test_what_is_there_is_known(opener: Opener, place: Place) -> None:
    image = build_image([{"big": BLOB}])
    put(opener.to_write(), [(image, (place.name,))])
    destination = opener.to_write()
    if isinstance(destination, OutlinedDestination):
        pytest.skip("an archive is written anew")
    for digest, content in image.blobs.items():
        assert destination.has(Descriptor(media_types.OCTET_STREAM, digest, len(content)))
        assert not destination.has(Descriptor(media_types.OCTET_STREAM, Digest.of(b"other"), len(content)))
        assert not destination.has(Descriptor(media_types.OCTET_STREAM, digest, len(content) + 1)), "a part is not it"
    assert destination.has(image.root)
    assert isinstance(destination, NameResolver)
    found = destination.find(place.name)
    assert found is not None
    assert found.digest == image.root.digest
    assert destination.find("none") is None


def test_a_name_moves_on(opener: Opener, place: Place) -> None:
    if isinstance(opener.to_write(), OutlinedDestination):
        pytest.skip("an archive is written anew")
    one, two = build_image(), build_image([{"two": b"2"}])
    put(opener.to_write(), [(one, (place.name,))])
    put(opener.to_write(), [(two, (place.name,))])
    with closing(opener.to_read()) as source:
        assert source.resolve(place.name) == two.root
        assert source.resolve(str(one.root.digest)).digest == one.root.digest


def test_nothing_shows_before_it_is_whole(opener: Opener, tmp_path: Path) -> None:
    blob = Descriptor.of(BLOB, media_types.OCTET_STREAM)
    destination = opener.to_write()
    if isinstance(destination, OutlinedDestination):
        destination.begin(Outline((blob,), (), (), is_whole=True))
    writer = destination.put_blob(blob)
    writer.resume()
    with pytest.raises(ImgmoveError):
        finish(writer, BLOB[:1000], blob)
    writer.abort()
    destination.close()
    again = opener.to_write()
    if not isinstance(again, OutlinedDestination):
        assert not again.has(blob)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.name not in ("oci-layout", "log")]
    assert left == []


def test_content_that_is_too_long_is_not_taken(opener: Opener) -> None:
    descriptor = Descriptor.of(b"short", media_types.OCTET_STREAM)
    destination = opener.to_write()
    if isinstance(destination, OutlinedDestination):
        destination.begin(Outline((descriptor,), (), (), is_whole=True))
    writer = destination.put_blob(descriptor)
    writer.resume()
    with pytest.raises(ImgmoveError):
        finish(writer, b"much longer than short", descriptor)
    writer.abort()
    destination.close()


def test_the_only_image_needs_no_name(opener: Opener, place: Place) -> None:
    image = build_image()
    put(opener.to_write(), [(image, (place.name,))])
    with closing(opener.to_read()) as source:
        if isinstance(source, ImageLister):
            assert source.resolve("") == image.root


def test_a_root_without_a_name(opener: Opener) -> None:
    image = build_index("linux/amd64")
    put(opener.to_write(), [(image, ())])
    with closing(opener.to_read()) as source:
        assert source.resolve(str(image.root.digest)) == image.root
        if isinstance(source, ImageLister):
            assert [(item.descriptor, item.names) for item in source.images()] == [(image.root, ())]


IMAGE = build_image([{"big": BLOB}])
LAYER = IMAGE.nodes[0].children[1]
CONTENT = IMAGE.blobs[LAYER.digest]


def begin(destination: Destination, name: str) -> LastingDestination:
    if isinstance(destination, OutlinedDestination):
        roots = (NamedImage(IMAGE.root, (name,)),)
        destination.begin(Outline(IMAGE.nodes[0].children, IMAGE.nodes, roots, is_whole=True))
    if not isinstance(destination, LastingDestination):
        pytest.skip("nothing of a blob lasts there")
    return destination


def test_what_came_of_a_blob_lasts(opener: Opener, place: Place, tmp_path: Path) -> None:
    for size in (0, 100_000, 250_000):
        destination = opener.to_write()
        writer = begin(destination, place.name).resume_blob(LAYER)
        held = writer.resume()
        assert held <= size
        assert read_all(writer.reread(), len(CONTENT)) == CONTENT[:held]
        writer.write(BytesReader(CONTENT[held:size]))
        writer.keep()
        destination.close()
        assert not opener.to_write().has(LAYER)
    destination = opener.to_write()
    lasting = begin(destination, place.name)
    for child in IMAGE.nodes[0].children:
        writer = lasting.resume_blob(child)
        held = writer.resume()
        assert held == (250_000 if child == LAYER else 0)
        finish(writer, IMAGE.blobs[child.digest][held:], child)
        writer.keep()
        writer.abort()
    destination.put_manifest(IMAGE.nodes[0].content, IMAGE.nodes[0].media_type, (place.name,))
    if isinstance(destination, OutlinedDestination):
        destination.finish()
    destination.close()
    with closing(opener.to_read()) as source:
        assert source.resolve(place.name) == IMAGE.root
        assert read(source, LAYER) == CONTENT
    assert not list(tmp_path.rglob(".imgmove-*"))


def test_what_is_forgotten_is_begun_anew(opener: Opener, place: Place, tmp_path: Path) -> None:
    destination = opener.to_write()
    lasting = begin(destination, place.name)
    for _ in range(2):
        writer = lasting.resume_blob(LAYER)
        assert writer.resume() == 0
        writer.write(BytesReader(CONTENT[:100_000]))
        writer.abort()
    destination.close()
    assert not list(tmp_path.rglob(".imgmove-*")), "what nobody could finish is not kept"


def test_a_blob_that_somebody_else_brought(opener: Opener, place: Place) -> None:
    if isinstance(opener.to_write(), OutlinedDestination):
        pytest.skip("an archive has one writer")
    finish(begin(opener.to_write(), place.name).resume_blob(LAYER), CONTENT, LAYER)
    writer = begin(opener.to_write(), place.name).resume_blob(LAYER)
    assert writer.resume() == len(CONTENT)
    with closing(writer.reread()) as reader:
        assert read_all(reader, len(CONTENT)) == CONTENT
    writer.write(BytesReader(b""))
    writer.commit(LAYER)
    writer.keep()
    writer.abort()
    assert opener.to_write().has(LAYER)
