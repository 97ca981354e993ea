"""The Protocols between the engine and everything that it moves content between.

Two ports carry the work: a `Source` resolves names and opens content, a `Destination` tells what it has and
takes blobs and manifests. What only some endpoints can do is a small Protocol of its own, discovered with
`isinstance`; no method anywhere answers "not supported".

Every method may raise any `imgmove.errors.ImgmoveError`. Implementations are safe to call from several threads
unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import DEFAULT_ALGORITHM, Digest
from imgmove.model.manifest import Manifest, Node
from imgmove.model.platform import Platform

Compression = Literal["none", "gzip", "zstd"]


class Reader(Protocol):
    """A stream of bytes, for one thread at a time."""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, fewer when fewer are at hand, none only at the end; all of them when -1."""
        ...

    def close(self) -> None:
        """Gives back what it holds; safe to call twice."""
        ...


@dataclass(frozen=True, slots=True)
class NamedImage:
    """A root in a place that holds several, and the names that it has there (perhaps none)."""

    descriptor: Descriptor
    names: tuple[str, ...] = ()


# --- sources ----------------------------------------------------------------------------------------------------


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


# --- destinations -------------------------------------------------------------------------------------------------


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


# --- machines -----------------------------------------------------------------------------------------------------


class ByteStream(Protocol):
    """A connection that carries bytes both ways, with the words that sockets have for it."""

    def sendall(self, data: bytes, /) -> object: ...

    def recv(self, size: int, /) -> bytes: ...

    def settimeout(self, seconds: float | None, /) -> object: ...

    def close(self) -> object: ...


class Command(Protocol):
    """A command that runs. Its output has to be read before it can be waited for."""

    def write(self, data: bytes, /) -> object:
        """Feeds its input.

        Raises:
            BrokenPipeError: it takes no more.
        """
        ...

    def flush(self) -> object: ...

    def end_input(self) -> None:
        """Nothing more will be written; safe to call twice."""
        ...

    def read(self, size: int = -1, /) -> bytes:
        """What it prints."""
        ...

    def wait(self) -> tuple[int, str]:
        """Its exit status and what it said on stderr, once it has ended."""
        ...

    def close(self) -> None:
        """Ends it, if it still runs; safe to call twice."""
        ...


class Machine(Protocol):
    """A computer on which an engine runs: this one, or another one over SSH."""

    @property
    def label(self) -> str:
        """What people call it; empty for this one."""
        ...

    def start(self, words: Sequence[str]) -> Command:
        """Starts a command.

        Raises:
            LocalError: there is no such program.
        """
        ...

    def connect(self, path: str) -> ByteStream:
        """Opens a unix socket there.

        Raises:
            LocalError, AccessDenied, NetworkError: it can't be had.
        """
        ...

    def listening(self, take: Callable[[ByteStream], None]) -> AbstractContextManager[int]:
        """Listens on its loopback address for as long as the block lasts, on the port that it gives.

        Args:
            take: called with each connection, which is then its to close; from another thread, and quick.

        Raises:
            ServerRefused: it allows no such thing.
        """
        ...


# --- files --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileStatus:
    """What `Files.status` tells. ``size`` is in bytes, 0 for folders."""

    is_folder: bool
    size: int
    modified: float


class FileWriter(Protocol):
    """A file that comes to be under a temporary name; for several threads as long as their ranges differ."""

    def write_at(self, offset: int, data: bytes) -> None: ...

    def read_at(self, offset: int, size: int) -> bytes:
        """What was written before; fewer bytes at the end."""
        ...

    @property
    def size(self) -> int: ...

    def truncate(self, size: int) -> None: ...

    def commit(self, path: str = "") -> None:
        """Flushes to the disk and renames to the final name, replacing what was there.

        Args:
            path: a final name in the same file system, where it was not known at the beginning.
        """
        ...

    def abort(self) -> None:
        """Removes the temporary file; safe after `commit`."""
        ...

    def keep(self) -> None:
        """Closes the file and leaves it for a later `Files.resume`; safe after `commit`."""
        ...


class ReadableFiles(Protocol):
    """Files that can be read: of a file system, or the members of an archive.

    Paths are texts with ``/`` between their parts. Errors are `NotFound` for what is absent, `LocalError` here and
    `NetworkError` or `AccessDenied` on another host.
    """

    def open(self, path: str, offset: int = 0) -> Reader: ...

    def read_at(self, path: str, offset: int, size: int) -> bytes: ...

    def status(self, path: str) -> FileStatus | None:
        """None when nothing is there. Symbolic links are followed."""
        ...

    def list(self, path: str) -> Sequence[str]:
        """The names in a folder, sorted; none when the folder is absent. Files that are being written don't show."""
        ...


@runtime_checkable
class PartOpener(Protocol):
    """Files of which more than is wanted would come in vain, so that it has to be said how much that is."""

    def open_part(self, path: str, offset: int, size: int) -> Reader:
        """The ``size`` bytes from ``offset`` on, or fewer where the file ends."""
        ...


@dataclass(frozen=True, slots=True)
class FilePart:
    """Bytes of a file: ``size`` of them from ``offset`` on, or all when ``size`` is None."""

    path: str
    offset: int = 0
    size: int | None = None


