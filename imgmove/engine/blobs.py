"""Moving one blob: opened at the source where it broke, verified on the way, committed when it is whole."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from imgmove.engine.convert import Conversions, Recipe, converted_type
from imgmove.engine.graph import open_content
from imgmove.engine.plan import PlannedBlob
from imgmove.engine.run import Run
from imgmove.errors import ImgmoveError, Interrupted, Side
from imgmove.model.descriptor import Descriptor
from imgmove.ports import BlobFinished, BlobMounter, BlobStarted, BlobWriter, Reader
from imgmove.streams import ContentCheck, HashingReader, VerifyingReader, WatchedReader, drain

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
        is_wanted: asked at every block; when nobody needs a blob any more, its move ends with `Interrupted`.
    """

    run: Run
    conversions: Conversions | None = None
    is_wanted: Callable[[PlannedBlob], bool] = lambda _: True

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
        descriptor = blob.descriptor
        check = ContentCheck(descriptor)
        upload = writer or self._begin(blob, descriptor)

        def attempt() -> None:
            held = on_destination(upload.resume)
            start = check.rewind(held)
            reader = self._opened(blob, start)
            try:
                verified = SidedReader(VerifyingReader(reader, check, skip=held - start))
                on_destination(lambda: upload.write(verified))
            finally:
                reader.close()
            on_destination(lambda: upload.commit(descriptor))

        try:
            self.run.persist(f"moving {descriptor.digest.short}", attempt, lambda: check.position)
        except BaseException:
            upload.abort()
            raise
        return descriptor

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
        return on_destination(lambda: blob.destination.put_blob(descriptor))

    def _opened(self, blob: PlannedBlob, offset: int) -> Reader:
        try:
            raw = open_content(blob.source, blob.descriptor, offset)
        except ImgmoveError as error:
            raise error.on("source") from error.__cause__
        wanted = WatchedReader(SidedReader(raw), lambda _: self._check_wanted(blob))
        return self.run.watched(wanted, str(blob.descriptor.digest))

    def _check_wanted(self, blob: PlannedBlob) -> None:
        if not self.is_wanted(blob):
            raise Interrupted


def on_destination(call: Callable[[], Result]) -> Result:
    """Marks whatever goes wrong as the destination's fault, unless it is known to be the source's."""
    try:
        return call()
    except ImgmoveError as error:
        raise error.on("destination") from error.__cause__


def _described(before: Descriptor, recipe: Recipe, result: HashingReader) -> Descriptor:
    return Descriptor(converted_type(before.media_type, recipe.after), result.digest, result.size)
