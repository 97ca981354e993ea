"""Writing a bundle as volumes: one file to whoever writes, several on the disk."""

from __future__ import annotations

import base64
import bisect
import hashlib
from collections.abc import Iterator
from dataclasses import replace

from imgmove.endpoints.bundle.index import front_end
from imgmove.endpoints.bundle.shape import BundleOptions, Shape
from imgmove.endpoints.bundle.volumes import Volume, with_checksums
from imgmove.ports import Files, FileWriter
from imgmove.streams import BLOCK


def volume_path(path: str, number: int) -> str:
    """The file of a volume."""
    return f"{path}.{number:03d}"


class SplitFile:
    """The volumes of a bundle as one file under a temporary name; for several threads whose ranges differ.

    Of `BundleOptions.volume`, if only one is wanted, all is written; what belongs to others is dropped.

    Args:
        key: what stands for the content, as for `Files.resume`.
    """

    def __init__(self, files: Files, path: str, shape: Shape, options: BundleOptions, key: str) -> None:
        volumes, only = shape.volumes, options.volume
        front = front_end(shape.index, shape.index.members)
        self._volumes = volumes
        self._signer = options.signer
        self._starts = [volume.start for volume in volumes]
        self._front = front
        self._data = {volume.number: front + len(volume.head()) for volume in volumes}
        self._writers: dict[int, FileWriter] = {}
        for volume in volumes:
            if only in {0, volume.number}:
                name = volume_path(path, volume.number)
                files.forget_others(name, key)
                self._writers[volume.number] = files.resume(name, key)

    def write_at(self, offset: int, data: bytes) -> None:
        """Writes to the volumes that hold this region."""
        if offset < self._front:
            for writer in self._writers.values():
                writer.write_at(offset, data)
            return
        for volume, one, two in self._parts(offset, offset + len(data)):
            if (writer := self._writers.get(volume.number)) is not None:  # type: ignore[assignment]
                writer.write_at(self._place(volume, one), data[one - offset : two - offset])

    def read_at(self, offset: int, size: int) -> bytes:
        """What was written, zeros for volumes that are not."""
        parts = []
        for volume, one, two in self._parts(offset, offset + size):
            writer = self._writers.get(volume.number)
            part = writer.read_at(self._place(volume, one), two - one) if writer is not None else b""
            parts.append(part.ljust(two - one, b"\0"))
        return b"".join(parts)

    @property
    def size(self) -> int:
        """Bytes of the whole bundle."""
        return self._volumes[-1].end

    def truncate(self, size: int) -> None:
        """The volumes get their sizes when they are committed; nothing was written beyond them."""

    def commit(self, path: str = "") -> None:  # noqa: ARG002 - the port's
        """Finishes each volume and shows it."""
        for volume in self._volumes:
            if (writer := self._writers.get(volume.number)) is not None:
                self._finish(volume, writer)

    def abort(self) -> None:
        """Removes what was not committed."""
        for writer in self._writers.values():
            writer.abort()

    def keep(self) -> None:
        """Leaves all for a later run."""
        for writer in self._writers.values():
            writer.keep()

    def _finish(self, volume: Volume, writer: FileWriter) -> None:
        done = with_checksums(volume, list(self._checksums(volume, writer)))
        if self._signer is not None:
            done = replace(done, signature=base64.b64encode(self._signer(done.to_sign())).decode())
        head = done.head()
        writer.write_at(self._front, head)
        end = self._front + len(head) + volume.end - volume.start
        writer.write_at(end, volume.tail())
        writer.truncate(end + len(volume.tail()))
        writer.commit()

    def _checksums(self, volume: Volume, writer: FileWriter) -> Iterator[str]:
        """A blob that is here as a whole has its checksum in its name; parts of one are read again."""
        for piece in volume.pieces:
            if piece.is_known:
                yield piece.sha256
                continue
            hasher = hashlib.sha256(usedforsecurity=False)
            position, left = self._place(volume, piece.offset), piece.size
            while left:
                data = writer.read_at(position, min(BLOCK, left)).ljust(min(BLOCK, left), b"\0")
                hasher.update(data)
                position, left = position + len(data), left - len(data)
            yield hasher.hexdigest()

    def _parts(self, start: int, end: int) -> Iterator[tuple[Volume, int, int]]:
        position = max(0, bisect.bisect_right(self._starts, start) - 1)
        for volume in self._volumes[position:]:
            if volume.start >= end:
                return
            one, two = max(start, volume.start), min(end, volume.end)
            if one < two:
                yield volume, one, two

    def _place(self, volume: Volume, offset: int) -> int:
        return self._data[volume.number] + offset - volume.start
