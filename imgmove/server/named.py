"""A place that holds images of many names, such as a layout or an archive, as the repositories of a registry."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from imgmove.errors import ImgmoveError, MalformedContent, NotFound, UsageError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import DEFAULT_ALGORITHM, Digest
from imgmove.model.manifest import LARGEST_MANIFEST, Index, Node, parse_manifest
from imgmove.ports import BlobWriter, Deleter, Destination, NamedImage, Reader, ReferrerLister, read_all
from imgmove.server.served import PushableRepository, SourceRepository

_DIGEST_TAG = re.compile(r"(sha256|sha512)-([a-f0-9]{64,128})\..+")
Placing = Callable[[str], tuple[str, str] | None]
"""Repository and tag under which a name is served; an empty name asks where images without one go. None for nowhere."""


class NamedSource(Protocol):
    """A source that lists its images with their names."""

    def resolve(self, name: str) -> Descriptor: ...
    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader: ...
    def images(self) -> Sequence[NamedImage]: ...
    def close(self) -> None: ...


@dataclass
class _Place:
    """One repository: its images, and the tags with the names that they have in the source."""

    images: list[NamedImage] = field(default_factory=list)
    tags: dict[str, tuple[Descriptor, str]] = field(default_factory=dict)


class NamedRepositories:
    """The repositories that the names in a source come to. What others add to the source meanwhile is served too.

    Args:
        source: stays its owner's to close.
        placing: which name is served where.
    """

    def __init__(self, source: NamedSource, placing: Placing) -> None:
        self.source = source
        self.placing = placing
        self._seen: tuple[NamedImage, ...] | None = None
        self._places: dict[str, _Place] = {}
        self._repositories: dict[str, SourceRepository] = {}
        self._lock = threading.Lock()

    def check(self) -> None:
        """Makes sure that no two images are served under one name.

        Raises:
            UsageError: two are.
        """
        taken: dict[tuple[str, str], tuple[str, Descriptor]] = {}
        for image in self.source.images():
            for name in image.names:
                if (place := self.placing(name)) is None:
                    continue
                other = taken.setdefault(place, (name, image.descriptor))
                if other[1].digest != image.descriptor.digest:
                    raise UsageError(f"{other[0]} and {name} would both be served as {place[0]}:{place[1]}")

    def names(self) -> Sequence[str]:
        """All repositories, sorted."""
        return sorted(self.places())

    def find(self, name: str) -> SourceRepository | None:
        """The repository of this name; None when there is none."""
        with self._lock:
            known = self._repositories.get(name)
        if known is not None:
            return known
        return self._kept(name) if name in self.places() else None

    def places(self) -> Mapping[str, _Place]:
        """What is served where at the moment."""
        images = tuple(self.source.images())
        with self._lock:
            if images != self._seen:
                self._seen, self._places = images, _placed(images, self.placing)
            return self._places

    def _kept(self, name: str) -> SourceRepository:
        with self._lock:
            return self._repositories.setdefault(name, self._opened(name))

    def _opened(self, name: str) -> SourceRepository:
        return SourceRepository(RepositoryView(self, name))


class WritableRepositories(NamedRepositories):
    """The same over a place that can be pushed to; repositories come to be by pushes."""

    def __init__(self, source: NamedSource, destination: Destination, placing: Placing) -> None:
        super().__init__(source, placing)
        self.destination = destination
        self.deleted: set[Digest] = set()
        """Manifests that were deleted while this runs: a layout keeps the bytes, and would still give them out."""

    def make(self, name: str) -> Destination:
        """The repository of this name."""
        made = self._kept(name)
        assert isinstance(made, Destination)
        return made

    def _opened(self, name: str) -> SourceRepository:
        return NamedRepository(self, name)


class RepositoryView:
    """One repository of many in a source, as a source of its own."""

    def __init__(self, repositories: NamedRepositories, name: str) -> None:
        self._repositories = repositories
        self._source = repositories.source
        self._name = name
        self._descriptors: dict[Digest, Descriptor] = {}

    def resolve(self, name: str) -> Descriptor:
        """What a tag stands for in this repository; a digest may be of any manifest in the source."""
        if ":" in name:
            return self._source.resolve(name)
        if (tagged := self._place.tags.get(name)) is not None:
            return tagged[0]
        if (found := self._under_digest_tag(name)) is not None:
            return found
        raise NotFound(f"{self._name} has no tag {name}")

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """The content of a digest."""
        return self._source.open(descriptor, offset)

    def images(self) -> Sequence[NamedImage]:
        """The roots in this repository."""
        return self._place.images

    def tags(self) -> Iterator[str]:
        """The tags of this repository, with those under which signatures of its images are kept."""
        found = dict.fromkeys(self._place.tags)
        for image in self._place.images:
            for digest in self._manifests(image.descriptor):
                found.update(dict.fromkeys(tag for item in self.referrers(digest) for tag in item.names))
        return iter(found)

    def referrers(self, subject: Digest) -> Sequence[NamedImage]:
        """What refers to a manifest, whichever repository it was pushed to, described as the spec asks."""
        found = self._source.referrers(subject) if isinstance(self._source, ReferrerLister) else ()
        return [NamedImage(self._described(item.descriptor), item.names) for item in found]

    def close(self) -> None:
        """The source is its owner's."""

    def name_of(self, tag: str) -> str | None:
        """What the image under a tag is called in the source; None when there is no such tag."""
        tagged = self._place.tags.get(tag)
        return tagged[1] if tagged else None

    @property
    def _place(self) -> _Place:
        return self._repositories.places().get(self._name, _Place())

    def _under_digest_tag(self, tag: str) -> Descriptor | None:
        if (match := _DIGEST_TAG.fullmatch(tag)) is None:
            return None
        try:
            subject = Digest.parse(f"{match.group(1)}:{match.group(2)}")
        except MalformedContent:
            return None
        return next((item.descriptor for item in self.referrers(subject) if tag in item.names), None)

    def _manifests(self, root: Descriptor) -> Iterator[Digest]:
        waiting, seen = [root], set[Digest]()
        while waiting:
            descriptor = waiting.pop()
            if descriptor.digest in seen:
                continue
            seen.add(descriptor.digest)
            yield descriptor.digest
            if descriptor.is_index:
                waiting += self._children(descriptor)

    def _children(self, descriptor: Descriptor) -> Sequence[Descriptor]:
        node = self._node(descriptor)
        return [child for child in node.manifests if child.is_manifest] if isinstance(node, Index) else ()

    def _described(self, descriptor: Descriptor) -> Descriptor:
        """With the type and annotations of the manifest itself (distribution spec, *Listing Referrers*)."""
        if (known := self._descriptors.get(descriptor.digest)) is not None:
            return known
        if (node := self._node(descriptor)) is None:
            return descriptor
        made = replace(descriptor, artifact_type=node.artifact_type, annotations=node.annotations)
        self._descriptors[descriptor.digest] = made
        return made

    def _node(self, descriptor: Descriptor) -> Node | None:
        try:
            with closing(self.open(descriptor)) as reader:
                return parse_manifest(read_all(reader, LARGEST_MANIFEST), descriptor.media_type)
        except (NotFound, MalformedContent):
            return None


