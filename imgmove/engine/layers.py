"""Layers as tars: opened where they are, unpacked and checked in threads of their own, the next ones ahead of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from imgmove.engine.ahead import ReadAhead
from imgmove.engine.blobs import SidedReader
from imgmove.engine.graph import open_content
from imgmove.engine.pulled import PersistentReader
from imgmove.engine.run import Run
from imgmove.engine.split import split
from imgmove.errors import DigestMismatch, MalformedContent
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.ports import BlobFinished, BlobStarted, Codec, Reader, Source
from imgmove.streams import ContentCheck, PeekReader, VerifyingReader

AHEAD = 3
"""Layers that are begun before the one above them is done; each holds 2 MiB at most."""
_MAGIC = 10


@dataclass
class Allowance:
    """How many bytes all layers of an image may unpack to; None for any number."""

    most: int | None = None
    taken: int = 0

    def take(self, count: int) -> None:
        """Takes so many bytes.

        Raises:
            MalformedContent: they are more than there may be.
        """
        self.taken += count
        if self.most is not None and self.taken > self.most:
            raise MalformedContent(f"the image unpacks to more than the {self.most} bytes of --max-size").on("source")


@dataclass
class StoredLayer:
    """One layer of an image.

    Attributes:
        label: for messages.
        below: the next `AHEAD` layers under it, the nearest first, which are begun ahead.
    """

    run: Run
    source: Source
    codec: Codec
    descriptor: Descriptor
    diff_id: Digest
    label: str
    allowance: Allowance
    below: Sequence[StoredLayer] = ()
    _begun: Reader | None = field(default=None, init=False)
    _is_known: bool = field(default=False, init=False)
    _is_told: bool = field(default=False, init=False)

    def open(self) -> Reader:
        """Its tar.

        Raises (while reading):
            ContentError: the layer, or what it unpacks to, is not what the image says.
            Truncated: it ends early.
        """
        reader = self._taken()
        for layer in self.below[:AHEAD]:
            layer.begin()
        return _Judged(self, reader)

    def begin(self) -> None:
        """Reads ahead, unless that was done before."""
        if not self._is_known:
            self._is_known = True
            self._begun = self._ahead()

    def close(self) -> None:
        """Gives up what was read ahead."""
        self._is_known = True
        if self._begun is not None:
            self._begun.close()
            self._begun = None

    def _taken(self) -> Reader:
        self._is_known = True
        reader, self._begun = self._begun, None
        return reader or self._ahead()

    def _ahead(self) -> Reader:
        self.run.observer.on(BlobStarted(self._key, self.descriptor.digest.short, self.descriptor.size))
        return ReadAhead(_Plain(self.codec, self._verified()))

    def _verified(self) -> Reader:
        def again(position: int) -> Reader:
            raw = open_content(self.source, self.descriptor, position)
            wide = split(self.run, self.source, self.descriptor, raw, position)
            return self.run.watched(wide or raw, self._key)

        reader = PersistentReader(self.run, f"reading {self.descriptor.digest.short}", again, 0)
        return SidedReader(VerifyingReader(reader, ContentCheck(self.descriptor)))

    @property
    def _key(self) -> str:
        return str(self.descriptor.digest)

    def finished(self) -> None:
        """Tells that all of it was read; once, as hard links may want a layer to be read again."""
        if self._is_told:
            return
        self._is_told = True
        self.run.observer.on(BlobFinished(self._key, self.descriptor.digest.short, self.descriptor.size, "sent"))


class _Plain:
    """Content unpacked by how it begins, whatever a media type says; nothing is read before it is asked for."""

    def __init__(self, codec: Codec, raw: Reader) -> None:
        self._codec = codec
        self._raw = raw
        self._plain: Reader | None = None

    def read(self, size: int = -1, /) -> bytes:
        """The next plain bytes."""
        if self._plain is None:
            peek = PeekReader(self._raw, _MAGIC)
            self._plain = SidedReader(self._codec.decompressing(peek, self._codec.sniff(peek.start)))
        return self._plain.read(size)

    def close(self) -> None:
        """Closes what it reads from."""
        self._raw.close()


class _Judged:
    """A layer's tar, whose end is given out only when its hash is the diffID."""

    def __init__(self, layer: StoredLayer, raw: Reader) -> None:
        self._layer = layer
        self._raw = raw
        self._hasher = layer.diff_id.hasher()

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        data = self._raw.read(size)
        self._hasher.update(data)
        self._layer.allowance.take(len(data))
        if not data and size:
            if self._hasher.hexdigest() != self._layer.diff_id.hex:
                raise DigestMismatch(f"{self._layer.label} does not unpack to what its diffID says").on("source")
            self._layer.finished()
        return data

    def close(self) -> None:
        """Closes what it reads from."""
        self._raw.close()
