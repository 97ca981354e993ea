"""The repositories in memory, beyond what the contract of endpoints asks."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from imgmove.errors import LocalError, NotFound
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.ports import (
    BlobMounter,
    BlobWriter,
    Deleter,
    Destination,
    NameResolver,
    ReferrerLister,
    Source,
    TagLister,
)
from imgmove.server.memory import MemoryRepositories, MemoryRepository
from imgmove.server.repositories import BlobDeleter, RepositoryMaker
from imgmove.streams import BytesReader

SMALL, LARGE = b"small", b"large " * 1000


@pytest.fixture
def store(tmp_path: Path) -> MemoryRepositories:
    return MemoryRepositories(tmp_path, largest_in_memory=1000)


def put(repository: MemoryRepository, content: bytes) -> Descriptor:
    descriptor = Descriptor.of(content, media_types.OCTET_STREAM)
    writer = repository.put_blob(descriptor)
    for first in range(0, len(content), 700):
        assert writer.resume() == first
        writer.write(BytesReader(content[first : first + 700]))
    writer.commit(descriptor)
    writer.abort()
    return descriptor


def get(repository: MemoryRepository, descriptor: Descriptor, offset: int = 0) -> bytes:
    with closing(repository.open(descriptor, offset)) as reader:
        return reader.read()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_repository_can_do_all_that_ports_ask(store: MemoryRepositories) -> None:
    repository = store.make("a")
    for port in (Source, Destination, TagLister, ReferrerLister, NameResolver, BlobMounter, Deleter, BlobDeleter):
        assert isinstance(repository, port)
    assert isinstance(store, RepositoryMaker)


@pytest.mark.parametrize("content", [b"", SMALL, b"x" * 1000, b"x" * 1001, LARGE])
def test_what_is_put_can_be_read_from_any_offset(store: MemoryRepositories, tmp_path: Path, content: bytes) -> None:
    repository = store.make("a")
    descriptor = put(repository, content)
    assert repository.has(descriptor)
    assert repository.find_blob(descriptor.digest) == descriptor
    for offset in (0, len(content) // 2, len(content)):
        assert get(repository, descriptor, offset) == content[offset:]
    is_large = len(content) > 1000
    assert files(tmp_path) == ([f"sha256-{descriptor.digest.hex}"] if is_large else [])


def test_without_a_folder_all_stays_in_memory() -> None:
    repository = MemoryRepositories(largest_in_memory=10).make("a")
    assert get(repository, put(repository, LARGE)) == LARGE


def test_an_aborted_upload_leaves_nothing(store: MemoryRepositories, tmp_path: Path) -> None:
    writer = store.make("a").put_blob(None)
    writer.write(BytesReader(LARGE))
    assert files(tmp_path)
    writer.abort()
    writer.abort()
    assert files(tmp_path) == []


def test_a_blob_is_kept_once(store: MemoryRepositories, tmp_path: Path) -> None:
    first, second = store.make("a"), store.make("b")
    descriptor = put(first, LARGE)
    put(first, LARGE)
    put(second, LARGE)
    assert len(files(tmp_path)) == 1
    first.delete_blob(descriptor.digest)
    assert get(second, descriptor) == LARGE
    second.delete_blob(descriptor.digest)
    assert files(tmp_path) == []


def test_who_reads_a_blob_reads_on_when_it_is_deleted(store: MemoryRepositories) -> None:
    repository = store.make("a")
    descriptor = put(repository, LARGE)
    with closing(repository.open(descriptor)) as reader:
        repository.delete_blob(descriptor.digest)
        assert reader.read() == LARGE
    with pytest.raises(NotFound):
        repository.open(descriptor)


def test_blobs_of_another_repository_are_not_here(store: MemoryRepositories) -> None:
    descriptor = put(store.make("a"), SMALL)
    other = store.make("b")
    assert not other.has(descriptor)
    with pytest.raises(NotFound):
        other.open(descriptor)
    assert other.mount(descriptor, "a") is None
    assert get(other, descriptor) == SMALL


def test_a_mount_of_what_is_not_there_begins_an_upload(store: MemoryRepositories) -> None:
    descriptor = Descriptor.of(SMALL, media_types.OCTET_STREAM)
    repository = store.make("b")
    writer: BlobWriter | None = repository.mount(descriptor, "a")
    assert writer is not None
    writer.write(BytesReader(SMALL))
    writer.commit(descriptor)
    assert get(repository, descriptor) == SMALL


def test_manifests_with_names_that_are_digests(store: MemoryRepositories) -> None:
    repository = store.make("a")
    digest = Digest.of(SMALL, "sha512")
    repository.put_manifest(SMALL, media_types.OCI_MANIFEST, [str(digest), "1"], algorithm="sha512")
    assert repository.resolve("1").digest == digest
    assert repository.find(str(Digest.of(SMALL))) is None
    assert get(repository, repository.resolve(str(digest))) == SMALL


def test_only_what_holds_something_is_listed(store: MemoryRepositories) -> None:
    store.make("empty")
    put(store.make("full"), SMALL)
    assert store.names() == ["full"]
    assert store.find("empty") is not None
    assert store.find("absent") is None


def test_a_folder_that_is_gone_is_a_clear_error(tmp_path: Path) -> None:
    repository = MemoryRepositories(tmp_path / "gone", largest_in_memory=10).make("a")
    with pytest.raises(LocalError, match="can't keep an upload"):
        repository.put_blob(None).write(BytesReader(LARGE))
