"""Moving one blob: opened at the source where it broke, verified on the way, committed when it is whole."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from imgmove.engine.ahead import READ_AHEAD_FROM, SPLIT_FROM, ReadAhead, SplitReader
from imgmove.engine.convert import Conversions, Recipe, converted_type
from imgmove.engine.graph import open_content
from imgmove.engine.plan import PlannedBlob
from imgmove.engine.run import Run
from imgmove.errors import ContentError, ImgmoveError, Interrupted, Side
from imgmove.model.descriptor import Descriptor
from imgmove.ports import (
    BlobFinished,
    BlobMounter,
    BlobStarted,
    BlobWriter,
    Destination,
    LastingBlobWriter,
    LastingDestination,
    RangedSource,
    Reader,
    Retrying,
)
from imgmove.streams import BLOCK, BytesReader, ContentCheck, HashingReader, VerifyingReader, WatchedReader, drain

Result = TypeVar("Result")

# Compressors take processors and memory, unlike blobs that merely flow through.
_CONVERTING = threading.BoundedSemaphore(max(2, min(4, os.cpu_count() or 2)))


class SidedReader:
    """Marks whatever goes wrong while reading as the source's fault."""

    def __init__(self, raw: Reader, side: Side = "source") -> None:
        self._raw = raw
        self._side: Side = side

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        try:
            return self._raw.read(size)
        except ImgmoveError as error:
            raise error.on(self._side) from error.__cause__

    def close(self) -> None:
        """Closes what it reads from."""
        self._raw.close()


