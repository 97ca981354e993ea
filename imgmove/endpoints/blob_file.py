"""Blobs on their way into files: each in one of its own, after what that holds already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from imgmove.errors import SizeMismatch
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.ports import FileWriter, Reader
from imgmove.streams import BLOCK


class Opener(Protocol):
    """A place that has a blob."""

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader: ...


class FileBlobWriter:
    """A blob that is written into a file of its own, after what the file holds already."""

    def __init__(self, writer: FileWriter, place: Callable[[Digest], str]) -> None:
        self._writer = writer
        self._place = place
        self._written = writer.size
        self._is_committed = False

    def resume(self) -> int:
        """All that was written is there."""
        return self._written

    def reread(self) -> Reader:
        """What was written."""
        return WrittenReader(self._writer, 0, self._written)

    def write(self, reader: Reader) -> None:
        """Writes what comes."""
        while data := reader.read(BLOCK):
            self._writer.write_at(self._written, data)
            self._written += len(data)

    def commit(self, descriptor: Descriptor) -> None:
        """Shows the blob under its digest."""
        if self._is_committed:
            return
        if self._written != descriptor.size:
            raise SizeMismatch(f"{descriptor.digest.short}: {self._written} bytes came instead of {descriptor.size}")
        self._writer.commit(self._place(descriptor.digest))
        self._is_committed = True

    def keep(self) -> None:
        """Leaves what came for a later run."""
        if self._written:
            self._writer.keep()
        else:
            self._writer.abort()

    def abort(self) -> None:
        """Removes what is not committed."""
        self._writer.abort()


class WrittenReader:
    """A part of a file that is still being written."""

    def __init__(self, writer: FileWriter, start: int, end: int) -> None:
        self._writer = writer
        self._position = start
        self._end = end

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        left = self._end - self._position
        data = self._writer.read_at(self._position, left if size < 0 else min(size, left))
        self._position += len(data)
        return data

    def close(self) -> None:
        """Leaves the file to its writer."""


class ArrivedBlob:
    """A blob that somebody else brought while we waited for our turn."""

    def __init__(self, place: Opener, descriptor: Descriptor) -> None:
        self._place = place
        self._descriptor = descriptor

    def resume(self) -> int:
        """All of it is here."""
        return self._descriptor.size

    def reread(self) -> Reader:
        """The blob, which its bringer verified; once more does no harm."""
        return self._place.open(self._descriptor)

    def write(self, reader: Reader) -> None:
        """Nothing is left to write."""

    def commit(self, descriptor: Descriptor) -> None:
        """It is visible already."""

    def keep(self) -> None:
        """Nothing was begun."""

    def abort(self) -> None:
        """Nothing was begun."""
