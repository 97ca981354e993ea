"""One image on its way into an engine: what of it is missing there, and the archives that carry it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from imgmove.endpoints.archive.stream import ArchiveStream, Sink
from imgmove.errors import MalformedContent
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest, digests_of_layers
from imgmove.model.platform import Platform
from imgmove.ports import NamedImage, Opener, Outline


@dataclass(frozen=True)
class Shipment:
    """An image, and where its content comes from.

    Attributes:
        diff_ids: of its layers, in their order.
        platform: that it is for.
        held: the digests of blobs that the engine is thought to hold.
    """

    image: Manifest
    diff_ids: tuple[Digest, ...]
    platform: Platform
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

    @property
    def missing_size(self) -> int:
        """Bytes of what the engine does not hold."""
        return sum(blob.size for blob in self.blobs if blob.digest not in self.held)

    def write_archive(self, sink: Sink, name: str, image: Manifest, left_out: Collection[Digest]) -> None:
        """Writes an archive in both formats.

        Args:
            image: the manifest to send, its own or another one of the same image.
            left_out: blobs of that manifest which the engine holds.

        Raises:
            LocalError: the engine stopped taking it.
        """
        stream = ArchiveStream(sink, "the archive")
        blobs = tuple({child.digest: child for child in image.children}.values())
        root = NamedImage(image.descriptor, (name,))
        stream.begin(Outline(blobs, (image,), (root,), is_whole=True))
        for blob in blobs:
            if blob.digest not in left_out:
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


def held_below(image: Manifest, diff_ids: Sequence[Digest], others: Iterable[Sequence[Digest]]) -> Collection[Digest]:
    """The layers that some other image has on top of the same lower ones, which is how engines know layers."""
    count = 0
    for other in others:
        count = max(count, _common(other, diff_ids))
        if count == len(diff_ids):
            break
    return {layer.digest for layer in image.layers[:count]} - {layer.digest for layer in image.layers[count:]}


def _common(one: Sequence[Digest], other: Sequence[Digest]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