@dataclass(frozen=True)
class BlobMover:
    """Moves blobs as a plan says, telling the run's observer.

    Attributes:
        why_unwanted: asked at every block; once it names a reason why nobody needs a blob any more, the blob's move ends
            with `Interrupted`, which has the reason as its cause.
    """

    run: Run
    conversions: Conversions | None = None
    why_unwanted: Callable[[PlannedBlob], BaseException | None] = lambda _: None

    def move(self, blob: PlannedBlob, *, mount_from: str = "", measured: Descriptor | None = None) -> Descriptor:
        """Brings a blob to its destination; returns what it is there.

        Args:
            blob: one whose fate is to be sent or mounted.
            mount_from: a repository of the same registry that has the blob by now.
            measured: what its conversion gave when it was done for nobody.

        Raises:
            ImgmoveError: it could not be done; its ``side`` is known.
        """
        label = blob.descriptor.digest.short
        key = str(blob.descriptor.digest)
        is_mounted, upload = self._mount(blob, mount_from or blob.mount_from)
        if is_mounted:
            result = blob.result or blob.descriptor
            self.run.observer.on(BlobFinished(key, label, result.size, "mounted"))
            return result
        self.run.observer.on(BlobStarted(key, label, None if blob.recipe else blob.descriptor.size))
        result = self._converted(blob, blob.recipe, measured) if blob.recipe else self._sent(blob, upload)
        self.run.observer.on(BlobFinished(key, label, result.size, "sent"))
        return result

    def _mount(self, blob: PlannedBlob, repository: str) -> tuple[bool, BlobWriter | None]:
        """Whether the blob was mounted, and if not, the upload that the registry may have begun instead."""
        destination, wanted = blob.destination, blob.result or blob.descriptor
        if not repository or not isinstance(destination, BlobMounter) or (blob.recipe and not blob.result):
            return False, None
        what = f"mounting {wanted.digest.short}"
        upload = on_destination(lambda: self.run.persist(what, lambda: destination.mount(wanted, repository)))
        if upload is not None and blob.recipe:
            upload.abort()
            return False, None
        return upload is None, upload

    def _sent(self, blob: PlannedBlob, writer: BlobWriter | None) -> Descriptor:
        check = ContentCheck(blob.descriptor)
        if writer is not None:
            self._carry(blob, writer, check)
        elif isinstance(blob.destination, LastingDestination):
            self._continue(blob, blob.destination, check)
        else:
            self._carry(blob, self._begin(blob, blob.descriptor), check)
        return blob.descriptor

    def _continue(self, blob: PlannedBlob, destination: LastingDestination, check: ContentCheck) -> None:
        """Goes on with what an earlier run left, and begins anew where that proves wrong."""
        upload = on_destination(lambda: destination.resume_blob(blob.descriptor))
        held = upload.resume()
        try:
            self._absorb(blob, upload, check)
            self._carry(blob, upload, check)
        except ContentError as error:
            if not held:
                raise
            self.run.observer.on(Retrying(f"going on with {blob.descriptor.digest.short}", str(error), 0))
            upload = on_destination(lambda: destination.resume_blob(blob.descriptor))
            self._carry(blob, upload, ContentCheck(blob.descriptor))

    def _absorb(self, blob: PlannedBlob, upload: LastingBlobWriter, check: ContentCheck) -> None:
        """Hashes what the destination holds already, which nobody has to send again."""
        held = self.run.watched(SidedReader(upload.reread(), "destination"), str(blob.descriptor.digest))
        try:
            while data := held.read(BLOCK):
                check.update(data)
        except BaseException as error:
            _end(upload, error)
            raise

    def _carry(self, blob: PlannedBlob, upload: BlobWriter, check: ContentCheck) -> None:
        def attempt() -> None:
            held = on_destination(upload.resume)
            start = check.rewind(held)
            reader = self._opened(blob, start) if start < blob.descriptor.size else BytesReader()
            try:
                verified = SidedReader(VerifyingReader(reader, check, skip=held - start))
                on_destination(lambda: upload.write(verified))
            finally:
                reader.close()
            on_destination(lambda: upload.commit(blob.descriptor))

        try:
            self.run.persist(f"moving {blob.descriptor.digest.short}", attempt, lambda: check.position)
        except BaseException as error:
            _end(upload, error)
            raise

    def _converted(self, blob: PlannedBlob, recipe: Recipe, measured: Descriptor | None) -> Descriptor:
        """Sends a blob in another compression. What breaks starts over, as a compressor can't be rewound."""

        def attempt() -> Descriptor:
            with _CONVERTING:
                return self._convert_once(blob, recipe, measured)

        return self.run.persist(f"converting {blob.descriptor.digest.short}", attempt)

    def _convert_once(self, blob: PlannedBlob, recipe: Recipe, measured: Descriptor | None) -> Descriptor:
        upload = self._begin(blob, measured)
        try:
            on_destination(upload.resume)
            reader = self.conversion(blob, recipe)
            try:
                on_destination(lambda: upload.write(reader))
            finally:
                reader.close()
            result = _described(blob.descriptor, recipe, reader)
            on_destination(lambda: upload.commit(result))
        except BaseException:
            upload.abort()
            raise
        return result

    def measure(self, blob: PlannedBlob, recipe: Recipe) -> Descriptor:
        """What a conversion will give, found by doing it for nobody."""

        def attempt() -> Descriptor:
            reader = self.conversion(blob, recipe)
            try:
                drain(reader)
                return _described(blob.descriptor, recipe, reader)
            finally:
                reader.close()

        return self.run.persist(f"measuring {blob.descriptor.digest.short}", attempt)

    def conversion(self, blob: PlannedBlob, recipe: Recipe) -> HashingReader:
        """The blob in its new compression, verified in its old one."""
        assert self.conversions is not None
        codec = self.conversions.codec
        reader: Reader = SidedReader(VerifyingReader(self._opened(blob, 0), ContentCheck(blob.descriptor)))
        if recipe.before != "none":
            reader = SidedReader(codec.decompressing(reader, recipe.before))
        if recipe.after != "none":
            reader = codec.compressing(reader, recipe.after, recipe.level)
        return HashingReader(reader)

    def _begin(self, blob: PlannedBlob, descriptor: Descriptor | None) -> BlobWriter:
        destination = blob.destination
        assert isinstance(destination, Destination)
        return on_destination(lambda: destination.put_blob(descriptor))

    def _opened(self, blob: PlannedBlob, offset: int) -> Reader:
        try:
            raw = self._ahead(blob, open_content(blob.source, blob.descriptor, offset), offset)
        except ImgmoveError as error:
            raise error.on("source") from error.__cause__
        wanted = WatchedReader(SidedReader(raw), lambda _: self._check_wanted(blob))
        return self.run.watched(wanted, str(blob.descriptor.digest))

    def _ahead(self, blob: PlannedBlob, raw: Reader, offset: int) -> Reader:
        source, descriptor = blob.source, blob.descriptor
        left = descriptor.size - offset
        if left < READ_AHEAD_FROM:
            return raw
        if left < SPLIT_FROM or not isinstance(source, RangedSource) or self.run.limit is not None:
            return ReadAhead(raw)
        return SplitReader(self.run, raw, partial(source.open_range, descriptor), offset, descriptor.size)

    def _check_wanted(self, blob: PlannedBlob) -> None:
        if (reason := self.why_unwanted(blob)) is not None:
            raise Interrupted from reason


def on_destination(call: Callable[[], Result]) -> Result:
    """Marks whatever goes wrong as the destination's fault, unless it is known to be the source's."""
    try:
        return call()
    except ImgmoveError as error:
        raise error.on("destination") from error.__cause__


def _end(upload: BlobWriter, error: BaseException) -> None:
    """Leaves what came to a later run where that could finish it, and forgets it where that would fail again."""
    reason = error.__cause__ if isinstance(error, Interrupted) and error.__cause__ else error
    may_succeed = isinstance(reason, Interrupted) or (isinstance(reason, ImgmoveError) and reason.is_transient)
    if may_succeed and isinstance(upload, LastingBlobWriter):
        upload.keep()
    else:
        upload.abort()


def _described(before: Descriptor, recipe: Recipe, result: HashingReader) -> Descriptor:
    return Descriptor(converted_type(before.media_type, recipe.after), result.digest, result.size)
