"""Where content goes: the port `Destination`, and what only some destinations can do."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import DEFAULT_ALGORITHM, Digest
from imgmove.model.manifest import Manifest, Node
from imgmove.model.platform import Platform
from imgmove.ports.readers import Reader
from imgmove.ports.sources import InRegistry, NamedImage


class BlobWriter(Protocol):
    """One blob on its way into a destination; for one thread.

    The destination never shows the blob before `commit`. After an error the same writer may be asked to
    `resume` and go on.
    """

    def resume(self) -> int:
        """How many bytes of the blob the destination holds from this writer; the next `write` continues there."""
        ...

    def write(self, reader: Reader) -> None:
        """Takes everything that the reader still has.

        The reader gives out its last bytes only when the whole is verified, and raises otherwise, so whatever is
        written completely may be kept.
        """
        ...

    def commit(self, descriptor: Descriptor) -> None:
        """Makes the blob visible under its digest. Needless calls for a blob that is there already are fine."""
        ...

    def abort(self) -> None:
        """Forgets what was written, as far as the destination allows; safe to call after `commit`."""
        ...


@runtime_checkable
class LastingBlobWriter(BlobWriter, Protocol):
    """A blob on its way that outlives the process: a later run goes on with it."""

    def reread(self) -> Reader:
        """What the destination holds of the blob so far, from its start."""
        ...

    def keep(self) -> None:
        """Ends for now and leaves what came for a later run; safe after `commit`."""
        ...


@runtime_checkable
class LastingDestination(Protocol):
    """A destination that keeps what it got of a blob for later runs."""

    def resume_blob(self, descriptor: Descriptor) -> LastingBlobWriter:
        """Goes on with a blob where an earlier run was ended, or begins it.

        While another process brings the same blob here, this waits; the writer then holds all of it.
        """
        ...


@runtime_checkable
class Destination(Protocol):
    """Where content goes to: a repository of a registry, a layout, an archive."""

    def has(self, descriptor: Descriptor) -> bool:
        """Whether this blob or manifest is already here, whole."""
        ...

    def put_blob(self, descriptor: Descriptor | None) -> BlobWriter:
        """Begins a blob; None when its digest and size will be known only at `BlobWriter.commit`.

        After an error a writer without a descriptor may be unable to go on; the blob is then begun anew.
        """
        ...

    def put_manifest(
        self, content: bytes, media_type: str, names: Sequence[str], *, algorithm: str = DEFAULT_ALGORITHM
    ) -> None:
        """Stores a manifest or index whose children are here, under its digest and under each name.

        Without names it is a child, found through its parents alone. A root that has no name comes with its own
        digest as the name, and places that list their roots list it without one.

        Where the manifest has a subject, the destination sees to it that it is listed among its referrers.

        Args:
            algorithm: of the digest that it goes by.
        """
        ...

    def close(self) -> None:
        """Gives back connections and files; safe to call twice."""
        ...


@runtime_checkable
class NameResolver(Protocol):
    """A destination that can say what a name stands for at the moment."""

    def find(self, name: str) -> Descriptor | None:
        """What is there under the name now; None when nothing is."""
        ...


@runtime_checkable
class PipeTaker(Protocol):
    """A destination that has to keep what it could not yet deliver when the content can't be read again.

    Others lose nothing once they took it, so their `Destination.put_blob` serves for pipes too.
    """

    def put_from_pipe(self) -> BlobWriter:
        """Begins a blob whose `BlobWriter.resume` goes on after everything that was taken from the reader before."""
        ...


@runtime_checkable
class BlobMounter(InRegistry, Protocol):
    """A repository that can take a blob from another of the same registry (distribution spec, *Mounting Blobs*)."""

    def mount(self, descriptor: Descriptor, repository: str) -> BlobWriter | None:
        """None when the blob is mounted; else an upload, which the registry began instead."""
        ...


@runtime_checkable
class Deleter(Protocol):
    """A place that can forget a name, or a manifest with all its names."""

    def delete_name(self, name: str) -> None: ...

    def delete_manifest(self, digest: Digest) -> None: ...


@dataclass(frozen=True, slots=True)
class Outline:
    """Everything that will be written, for destinations that have to know it first.

    Attributes:
        blobs: each once, with true sizes; blobs that a conversion makes are not among them.
        manifests: manifests and indexes, children before parents; those above a conversion are not among them.
        roots: the images with the names that they get.
        is_whole: False when conversions or a pipe will add to it later.
    """

    blobs: Sequence[Descriptor]
    manifests: Sequence[Node]
    roots: Sequence[NamedImage]
    is_whole: bool


@runtime_checkable
class OutlinedDestination(Protocol):
    """A destination that appears as a whole or not at all, such as an archive."""

    def begin(self, outline: Outline) -> None:
        """Says what will come. Called once, before the first blob."""
        ...

    def finish(self) -> None:
        """All is there: makes it visible. Without this call nothing is."""
        ...


@runtime_checkable
class SequentialDestination(OutlinedDestination, Protocol):
    """A destination that takes blobs one after another, in an order of its own, such as an archive on stdout."""

    def order(self) -> Sequence[Descriptor]:
        """The blobs of the outline in the order in which they must be put."""
        ...


class Opener(Protocol):
    """What content is read from, by whoever decides itself what it needs."""

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader: ...


@dataclass(frozen=True, slots=True)
class Holding:
    """What a place that fetches for itself holds of one image.

    Attributes:
        missing: the blobs that would have to be sent, as far as that can be told.
        is_complete: the image is there, under all of the names.
    """

    missing: Collection[Digest]
    is_complete: bool


@runtime_checkable
class PullingDestination(Protocol):
    """A place that takes images one by one, fetches for itself what it lacks, and keeps no content but that.

    Such as a container engine: it takes one platform of an image, and no signatures.
    """

    def platform(self) -> Platform:
        """The platform whose image it wants."""
        ...

    def holding(self, image: Manifest, config: bytes, names: Sequence[str]) -> Holding:
        """What is here of an image."""
        ...

    def pull(self, image: Manifest, config: bytes, names: Sequence[str], content: Opener) -> Sequence[str]:
        """Takes an image and shows it under the names, once it is whole.

        Args:
            content: gives out every blob that the manifest names, verified, as often as it is asked.

        Returns:
            What a person should know of how it was done.
        """
        ...

    def close(self) -> None: ...
