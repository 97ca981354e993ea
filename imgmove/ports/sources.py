"""What content comes from: the port `Source`, and what only some sources can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.ports.readers import Reader


@dataclass(frozen=True, slots=True)
class NamedImage:
    """A root in a place that holds several, and the names that it has there (perhaps none)."""

    descriptor: Descriptor
    names: tuple[str, ...] = ()


@runtime_checkable
class Source(Protocol):
    """Where content comes from: a repository of a registry, a layout, an archive."""

    def resolve(self, name: str) -> Descriptor:
        """What a name stands for here.

        Args:
            name: a tag or a name of this place, a digest (``sha256:…``), or ``""`` for the only image there is.

        Raises:
            NotFound: no such name.
            UsageError: ``""`` where there are several images; the message names them.
        """
        ...

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """The bytes that a descriptor names, from ``offset`` on, unverified.

        Raises:
            NotFound: this place doesn't hold them.
        """
        ...

    def close(self) -> None:
        """Gives back connections and files; safe to call twice."""
        ...


@runtime_checkable
class InRegistry(Protocol):
    """A repository of a registry, whose other repositories may take blobs from it.

    Attributes:
        registry: the same text for all repositories that may mount from one another.
        repository: this one's name.
    """

    @property
    def registry(self) -> str: ...

    @property
    def repository(self) -> str: ...


@runtime_checkable
class RangedSource(Protocol):
    """A source from which parts of a blob can be read side by side."""

    def open_range(self, descriptor: Descriptor, start: int, end: int) -> Reader | None:
        """The bytes of a blob from ``start`` up to ``end``; None where only the whole can be had."""
        ...


@runtime_checkable
class ContentHasher(Protocol):
    """A place that may be able to hash content where it lies, so that proving it whole moves nothing."""

    def hashes(self, descriptors: Sequence[Descriptor]) -> Iterator[tuple[Descriptor, Digest]]:
        """What the content of each descriptor hashes to now, in any order; what can't be hashed there is left out."""
        ...


@runtime_checkable
class TagLister(Protocol):
    """A place whose names can be listed: a repository's tags, in the registry's order."""

    def tags(self) -> Iterator[str]: ...


@runtime_checkable
class ImageLister(Protocol):
    """A place that holds several images side by side: a layout or an archive, in its own order."""

    def images(self) -> Sequence[NamedImage]: ...


@runtime_checkable
class ReferrerLister(Protocol):
    """A place that can say which manifests refer to another (OCI distribution spec, *Listing Referrers*).

    Signatures, attestations and SBOMs are found so, however they were attached: by the referrers API, by its
    fallback tag, or by cosign's tags.
    """

    def referrers(self, subject: Digest) -> Sequence[NamedImage]:
        """All manifests that refer to ``subject``.

        Those that a tag leads to (cosign's) come with the tag as their name, which has to travel with them.

        Raises:
            AccessDenied, NetworkError: the question could not be answered. That is never the same as "none".
        """
        ...


@dataclass(frozen=True, slots=True)
class Arrival:
    """One blob out of a pipe.

    Attributes:
        key: the pipe's own word for it, by which its later answers refer to it.
        digest: None when only the hash of the bytes will tell.
        size: of the bytes as they lie in the pipe; None when only their end will tell, as it does the digest.
        diff_id: the digest of the uncompressed layer, where the pipe tells it beforehand.
        reader: the bytes; must be read, or skipped by asking for the next arrival, in order.
        compression: of these bytes, judged by how they start: ``none``, ``gzip``, ``zstd``, ``xz`` or ``bzip2``.
    """

    key: str
    digest: Digest | None
    size: int | None
    diff_id: Digest | None
    reader: Reader
    compression: str = "none"


@runtime_checkable
class SequentialSource(Protocol):
    """A pipe: content comes once, in an order of its own, and what it means may only be known at the end."""

    def arrivals(self) -> Iterator[Arrival]:
        """Every blob, in the pipe's order. Manifests and configs that the source keeps itself do not arrive."""
        ...

    def became(self, key: str, descriptor: Descriptor, diff_id: Digest | None) -> None:
        """Tells the source under which descriptor an arrival without a digest was stored.

        It names it in the manifests that it makes. ``diff_id`` is None when nobody uncompressed the layer.
        """
        ...

    def images(self) -> Sequence[NamedImage]:
        """The roots; to be asked after the last arrival."""
        ...

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """Content that the source kept: manifests and configs."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class ManifestMaker(Protocol):
    """A source of images that came without manifests (old docker archives), and that makes them up."""

    def is_made_up(self, digest: Digest) -> bool:
        """Whether this manifest is such a one, so that nobody relies on its digest yet."""
        ...
