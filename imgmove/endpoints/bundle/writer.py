"""Bundles as destinations: archives whose first member says what all of them are."""

from __future__ import annotations

from collections.abc import Sequence

from imgmove.endpoints.archive.stream import ArchiveStream, Sink
from imgmove.endpoints.archive.writer import ArchiveFile
from imgmove.endpoints.bundle.index import blob_name
from imgmove.endpoints.bundle.shape import BundleOptions, Shape, make_shape, needless
from imgmove.endpoints.bundle.split import SplitFile
from imgmove.errors import LocalError, UsageError
from imgmove.model.descriptor import Descriptor
from imgmove.ports import Files, FileWriter, Outline


class BundleFile(ArchiveFile):
    """A bundle in one file, or in volumes beside each other, that appears when it is finished."""

    def __init__(self, files: Files, path: str, options: BundleOptions | None = None) -> None:
        super().__init__(files, path)
        self._options = options or BundleOptions()
        self._shape: Shape | None = None

    def has(self, descriptor: Descriptor) -> bool:
        """Whether it is written already, or need not be."""
        return self._options.assumed(descriptor.digest) is not None or super().has(descriptor)

    def begin(self, outline: Outline) -> None:
        """Gives everything its place, once it is sure that there is room for it."""
        self._shape = make_shape(outline, self._options)
        if 0 < len(self._shape.volumes) < self._options.volume:
            count = len(self._shape.volumes)
            raise UsageError(f"there is no volume {self._options.volume}: the bundle has {count}")
        super().begin(self._shape.outline)
        offsets = {member.name: member.offset for member in self._shape.index.members}
        for digest, offset in self._places.items():
            if offsets[blob_name(digest)] != offset:
                raise LocalError(f"{self._path}: the bundle's index and its content disagree")
        for digest in needless(self._shape, self._options.volume):
            self.wrote(digest)

    def _front(self) -> Sequence[tuple[str, bytes]]:
        assert self._shape is not None
        return self._shape.front

    def _purpose(self) -> str:
        return f"{self._options.volume_size}/{self._options.volume}"

    def _begun_file(self, key: str) -> FileWriter:
        assert self._shape is not None
        if not self._shape.volumes:
            return super()._begun_file(key)
        return SplitFile(self._files, self._path, self._shape, self._options, key)


class BundleStream(ArchiveStream):
    """A bundle that is sent as it is made."""

    def __init__(self, sink: Sink, options: BundleOptions | None = None) -> None:
        super().__init__(sink)
        self._options = options or BundleOptions()
        if self._options.volume_size:
            raise UsageError("volumes are several files, which stdout can't be", hint="name the bundle with -o FILE")
        self._shape: Shape | None = None

    def has(self, descriptor: Descriptor) -> bool:
        """Whether it went by already, or need not."""
        return self._options.assumed(descriptor.digest) is not None or super().has(descriptor)

    def begin(self, outline: Outline) -> None:
        """Writes everything before the first blob."""
        self._shape = make_shape(outline, self._options)
        super().begin(self._shape.outline)

    def _front(self) -> Sequence[tuple[str, bytes]]:
        assert self._shape is not None
        return self._shape.front
