"""The Protocols between the engine and everything that it moves content between.

Two ports carry the work: a `Source` resolves names and opens content, a `Destination` tells what it has and
takes blobs and manifests. What only some endpoints can do is a small Protocol of its own, discovered with
`isinstance`; no method anywhere answers "not supported".

Every method may raise any `imgmove.errors.ImgmoveError`. Implementations are safe to call from several threads
unless they say otherwise.
"""

from __future__ import annotations

from imgmove.ports.destinations import (
    BlobMounter,
    BlobWriter,
    Deleter,
    Destination,
    Holding,
    LastingBlobWriter,
    LastingDestination,
    NameResolver,
    Opener,
    Outline,
    OutlinedDestination,
    PipeTaker,
    PullingDestination,
    SequentialDestination,
)
from imgmove.ports.files import (
    ByteStream,
    Command,
    FilePart,
    Files,
    FileStatus,
    FileWriter,
    Machine,
    PartHasher,
    PartOpener,
    ReadableFiles,
)
from imgmove.ports.readers import Codec, Reader, read_all
from imgmove.ports.sources import (
    Arrival,
    ContentHasher,
    ImageLister,
    InRegistry,
    ManifestMaker,
    NamedImage,
    RangedSource,
    ReferrerLister,
    SequentialSource,
    Source,
    TagLister,
)
from imgmove.ports.watching import (
    BlobFinished,
    BlobStarted,
    BytesMoved,
    Event,
    Knowledge,
    Note,
    Observer,
    PlanMade,
    RequestGate,
    Retrying,
    Silence,
)

__all__ = [
    "Arrival",
    "BlobFinished",
    "BlobMounter",
    "BlobStarted",
    "BlobWriter",
    "ByteStream",
    "BytesMoved",
    "Codec",
    "Command",
    "ContentHasher",
    "Deleter",
    "Destination",
    "Event",
    "FilePart",
    "FileStatus",
    "FileWriter",
    "Files",
    "Holding",
    "ImageLister",
    "InRegistry",
    "Knowledge",
    "LastingBlobWriter",
    "LastingDestination",
    "Machine",
    "ManifestMaker",
    "NameResolver",
    "NamedImage",
    "Note",
    "Observer",
    "Opener",
    "Outline",
    "OutlinedDestination",
    "PartHasher",
    "PartOpener",
    "PipeTaker",
    "PlanMade",
    "PullingDestination",
    "RangedSource",
    "ReadableFiles",
    "Reader",
    "ReferrerLister",
    "RequestGate",
    "Retrying",
    "SequentialDestination",
    "SequentialSource",
    "Silence",
    "Source",
    "TagLister",
    "read_all",
]
