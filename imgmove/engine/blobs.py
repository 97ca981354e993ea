"""Moving one blob: opened at the source where it broke, verified on the way, committed when it is whole."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from imgmove.engine.ahead import READ_AHEAD_FROM, read_ahead
from imgmove.engine.convert import Conversions, Recipe, converted_type
from imgmove.engine.graph import open_content
from imgmove.engine.plan import PlannedBlob
from imgmove.engine.run import Run
from imgmove.engine.split import split
from imgmove.errors import ContentChanged, ContentError, ImgmoveError, Interrupted, Side, SizeMismatch
from imgmove.model.descriptor import Descriptor
from imgmove.ports import (
    BlobFinished,
    BlobMounter,
    BlobStarted,
    BlobWriter,
    BytesMoved,
    Destination,
    LastingBlobWriter,
    LastingDestination,
    Reader,
    Retrying,
    SequentialDestination,
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

    def _sent(self, blob: PlannedBlob, upload: BlobWriter | None) -> Descriptor:
        """Goes on with what is there, and begins anew where that proves to belong to something else."""
        for beginnings_left in (2, 1, 0):
            upload = upload or self._begun(blob)
            check = ContentCheck(blob.descriptor)
            held = _held(upload)
            try:
                if held and isinstance(upload, LastingBlobWriter):
                    self._absorb(blob, upload, check, held)
                self._carry(blob, upload, check)
                break
            except (ContentError, ContentChanged) as error:
                is_mixed = held > 0 or isinstance(error, ContentChanged)
                # What went down a pipe can't be taken back.
                if not is_mixed or not beginnings_left or isinstance(blob.destination, SequentialDestination):
                    raise
                self._tell_moved(blob, -check.position)
                self.run.observer.on(Retrying(f"moving {blob.descriptor.digest.short}", str(error), 0))
            upload = None
        return blob.descriptor

    def _begun(self, blob: PlannedBlob) -> BlobWriter:
        destination = blob.destination
        if isinstance(destination, LastingDestination):
            what = f"beginning {blob.descriptor.digest.short}"
            return on_destination(lambda: self.run.persist(what, lambda: destination.resume_blob(blob.descriptor)))
        return self._begin(blob, blob.descriptor)

    def _absorb(self, blob: PlannedBlob, upload: LastingBlobWriter, check: ContentCheck, held: int) -> None:
        """Hashes what the destination holds already, which nobody has to send again.

        Raises:
            SizeMismatch: it holds less than it says.
        """
        try:
            reader = SidedReader(on_destination(upload.reread), "destination")
            try:
                while data := reader.read(BLOCK):
                    self.run.check()
                    check.update(data)
                    self._tell_moved(blob, len(data))
            finally:
                reader.close()
            _check_held(check, held)
        except BaseException as error:
            _end(upload, error)
            raise

    def _carry(self, blob: PlannedBlob, upload: BlobWriter, check: ContentCheck) -> None:
        def attempt() -> None:
            held, before = on_destination(upload.resume), check.position
            start = check.rewind(held)
            if start < before:
                self._tell_moved(blob, start - before)
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

    def _tell_moved(self, blob: PlannedBlob, count: int) -> None:
        self.run.observer.on(BytesMoved(str(blob.descriptor.digest), count))

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
        return split(self.run, source, descriptor, raw, offset) or read_ahead(self.run, raw) or raw

    def _check_wanted(self, blob: PlannedBlob) -> None:
        if (reason := self.why_unwanted(blob)) is not None:
            raise Interrupted from reason


def on_destination(call: Callable[[], Result]) -> Result:
    """Marks whatever goes wrong as the destination's fault, unless it is known to be the source's."""
    try:
        return call()
    except ImgmoveError as error:
        raise error.on("destination") from error.__cause__


def _held(upload: BlobWriter) -> int:
    """Bytes that an earlier run left."""
    return on_destination(upload.resume) if isinstance(upload, LastingBlobWriter) else 0


def _check_held(check: ContentCheck, held: int) -> None:
    if check.position != held:
        raise SizeMismatch(f"{check.position} bytes are left of the {held} that an earlier run wrote")


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