@runtime_checkable
class PartHasher(Protocol):
    """Files that lie where reading them is dear, and that may be hashed there."""

    def hash_parts(self, parts: Sequence[FilePart], algorithm: str) -> Iterator[tuple[FilePart, str]]:
        """The hexadecimal hash of each part, in any order; what can't be hashed there is left out."""
        ...


class Files(ReadableFiles, Protocol):
    """A file system, here or on another host."""

    def make_folder(self, path: str) -> None:
        """With its parents; fine when it is there."""
        ...

    def write(self, path: str, content: bytes) -> None:
        """Replaces a small file in one step."""
        ...

    def create(self, path: str) -> FileWriter:
        """Begins a file that appears at ``path`` when committed."""
        ...

    def resume(self, path: str, key: str) -> FileWriter:
        """Goes on with a file that an earlier run left unfinished, or begins it.

        While another process or thread writes it, this waits until that one is done with it; whether it did the
        work then has to be looked at.

        Args:
            key: letters and digits that stand for the content, and ``-`` with a word for what belongs to it.
        """
        ...

    def forget_others(self, path: str, key: str) -> None:
        """Removes what was left for the same path under other keys, unless somebody is writing it."""
        ...

    def remove(self, path: str) -> None:
        """Fine when it is not there."""
        ...

    def lock(self, path: str) -> AbstractContextManager[None]:
        """Keeps other processes (and threads) that lock the same path waiting. Something has to lie there."""
        ...

    def free_space(self, path: str) -> int | None:
        """Bytes that can still be written below ``path``; None when nobody knows."""
        ...


# --- what was learned before ------------------------------------------------------------------------------------


class Knowledge(Protocol):
    """What earlier runs saw. Lossy and never trusted: a wrong answer costs a request, nothing more."""

    def repositories_with(self, registry: str, digest: Digest) -> Sequence[str]:
        """Where a blob was seen in a registry, the latest first."""
        ...

    def saw_blob(self, registry: str, repository: str, digest: Digest) -> None: ...

    def converted(self, digest: Digest, recipe: str) -> Descriptor | None:
        """What a blob became when it was last converted by ``recipe`` (such as ``gzip-1``)."""
        ...

    def learned_conversion(self, digest: Digest, recipe: str, result: Descriptor) -> None: ...


# --- manners ---------------------------------------------------------------------------------------------------------


class RequestGate(Protocol):
    """Stands before one registry and says when it may be asked; for many threads."""

    def before(self, method: str, place: str) -> None:
        """Waits until the request may be sent.

        Args:
            place: the path, or the whole URL.

        Raises:
            ImgmoveError: it may not be sent at all any more.
        """
        ...

    def after(self, headers: Mapping[str, str]) -> None:
        """Hears the headers of every answer, by lower-case name."""
        ...


# --- telling what happens ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlanMade:
    """The plan is complete. ``bytes_to_send`` is a guess when ``is_exact`` is False."""

    blobs_to_send: int
    bytes_to_send: int
    bytes_present: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class BlobStarted:
    """A blob begins to move. ``size`` is None for a blob whose size shows at the end."""

    key: str
    label: str
    size: int | None


@dataclass(frozen=True, slots=True)
class BytesMoved:
    """``count`` more bytes of the blob came in; negative when some must come again."""

    key: str
    count: int


@dataclass(frozen=True, slots=True)
class BlobFinished:
    """A blob is at the destination. ``how`` tells whether it was sent, mounted or there already."""

    key: str
    label: str
    size: int
    how: Literal["sent", "mounted", "present"]


@dataclass(frozen=True, slots=True)
class Retrying:
    """Something failed and is tried again after ``delay`` seconds."""

    what: str
    reason: str
    delay: float


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a person should know, such as what a conversion changed."""

    text: str


Event = PlanMade | BlobStarted | BytesMoved | BlobFinished | Retrying | Note


class Observer(Protocol):
    """Hears of events, from any thread; must be quick and must not raise."""

    def on(self, event: Event, /) -> None: ...


class Silence:
    """An observer that doesn't listen."""

    def on(self, event: Event, /) -> None:
        """Does nothing."""


def read_all(reader: Reader, most: int) -> bytes:
    """Everything that a reader has, up to one byte over ``most``, so that the caller can see that it is too much."""
    parts: list[bytes] = []
    left = most + 1
    while left > 0 and (part := reader.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


# --- converting ---------------------------------------------------------------------------------------------------


class Codec(Protocol):
    """Compresses and decompresses streams; the same input gives the same bytes each time."""

    def sniff(self, start: bytes) -> str:
        """How a stream is compressed that starts so: ``none``, ``gzip``, ``zstd``, ``xz`` or ``bzip2``."""
        ...

    def decompressing(self, reader: Reader, compression: str) -> Reader: ...

    def compressing(self, reader: Reader, compression: str, level: int | None = None) -> Reader: ...


@runtime_checkable
class ManifestMaker(Protocol):
    """A source of images that came without manifests (old docker archives), and that makes them up."""

    def is_made_up(self, digest: Digest) -> bool:
        """Whether this manifest is such a one, so that nobody relies on its digest yet."""
        ...
