"""One image on its way into an engine: what of it is missing there, and the archives that carry it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from imgmove.endpoints.archive.stream import ArchiveStream, Sink
from imgmove.errors import MalformedContent
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest, digests_of_layers
from imgmove.model.platform import Platform
from imgmove.ports import NamedImage, Opener, Outline

_ANSWER = 2048
"""Bytes that an engine takes to tell of an image."""
_DEEPEST = 5
"""Parts of a name, with the host."""
_FREE = 32 << 10
_SHARE = 50
"""What is asked may cost this part of what is missing, and `_FREE`."""
_HOPE, _MOST_HOPE = 10, 1 << 20
"""While nothing was found all may be there still, which is worth this part, up to so many bytes."""


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


def held_below(
    image: Manifest,
    diff_ids: Sequence[Digest],
    known: Iterable[Sequence[Digest]],
    others: Iterable[Sequence[Digest]],
) -> Collection[Digest]:
    """The layers that some other image has on top of the same lower ones, which is how engines know layers.

    Args:
        known: the layers of other images.
        others: those of images that have to be asked about, the likeliest first. No more of them are taken than what is
            still missing is worth, as the answers come over the line too. An answer that tells of no layers counts, too.
    """
    count = max((_common(other, diff_ids) for other in known), default=0)
    if count < len(diff_ids):
        for asked, other in enumerate(others, start=1):
            count = max(count, _common(other, diff_ids))
            missing = sum(layer.size for layer in image.layers[count:])
            hope = 0 if count else min(missing // _HOPE, _MOST_HOPE)
            if not missing or asked * _ANSWER > _FREE + max(missing // _SHARE, hope):
                break
    return {layer.digest for layer in image.layers[:count]} - {layer.digest for layer in image.layers[count:]}


def earlier_first(images: Mapping[str, Sequence[str]], names: Sequence[str]) -> Sequence[str]:
    """The images of an engine, those first that are likely to be earlier versions: those of the same last name.

    Args:
        images: their IDs, each with its names.
        names: of the new one.
    """
    wanted = {_last(name) for name in names}
    return sorted(images, key=lambda identity: wanted.isdisjoint(map(_last, images[identity])))


def patterns_of(names: Sequence[str]) -> Sequence[str]:
    """What matches the short names of such images, as an engine shows them, in whatever place they lie."""
    lasts = dict.fromkeys(map(_last, names))
    return [f"{'*/' * depth}{last}" for last in lasts for depth in range(_DEEPEST)]


def _last(name: str) -> str:
    return name.rpartition("/")[2].partition(":")[0]


def _common(one: Sequence[Digest], other: Sequence[Digest]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
