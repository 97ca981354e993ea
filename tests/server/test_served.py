"""The registry over any source or destination."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from imgmove.errors import NetworkError, NotFound
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.ports import NamedImage, Reader
from imgmove.server import FixedRepositories, HttpServer, MemoryRepositories, Registry, Repository
from imgmove.server.memory import MemoryRepository
from imgmove.server.served import PushableRepository, SourceRepository
from tests.quirks import RegistryServer
from tests.server.client import Answer, call, finish_upload

LAYER = b"a layer of the image"


class BareSource:
    """A source that can do nothing but what all can."""

    def __init__(self, repository: MemoryRepository) -> None:
        self.repository = repository
        self.opened: list[Digest] = []

    def resolve(self, name: str) -> Descriptor:
        return self.repository.resolve(name)

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        self.opened.append(descriptor.digest)
        return self.repository.open(descriptor, offset)

    def close(self) -> None:
        raise AssertionError("it is not ours to close")


class ListedSource(BareSource):
    """A source that also lists its images, as layouts and archives do."""

    def images(self) -> Sequence[NamedImage]:
        return [NamedImage(self.repository.resolve(tag), (tag,)) for tag in self.repository.tags()]


@pytest.fixture
def content(registry: RegistryServer) -> RegistryServer:
    """A place with an index over two images."""
    children = [registry.put_image("x", layers=[LAYER, bytes([n])]) for n in range(2)]
    registry.put_index("x", "all", manifests=children)
    return registry


@pytest.fixture
def repository(content: RegistryServer) -> MemoryRepository:
    return content.storage.make("x")


@contextmanager
def serving(repository: Repository) -> Iterator[HttpServer]:
    with HttpServer(Registry(FixedRepositories({"served/here": repository}))) as server:
        yield server


def ask(server: HttpServer, path: str, method: str = "GET") -> Answer:
    return call(server, method, f"/v2/served/here/{path}")


@pytest.mark.parametrize("kind", [BareSource, ListedSource])
def test_an_image_is_pulled_from_its_index_down(repository: MemoryRepository, kind: type[BareSource]) -> None:
    with serving(SourceRepository(kind(repository))) as server:
        index = ask(server, "manifests/all")
        for child in index.document["manifests"]:
            manifest = ask(server, f"manifests/{child['digest']}").document
            for blob in [manifest["config"], *manifest["layers"]]:
                answer = ask(server, f"blobs/{blob['digest']}")
                assert str(Digest.of(answer.body)) == blob["digest"]


def test_a_blob_is_found_before_its_manifest_was_asked_for(repository: MemoryRepository) -> None:
    source = ListedSource(repository)
    with serving(SourceRepository(source)) as server:
        assert ask(server, f"blobs/{Digest.of(LAYER)}").body == LAYER
        assert ask(server, f"blobs/{Digest.of(b'absent')}").status == 404
        manifests = [digest for digest in source.opened if digest != Digest.of(LAYER)]
        assert len(manifests) == len(set(manifests)) == 3


def test_tags_and_names(repository: MemoryRepository) -> None:
    with serving(SourceRepository(ListedSource(repository))) as server:
        assert ask(server, "tags/list").document["tags"] == ["all"]
        assert call(server, "GET", "/v2/_catalog").document == {"repositories": ["served/here"]}
    with serving(SourceRepository(repository)) as server:
        assert ask(server, "tags/list").document["tags"] == ["all"]
    with serving(SourceRepository(BareSource(repository))) as server:
        assert ask(server, "tags/list").document["tags"] == []


def test_referrers_are_the_sources(content: RegistryServer, repository: MemoryRepository) -> None:
    subject = repository.resolve("all")
    config = content.put_blob("x", b"{}", media_types.OCI_EMPTY)
    from imgmove.model.manifest import make_manifest, to_json_bytes

    bare = make_manifest(media_types.OCI_MANIFEST, config, []).content
    signature = bare[:-1] + b',"subject":' + to_json_bytes(subject.to_json()) + b"}"
    content.put_manifest("x", signature, media_types.OCI_MANIFEST)
    with serving(SourceRepository(repository)) as server:
        found = ask(server, f"referrers/{subject.digest}").document["manifests"]
        assert [entry["digest"] for entry in found] == [str(Digest.of(signature))]
    with serving(SourceRepository(BareSource(repository))) as server:
        assert ask(server, f"referrers/{subject.digest}").document["manifests"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "blobs/uploads/"),
        ("PUT", "manifests/new"),
        ("DELETE", "manifests/all"),
        ("DELETE", f"blobs/{Digest.of(LAYER)}"),
    ],
)
def test_a_source_takes_nothing(repository: MemoryRepository, method: str, path: str) -> None:
    with serving(SourceRepository(repository)) as server:
        answer = ask(server, path, method)
        assert (answer.status, answer.code) == (405, "UNSUPPORTED")
        assert ask(server, "manifests/all").status == 200


def test_a_repository_that_nobody_chose_does_not_come_to_be(repository: MemoryRepository) -> None:
    with serving(PushableRepository(repository, repository)) as server:
        assert call(server, "POST", "/v2/another/blobs/uploads/").status == 405


def test_a_push(repository: MemoryRepository) -> None:
    with serving(PushableRepository(BareSource(repository), repository)) as server:
        blob = b"pushed"
        location = ask(server, "blobs/uploads/", "POST").headers["Location"]
        assert finish_upload(server, location, Digest.of(blob), blob).status == 201
        assert ask(server, f"blobs/{Digest.of(blob)}").body == blob
        content = ask(server, "manifests/all").body
        answer = call(server, "PUT", "/v2/served/here/manifests/new", content)
        assert answer.status == 201
        assert ask(server, "manifests/new").body == content


def test_a_hole_in_the_source_spoils_only_itself() -> None:
    store = MemoryRepositories().make("x")
    hole = Descriptor(media_types.OCI_MANIFEST, Digest.of(b"gone"), 4)
    from imgmove.model.manifest import make_index

    store.put_manifest(make_index(media_types.OCI_INDEX, [hole]).content, media_types.OCI_INDEX, ["holed"])
    store.put_manifest(b"no manifest", media_types.OCI_MANIFEST, ["broken"])
    with serving(SourceRepository(ListedSource(store))) as server:
        assert ask(server, "manifests/holed").status == 200
        assert ask(server, "manifests/broken").body == b"no manifest"
        assert ask(server, f"manifests/{hole.digest}").status == 404
        assert ask(server, f"blobs/{hole.digest}").status == 404


@pytest.mark.parametrize(("error", "status"), [(NetworkError("gone"), 502), (NotFound("none"), 404)])
def test_errors_of_the_source_become_the_specs(repository: MemoryRepository, error: Exception, status: int) -> None:
    class Failing(ListedSource):
        def images(self) -> Sequence[NamedImage]:
            raise error

    with serving(SourceRepository(Failing(repository))) as server:
        answer = ask(server, f"blobs/{Digest.of(LAYER)}")
        assert (answer.status, bool(answer.code)) == (status, True)
