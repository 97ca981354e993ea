"""Repositories over the sources and destinations that images are copied between: layouts, archives, registries."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

from imgmove.errors import MalformedContent, NotFound
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import DEFAULT_ALGORITHM, Digest
from imgmove.model.manifest import LARGEST_MANIFEST, parse_manifest
from imgmove.ports import (
    BlobWriter,
    Destination,
    ImageLister,
    NamedImage,
    Reader,
    ReferrerLister,
    Source,
    TagLister,
    read_all,
)
from imgmove.server.repositories import Repository


class FixedRepositories:
    """The repositories that somebody chose to serve; none comes to be by a push."""

    def __init__(self, repositories: Mapping[str, Repository]) -> None:
        self._repositories = dict(repositories)

    def names(self) -> Sequence[str]:
        """All of them, sorted."""
        return sorted(self._repositories)

    def find(self, name: str) -> Repository | None:
        """The repository of this name; None when there is none."""
        return self._repositories.get(name)


class SourceRepository:
    """A repository that can only be pulled from.

    A source opens content whose size is known, but a request for a blob names its digest alone. The sizes are
    in the manifests, so each manifest that goes by is remembered; when that does not help, all of them are read.
    """

    def __init__(self, source: Source) -> None:
        """Serves a source, which stays its owner's to close."""
        self._source = source
        self._blobs: dict[Digest, Descriptor] = {}
        self._read: set[Digest] = set()
        self._lock = threading.RLock()

    def resolve(self, name: str) -> Descriptor:
        """What a tag or the digest of a manifest stands for.

        Raises:
            NotFound: nothing.
        """
        descriptor = self._source.resolve(name)
        if not descriptor.is_manifest:
            raise NotFound(f"{name} is no manifest")
        self._learn(descriptor)
        return descriptor

    def find_blob(self, digest: Digest) -> Descriptor | None:
        """The blob with the size that a manifest gives it; None when no manifest of this place names it."""
        with self._lock:
            if digest not in self._blobs:
                for image in self._images():
                    self._learn(image.descriptor)
            return self._blobs.get(digest)

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """The bytes of a blob or manifest.

        Raises:
            NotFound: it is not here.
        """
        return self._source.open(descriptor, offset)

    def tags(self) -> Iterator[str]:
        """The names in the source, as far as it can list them."""
        if isinstance(self._source, TagLister):
            return self._source.tags()
        return iter([name for image in self._images() for name in image.names])

    def referrers(self, subject: Digest) -> Sequence[NamedImage]:
        """What the source knows to refer to a manifest; nothing when it does not keep account."""
        if not isinstance(self._source, ReferrerLister):
            return ()
        found = self._source.referrers(subject)
        for image in found:
            self._learn(image.descriptor)
        return found

    def close(self) -> None:
        """Does nothing: the source is its owner's."""

    def remember(self, descriptor: Descriptor) -> None:
        """Notes a blob that is here."""
        with self._lock:
            self._blobs[descriptor.digest] = descriptor

    def _images(self) -> Sequence[NamedImage]:
        if isinstance(self._source, ImageLister):
            return self._source.images()
        if isinstance(self._source, TagLister):
            return [NamedImage(self._source.resolve(tag), (tag,)) for tag in self._source.tags()]
        return ()

    def _learn(self, root: Descriptor) -> None:
        """Reads a manifest and those below it, each once, for the blobs that they name."""
        with self._lock:
            waiting = [root]
            while waiting:
                descriptor = waiting.pop()
                if not descriptor.is_manifest:
                    self._blobs.setdefault(descriptor.digest, descriptor)
                elif descriptor.digest not in self._read:
                    waiting += self._children(descriptor)

    def _children(self, descriptor: Descriptor) -> Sequence[Descriptor]:
        try:
            with closing(self._source.open(descriptor)) as reader:
                content = read_all(reader, LARGEST_MANIFEST)
            children = parse_manifest(content, descriptor.media_type).children
        except (NotFound, MalformedContent):
            return ()  # a hole in the source, or what only its reader understands; others are served all the same
        self._read.add(descriptor.digest)
        return children


class PushableRepository(SourceRepository):
    """A repository that can be pushed to as well, when source and destination are the same place."""

    def __init__(self, source: Source, destination: Destination) -> None:
        super().__init__(source)
        self._destination = destination

    def has(self, descriptor: Descriptor) -> bool:
        """Whether this blob or manifest is here."""
        return self._destination.has(descriptor)

    def put_blob(self, descriptor: Descriptor | None) -> BlobWriter:
        """Begins a blob."""
        return _RememberedWriter(self._destination.put_blob(descriptor), self)

    def put_manifest(
        self, content: bytes, media_type: str, names: Sequence[str], *, algorithm: str = DEFAULT_ALGORITHM
    ) -> None:
        """Stores a manifest under its digest and under each name."""
        self._destination.put_manifest(content, media_type, names, algorithm=algorithm)


class _RememberedWriter:
    """Tells a repository of the blob that it wrote, since no manifest names it yet."""

    def __init__(self, writer: BlobWriter, repository: SourceRepository) -> None:
        self._writer = writer
        self._repository = repository

    def resume(self) -> int:
        return self._writer.resume()

    def write(self, reader: Reader) -> None:
        self._writer.write(reader)

    def commit(self, descriptor: Descriptor) -> None:
        self._writer.commit(descriptor)
        self._repository.remember(descriptor)

    def abort(self) -> None:
        self._writer.abort()
