"""Repositories in memory, for tests and demonstrations; large blobs go to a folder when there is one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from imgmove.errors import MalformedContent, NotFound
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import DEFAULT_ALGORITHM, Digest
from imgmove.model.manifest import parse_manifest
from imgmove.ports import BlobWriter, NamedImage, Reader
from imgmove.server.spool import Content, InMemory, Spool

_BLOCK = 1 << 18
_LARGEST_IN_MEMORY = 1 << 20


class MemoryRepositories:
    """A registry's content, each blob once however many repositories hold it."""

    def __init__(self, folder: Path | None = None, *, largest_in_memory: int = _LARGEST_IN_MEMORY) -> None:
        """Starts empty.

        Args:
            folder: where blobs above ``largest_in_memory`` bytes lie; without it all stay in memory. Whoever made
                it removes it.
            largest_in_memory: in bytes.
        """
        self.lock = threading.RLock()
        self.contents: dict[Digest, Content] = {}
        self._folder = folder
        self._largest_in_memory = largest_in_memory
        self._repositories: dict[str, MemoryRepository] = {}

    def names(self) -> Sequence[str]:
        """The repositories that hold something, sorted."""
        with self.lock:
            return sorted(name for name, repository in self._repositories.items() if not repository.is_empty)

    def find(self, name: str) -> MemoryRepository | None:
        """The repository of this name; None when there is none."""
        with self.lock:
            return self._repositories.get(name)

    def make(self, name: str) -> MemoryRepository:
        """The repository of this name, made when it is missing."""
        with self.lock:
            return self._repositories.setdefault(name, MemoryRepository(self, name))

    def spool(self) -> Spool:
        """A place for content that is coming in."""
        return Spool(self._folder, self._largest_in_memory)

    def sweep(self, digest: Digest) -> None:
        """Gives back the bytes of content that no repository holds any more."""
        with self.lock:
            if not any(repository.holds(digest) for repository in self._repositories.values()):
                self.contents.pop(digest, InMemory(b"")).discard()