class NamedRepository(PushableRepository):
    """One repository of a place that can be pushed to."""

    def __init__(self, repositories: WritableRepositories, name: str) -> None:
        self._view = RepositoryView(repositories, name)
        super().__init__(self._view, repositories.destination)
        self._repositories = repositories
        self._place = repositories.destination
        self.repository = name
        self.registry = f"named-{id(repositories)}"

    def resolve(self, name: str) -> Descriptor:
        """What a tag or the digest of a manifest stands for."""
        descriptor = super().resolve(name)
        if descriptor.digest in self._repositories.deleted:
            raise NotFound(f"{name} was deleted")
        return descriptor

    def put_manifest(
        self, content: bytes, media_type: str, names: Sequence[str], *, algorithm: str = DEFAULT_ALGORITHM
    ) -> None:
        """Stores a manifest, under its tags' names in the whole place."""
        full = [self._full(name) for name in names]
        node = parse_manifest(content, media_type, algorithm)
        self._repositories.deleted.discard(node.descriptor.digest)
        if not full and node.subject is not None:
            # Nothing but its being listed leads to what refers to another manifest.
            full = [str(node.descriptor.digest)]
        self._place.put_manifest(content, media_type, full, algorithm=algorithm)

    def mount(self, descriptor: Descriptor, repository: str) -> BlobWriter | None:  # noqa: ARG002 - the port's
        """All repositories lie in one place, so what one has all have."""
        self.remember(descriptor)
        return None

    def delete_name(self, name: str) -> None:
        """Forgets a tag."""
        known = self._view.name_of(name) or (name if _DIGEST_TAG.fullmatch(name) else None)
        if known is None:
            raise NotFound(f"{self.repository} has no tag {name}")
        self._deleter.delete_name(known)

    def delete_manifest(self, digest: Digest) -> None:
        """Forgets a manifest with its names in all repositories, as they share it."""
        self.resolve(str(digest))
        # One that only its parents list has no name to be taken from it.
        with suppress(NotFound):
            self._deleter.delete_manifest(digest)
        self._repositories.deleted.add(digest)

    @property
    def _deleter(self) -> Deleter:
        if not isinstance(self._place, Deleter):
            raise ImgmoveError("nothing can be deleted here")
        return self._place

    def _full(self, name: str) -> str:
        if ":" in name or _DIGEST_TAG.fullmatch(name):
            return name
        return self._view.name_of(name) or f"{self.repository}:{name}"


def _placed(images: Sequence[NamedImage], placing: Placing) -> dict[str, _Place]:
    places: dict[str, _Place] = {}
    for image in images:
        for name in image.names or ("",):
            found = placing(name)
            if found is None:
                continue
            repository, tag = found
            place = places.setdefault(repository, _Place())
            if image not in place.images:
                place.images.append(image)
            if name and tag:
                place.tags.setdefault(tag, (image.descriptor, name))
    return places
