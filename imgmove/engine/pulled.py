"""Destinations that fetch for themselves, and what they are given to read from: verified, watched, and patient."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from imgmove.engine.blobs import BlobMover, SidedReader, on_destination
from imgmove.engine.graph import open_content, read_content
from imgmove.engine.plan import PlannedBlob, PlannedTree
from imgmove.engine.run import Run
from imgmove.errors import ImgmoveError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest
from imgmove.ports import BlobFinished, BlobStarted, BytesMoved, Note, Opener, PullingDestination, Reader
from imgmove.streams import BLOCK, ContentCheck, VerifyingReader


def pull(planned: PlannedTree, destination: PullingDestination, mover: BlobMover, label: str) -> Descriptor:
    """Lets a destination take one image; what breaks on the way is begun again.

    Returns:
        The image as it was given, which is another than at the source where layers were converted.

    Raises:
        ImgmoveError: it could not be taken; its ``side`` is known.
    """
    became: dict[Digest, Descriptor] = {}
    arriving: dict[Digest, PlannedBlob] = {}
    for blob in planned.blobs:
        if blob.recipe and blob.fate == "send":
            # Sizes stand before the content, whichever way it goes.
            became[blob.descriptor.digest] = mover.measure(blob, blob.recipe)
            arriving[became[blob.descriptor.digest].digest] = blob
        else:
            arriving[blob.descriptor.digest] = replace(blob, recipe=None)
    image = planned.tree.nodes[-1]
    if mover.conversions is not None:
        image = mover.conversions.rebuild(image, became)
    assert isinstance(image, Manifest)
    assert image.config is not None
    run, names = mover.run, planned.tree.names
    config = _config(run, arriving[image.config.digest].source, image.config)
    content = PulledContent(run, mover, arriving)
    notes = on_destination(
        lambda: run.persist(f"sending {label}", lambda: destination.pull(image, config, names, content))
    )
    for note in notes:
        run.observer.on(Note(f"{label}: {note}"))
    return image.descriptor


def _config(run: Run, source: Opener, config: Descriptor) -> bytes:
    try:
        return run.persist(f"reading config {config.digest.short}", lambda: read_content(source, config, config.size))
    except ImgmoveError as error:
        raise error.on("source") from error.__cause__


@dataclass
class PulledContent:
    """The blobs of one image, as they are to arrive.

    Attributes:
        blobs: by the digests that they have at the destination.
    """

    run: Run
    mover: BlobMover
    blobs: Mapping[Digest, PlannedBlob]
    _moved: dict[Digest, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """Opens a blob; what breaks at the source is opened again where it broke.

        From the start, the end is held back until the hash of the whole is right. Whoever begins further on checks
        the whole itself.
        """
        blob = self.blobs[descriptor.digest]
        self._begin(descriptor, offset)
        reader = self._converted(blob, offset) if blob.recipe else self._as_it_is(blob, descriptor, offset)
        return _Told(reader, lambda count: self._count(descriptor, count))

    def _as_it_is(self, blob: PlannedBlob, descriptor: Descriptor, offset: int) -> Reader:
        def again(position: int) -> Reader:
            return self.run.watched(open_content(blob.source, descriptor, position), str(descriptor.digest))

        reader = PersistentReader(self.run, f"moving {descriptor.digest.short}", again, offset)
        return reader if offset else SidedReader(VerifyingReader(reader, ContentCheck(descriptor)))

    def _converted(self, blob: PlannedBlob, offset: int) -> Reader:
        assert blob.recipe is not None
        reader = self.mover.conversion(blob, blob.recipe)
        while offset and (data := reader.read(min(offset, BLOCK))):
            offset -= len(data)
        return reader

    # --- for whoever watches

    def _begin(self, descriptor: Descriptor, offset: int) -> None:
        key = str(descriptor.digest)
        with self._lock:
            before = self._moved.get(descriptor.digest)
            self._moved[descriptor.digest] = offset
        if before is None:
            self.run.observer.on(BlobStarted(key, descriptor.digest.short, descriptor.size))
        elif before > offset:
            self.run.observer.on(BytesMoved(key, offset - before))

    def _count(self, descriptor: Descriptor, count: int) -> None:
        with self._lock:
            self._moved[descriptor.digest] += count
            is_whole = count and self._moved[descriptor.digest] == descriptor.size
        if is_whole:
            key = str(descriptor.digest)
            self.run.observer.on(BlobFinished(key, descriptor.digest.short, descriptor.size, "sent"))


class _Told:
    def __init__(self, raw: Reader, tell: Callable[[int], None]) -> None:
        self._raw = raw
        self._tell = tell

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        data = self._raw.read(size)
        self._tell(len(data))
        return data

    def close(self) -> None:
        """Closes what it reads from."""
        self._raw.close()


class PersistentReader:
    """Reads on where the source broke."""

    def __init__(self, run: Run, what: str, again: Callable[[int], Reader], position: int) -> None:
        self._run = run
        self._what = what
        self._again = again
        self._position = position
        self._raw: Reader | None = None

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        return self._run.persist(self._what, lambda: self._attempt(size))

    def close(self) -> None:
        """Closes what it reads from."""
        if self._raw is not None:
            self._raw.close()
            self._raw = None

    def _attempt(self, size: int) -> bytes:
        try:
            if self._raw is None:
                self._raw = self._again(self._position)
            data = self._raw.read(size)
        except ImgmoveError as error:
            self.close()
            raise error.on("source") from error.__cause__
        self._position += len(data)
        return data