class MemoryRepository:
    """One repository: a source and a destination that can do all that a registry may be asked for."""

    def __init__(self, store: MemoryRepositories, name: str) -> None:
        self.repository = name
        self.registry = f"memory-{id(store)}"
        self._store = store
        self._blobs: set[Digest] = set()
        self._manifests: dict[Digest, Descriptor] = {}
        self._tags: dict[str, Digest] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing was pushed, or all was deleted."""
        return not (self._blobs or self._manifests or self._tags)

    def holds(self, digest: Digest) -> bool:
        """Whether a blob or manifest of this digest is here."""
        return digest in self._blobs or digest in self._manifests

    def resolve(self, name: str) -> Descriptor:
        """What a tag or the digest of a manifest stands for.

        Raises:
            NotFound: nothing.
        """
        with self._store.lock:
            digest = self._tags.get(name) or _as_digest(name)
            descriptor = self._manifests.get(digest) if digest else None
        if descriptor is None:
            raise NotFound(f"manifest {name} is not in {self.repository}")
        return descriptor

    def find(self, name: str) -> Descriptor | None:
        """What a tag or the digest of a manifest stands for; None when nothing."""
        try:
            return self.resolve(name)
        except NotFound:
            return None

    def find_blob(self, digest: Digest) -> Descriptor | None:
        """The blob with its size; None when it is not in this repository."""
        with self._store.lock:
            if digest not in self._blobs:
                return None
            return Descriptor(media_types.OCTET_STREAM, digest, self._store.contents[digest].size)

    def has(self, descriptor: Descriptor) -> bool:
        """Whether this blob or manifest is here."""
        with self._store.lock:
            return descriptor.digest in (self._manifests if descriptor.is_manifest else self._blobs)

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """The bytes of a blob or manifest of this repository.

        Raises:
            NotFound: it is not here.
        """
        with self._store.lock:
            if not self.holds(descriptor.digest):
                raise NotFound(f"{descriptor.digest} is not in {self.repository}")
            return self._store.contents[descriptor.digest].open(offset)

    def tags(self) -> Iterator[str]:
        """All tags, sorted."""
        with self._store.lock:
            return iter(sorted(self._tags))

    def referrers(self, subject: Digest) -> Sequence[NamedImage]:
        """The manifests whose subject this is, in the order of their digests."""
        with self._store.lock:
            manifests = sorted(self._manifests.items())
            found = [self._referrer(descriptor, subject) for _, descriptor in manifests]
        return [NamedImage(descriptor) for descriptor in found if descriptor]

    def put_blob(self, descriptor: Descriptor | None) -> BlobWriter:  # noqa: ARG002 - known at the commit
        """Begins a blob."""
        return _MemoryWriter(self)

    def put_manifest(
        self, content: bytes, media_type: str, names: Sequence[str], *, algorithm: str = DEFAULT_ALGORITHM
    ) -> None:
        """Stores any bytes as a manifest, under their digest and under each tag."""
        descriptor = Descriptor.of(content, media_type, algorithm)
        with self._store.lock:
            self._store.contents[descriptor.digest] = InMemory(content)
            self._manifests[descriptor.digest] = descriptor
            self._tags.update((name, descriptor.digest) for name in names if not _as_digest(name))

    def mount(self, descriptor: Descriptor, repository: str) -> BlobWriter | None:
        """Takes a blob from another repository of this registry, or begins an upload when that one lacks it."""
        with self._store.lock:
            other = self._store.find(repository)
            if other is None or other.find_blob(descriptor.digest) is None:
                return self.put_blob(descriptor)
            self._blobs.add(descriptor.digest)
        return None

    def delete_name(self, name: str) -> None:
        """Forgets a tag.

        Raises:
            NotFound: no such tag.
        """
        with self._store.lock:
            if self._tags.pop(name, None) is None:
                raise NotFound(f"tag {name} is not in {self.repository}")

    def delete_manifest(self, digest: Digest) -> None:
        """Forgets a manifest with all its tags.

        Raises:
            NotFound: it is not here.
        """
        with self._store.lock:
            if self._manifests.pop(digest, None) is None:
                raise NotFound(f"manifest {digest} is not in {self.repository}")
            for tag in [tag for tag, target in self._tags.items() if target == digest]:
                del self._tags[tag]
            self._store.sweep(digest)

    def delete_blob(self, digest: Digest) -> None:
        """Forgets a blob, here alone.

        Raises:
            NotFound: it is not here.
        """
        with self._store.lock:
            if digest not in self._blobs:
                raise NotFound(f"blob {digest} is not in {self.repository}")
            self._blobs.discard(digest)
            self._store.sweep(digest)

    def close(self) -> None:
        """Does nothing: the content lives as long as the registry."""

    def spool(self) -> Spool:
        """A place for a blob that is coming in."""
        return self._store.spool()

    def keep(self, digest: Digest, spool: Spool) -> None:
        """Takes what a writer wrote as the blob of this digest."""
        with self._store.lock:
            if digest in self._store.contents:
                spool.discard()
            else:
                self._store.contents[digest] = spool.finish(digest)
            self._blobs.add(digest)

    def _referrer(self, descriptor: Descriptor, subject: Digest) -> Descriptor | None:
        with self._store.contents[descriptor.digest].open(0) as reader:
            content = reader.read()
        if subject.hex.encode() not in content:
            return None
        try:
            node = parse_manifest(content, descriptor.media_type)
        except MalformedContent:
            return None
        if node.subject is None or node.subject.digest != subject:
            return None
        return Descriptor(
            descriptor.media_type,
            descriptor.digest,
            descriptor.size,
            annotations=node.annotations,
            artifact_type=node.artifact_type,
        )


class _MemoryWriter:
    """A blob on its way into a repository."""

    def __init__(self, repository: MemoryRepository) -> None:
        self._repository = repository
        self._spool = repository.spool()

    def resume(self) -> int:
        return self._spool.size

    def write(self, reader: Reader) -> None:
        while block := reader.read(_BLOCK):
            self._spool.write(block)

    def commit(self, descriptor: Descriptor) -> None:
        self._repository.keep(descriptor.digest, self._spool)

    def abort(self) -> None:
        self._spool.discard()


def _as_digest(name: str) -> Digest | None:
    try:
        return Digest.parse(name)
    except MalformedContent:
        return None
