"""The blobs of a pipe: they come once, in the pipe's order, and are sent on as they come.

A blob whose digest the pipe tells is asked about and skipped or sent on; one that only its hash can name is sent,
converted where that was asked for, as an upload that is committed when the hash is known, or cancelled when the
destination turns out to have it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from imgmove.engine.ahead import ReadAhead
from imgmove.engine.blobs import SidedReader, on_destination
from imgmove.engine.convert import Conversions, Recipe
from imgmove.engine.graph import read_content
from imgmove.engine.run import Run
from imgmove.errors import ImgmoveError, SizeMismatch, UsageError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.media_types import Compression
from imgmove.ports import (
    Arrival,
    BlobFinished,
    BlobMounter,
    BlobStarted,
    Destination,
    Knowledge,
    NamedImage,
    PipeTaker,
    Reader,
    SequentialDestination,
    SequentialSource,
)
from imgmove.streams import BytesReader, ContentCheck, HashingReader, PeekReader, VerifyingReader, drain

Result = TypeVar("Result")

_TAR_BLOCK = 512
_LAYERS = {
    "none": media_types.OCI_LAYER,
    "gzip": media_types.OCI_LAYER_GZIP,
    "zstd": media_types.OCI_LAYER_ZSTD,
}


@dataclass(frozen=True)
class Piping:
    """Where a pipe's content goes and what happens to it on the way.

    Attributes:
        names: the names that an image of the pipe gets at the destination; None leaves the image out.
        conversions: as for a plan; ``made_up`` goes for layers that come without a manifest.
        referrers: whether signatures and the like come along.
    """

    destination: Destination
    names: Callable[[NamedImage], Sequence[str] | None]
    run: Run
    conversions: Conversions | None = None
    knowledge: Knowledge | None = None
    referrers: bool = True


@dataclass
class PipedBlobs:
    """Takes what comes out of a pipe to the destination, and remembers what it turned out to be.

    Attributes:
        arrived: all that is at the destination, as it is there.
        sent: of that, what had to be sent.
        became: what was converted, by the digest that it had in the pipe.
    """

    source: SequentialSource
    piping: Piping
    arrived: dict[Digest, Descriptor] = field(default_factory=dict)
    sent: dict[Digest, Descriptor] = field(default_factory=dict)
    became: dict[Digest, Descriptor] = field(default_factory=dict)

    def take(self, arrival: Arrival) -> None:
        """Sends on what comes, unless the destination has it.

        Raises:
            UsageError: it would have to be read before it has a digest, and the destination is a pipe too.
        """
        if arrival.digest in self.arrived or arrival.digest in self.became:
            self._check_again(arrival)
            return
        if self._is_there(arrival, self._known_result(arrival)):
            return
        peek = PeekReader(self.piping.run.watched(SidedReader(arrival.reader), arrival.key), _TAR_BLOCK)
        recipe = self._recipe(arrival, peek.start)
        if recipe is None and self._is_there(arrival, _named(arrival)):
            return
        if isinstance(self.piping.destination, SequentialDestination) and (recipe or arrival.digest is None):
            raise UsageError(
                "these layers get their digests only when they have been read, which is too late for another pipe",
                hint="write one side to a file",
            )
        self._send(arrival, peek, recipe)

    def _check_again(self, arrival: Arrival) -> None:
        """Reads another copy of what came before: readers that keep the last of two would get this one."""
        named = _named(arrival)
        if named is not None:
            drain(SidedReader(VerifyingReader(SidedReader(arrival.reader), ContentCheck(named))))

    def _is_there(self, arrival: Arrival, descriptor: Descriptor | None) -> bool:
        if descriptor is None or not self._destination_has(descriptor):
            return False
        self._settled(arrival, descriptor, arrival.diff_id)
        self._tell_finished(descriptor, "present")
        return True

    def _known_result(self, arrival: Arrival) -> Descriptor | None:
        """What a converted arrival became in an earlier run, if that is known before it has been read."""
        after, plain = self._wanted_compression(arrival), arrival.diff_id or arrival.digest
        if after is None or plain is None or self.piping.knowledge is None:
            return None
        return self.piping.knowledge.converted(plain, Recipe("none", after, self._level).name)

    def _send(self, arrival: Arrival, peek: PeekReader, recipe: Recipe | None) -> None:
        named = _named(arrival)
        plain: Reader = SidedReader(VerifyingReader(peek, ContentCheck(named))) if named else HashingReader(peek)
        # Reading and hashing what comes goes on in a thread of its own while the compressor works.
        taken = ReadAhead(plain) if recipe else plain
        stored = HashingReader(self._converted(taken, recipe)) if recipe else plain
        self.piping.run.observer.on(BlobStarted(arrival.key, arrival.key[:12], None if recipe else arrival.size))

        def described() -> Descriptor:
            if named is not None and recipe is None:
                return named
            assert isinstance(stored, HashingReader)
            kind = _LAYERS.get(recipe.after if recipe else arrival.compression, media_types.OCTET_STREAM)
            return Descriptor(kind, stored.digest, stored.size)

        # A pipe can't be read again: without a descriptor the destination takes pieces that it can send again.
        is_piped_on = isinstance(self.piping.destination, SequentialDestination)
        try:
            descriptor = self._upload(stored, described, named if is_piped_on else None)
        finally:
            if recipe:
                taken.close()
        is_plain = recipe is None and media_types.layer_compression(descriptor.media_type) == "none"
        source_digest = arrival.digest or (plain.digest if isinstance(plain, HashingReader) else None)
        diff_id = source_digest if is_plain or (recipe and recipe.before == "none") else None
        if recipe and source_digest and self.piping.knowledge:
            self.piping.knowledge.learned_conversion(source_digest, recipe.name, descriptor)
        self._settled(arrival, descriptor, diff_id)
        self.piping.run.observer.on(BlobFinished(arrival.key, descriptor.digest.short, descriptor.size, "sent"))

    def _upload(self, reader: Reader, described: Callable[[], Descriptor], begin: Descriptor | None) -> Descriptor:
        run, destination = self.piping.run, self.piping.destination
        if begin is None and isinstance(destination, PipeTaker):
            writer = on_destination(destination.put_from_pipe)
        else:
            writer = on_destination(lambda: destination.put_blob(begin))

        def write() -> None:
            writer.resume()
            writer.write(reader)

        try:
            on_destination(lambda: run.persist("sending from the pipe", write))
            descriptor = described()
            if begin is None and self._destination_has(descriptor):
                writer.abort()
            else:
                on_destination(lambda: run.persist("committing", lambda: writer.commit(descriptor)))
        except BaseException:
            writer.abort()
            raise
        self.sent[descriptor.digest] = descriptor
        return descriptor

    def _settled(self, arrival: Arrival, descriptor: Descriptor, diff_id: Digest | None) -> None:
        self.arrived[descriptor.digest] = descriptor
        if arrival.digest is None:
            self.source.became(arrival.key, descriptor, diff_id)
        elif descriptor.digest != arrival.digest:
            self.became[arrival.digest] = descriptor
        destination, knowledge = self.piping.destination, self.piping.knowledge
        if knowledge is not None and isinstance(destination, BlobMounter):
            knowledge.saw_blob(destination.registry, destination.repository, descriptor.digest)

    # --- conversion

    @property
    def _level(self) -> int | None:
        return self.piping.conversions.level if self.piping.conversions else None

    def _wanted_compression(self, arrival: Arrival) -> Compression | None:
        conversions = self.piping.conversions
        if conversions is None:
            return None
        return conversions.compression or (conversions.made_up if arrival.digest is None else None)

    def _recipe(self, arrival: Arrival, start: bytes) -> Recipe | None:
        """How to convert an arrival, judged by its first bytes, as no manifest has come to say what it is."""
        after = self._wanted_compression(arrival)
        if after is None:
            return None
        assert self.piping.conversions is not None
        before = media_types.layer_compression(_LAYERS.get(arrival.compression, ""))
        # What has no digest yet is a layer for sure; anything may have one.
        if before == "none" and arrival.digest is not None and not _is_tar(start):
            return None
        is_asked_for = self.piping.conversions.compression is not None or before == "none"
        if before is None or before == after or not is_asked_for:
            return None
        return Recipe(before, after, self._level)

    def _converted(self, reader: Reader, recipe: Recipe) -> Reader:
        assert self.piping.conversions is not None
        codec = self.piping.conversions.codec
        if recipe.before != "none":
            reader = SidedReader(codec.decompressing(reader, recipe.before))
        return reader if recipe.after == "none" else codec.compressing(reader, recipe.after, recipe.level)

    # --- blobs that a manifest names

    def ensure(self, blob: Descriptor) -> None:
        """Sees to it that a blob is at the destination: it came, or the source kept it, or it was there before."""
        came = self.arrived.get(blob.digest)
        if came is not None and came.size != blob.size:
            raise SizeMismatch(
                f"{blob.digest.short} has {came.size} bytes, not the {blob.size} that its descriptor says"
            ).on("source")
        if came is not None or blob.digest in self.became:
            return
        if self._destination_has(blob):
            self._tell_finished(blob, "present")
        else:
            content = from_source(lambda: read_content(self.source, blob, blob.size))
            self.piping.run.observer.on(BlobStarted(str(blob.digest), blob.digest.short, blob.size))
            self._upload(BytesReader(content), lambda: blob, blob)
            self._tell_finished(blob, "sent")
        self.arrived[blob.digest] = blob

    # --- asking and telling

    def _destination_has(self, descriptor: Descriptor) -> bool:
        run, destination = self.piping.run, self.piping.destination
        return on_destination(
            lambda: run.persist(f"asking for {descriptor.digest.short}", lambda: destination.has(descriptor))
        )

    def _tell_finished(self, descriptor: Descriptor, how: Literal["sent", "present"]) -> None:
        key = str(descriptor.digest)
        self.piping.run.observer.on(BlobFinished(key, descriptor.digest.short, descriptor.size, how))


def _named(arrival: Arrival) -> Descriptor | None:
    """What the pipe says that comes; None when only the hash of the bytes will tell."""
    if arrival.digest is None or arrival.size is None:
        return None
    return Descriptor(media_types.OCTET_STREAM, arrival.digest, arrival.size)


def _is_tar(start: bytes) -> bool:
    return start[257:262] == b"ustar" or start == bytes(_TAR_BLOCK)


def from_source(call: Callable[[], Result]) -> Result:
    """Calls, and says of what goes wrong that it is the source's."""
    try:
        return call()
    except ImgmoveError as error:
        raise error.on("source") from error.__cause__
