"""One image on its way into an engine: what of it is missing there, and the archives that carry it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from imgmove.endpoints.archive.stream import ArchiveStream, Sink
from imgmove.errors import MalformedContent
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest, digests_of_layers
from imgmove.ports import NamedImage, Opener, Outline


@dataclass(frozen=True)
class Shipment:
    """An image, and where its content comes from.

    Attributes:
        diff_ids: of its layers, in their order.
        held: the digests of blobs that the engine is thought to hold.
    """

    image: Manifest
    diff_ids: tuple[Digest, ...]
    held: Collection[Digest]
    content: Opener

    @property
    def blobs(self) -> Sequence[Descriptor]:
        """Config and layers, each once."""
        return list({child.digest: child for child in self.image.children}.values())

    @property
    def is_sparse(self) -> bool:
        """Whether anything can be left out."""
        return any(blob.digest in self.held for blob in self.blobs)

    def write_archive(self, sink: Sink, name: str, *, is_sparse: bool, image: Manifest | None = None) -> None:
        """Writes an archive in both formats, that what the engine holds is left out of when it is sparse.

        Args:
            image: a manifest of the same image that is sent instead of its own.

        Raises:
            LocalError: the engine stopped taking it.
        """
        sent = image or self.image
        stream = ArchiveStream(sink, "the archive")
        blobs = tuple({child.digest: child for child in sent.children}.values())
        root = NamedImage(sent.descriptor, (name,))
        stream.begin(Outline(blobs, (sent,), (root,), is_whole=True))
        for blob in blobs:
            if not (is_sparse and blob.digest in self.held):
                self._write_blob(stream, blob)
        stream.finish()

    def _write_blob(self, stream: ArchiveStream, blob: Descriptor) -> None:
        writer = stream.put_blob(blob)
        reader = self.content.open(blob)
        try:
            writer.resume()
            writer.write(reader)
            writer.commit(blob)
        finally:
            reader.close()


def diff_ids_of(image: Manifest, config: bytes) -> tuple[Digest, ...]:
    """The digests of the uncompressed layers of an image.

    Raises:
        MalformedContent: the config is not that of these layers.
    """
    diff_ids = tuple(digests_of_layers(config))
    if len(diff_ids) != len(image.layers):
        raise MalformedContent(f"an image of {len(image.layers)} layers, whose config has {len(diff_ids)}")
    return diff_ids
