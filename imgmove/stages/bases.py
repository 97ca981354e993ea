"""Layers that a repository or layout holds already, maybe under other digests than an engine's image would give them.

Engines that keep no manifests forget how their layers were compressed. The images beside the place that one goes to tell:
their manifests and configs say which blob is which uncompressed layer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from imgmove.engine.convert import Recipe, converted_type
from imgmove.engine.graph import read_content, read_node
from imgmove.errors import ImgmoveError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Index, Manifest, digests_of_layers
from imgmove.model.media_types import Compression
from imgmove.ports import ImageLister, Knowledge, Source, TagLister

_MOST_TAGS = 8
_MOST_IMAGES = 16
_LARGEST_CONFIG = 16 << 20


@dataclass
class KnownBases:
    """Knowledge for one copy to one repository, over what is known in general.

    What a repository says of its own layers counts for that repository alone: it could not harm anybody but itself.
    """

    general: Knowledge
    blobs: dict[tuple[Digest, str], Descriptor] = field(default_factory=dict)

    def repositories_with(self, registry: str, digest: Digest) -> Sequence[str]:
        """As is known in general."""
        return self.general.repositories_with(registry, digest)

    def saw_blob(self, registry: str, repository: str, digest: Digest) -> None:
        """For all."""
        self.general.saw_blob(registry, repository, digest)

    def converted(self, digest: Digest, recipe: str) -> Descriptor | None:
        """The repository's own form of a layer, before any other."""
        return self.blobs.get((digest, recipe)) or self.general.converted(digest, recipe)

    def learned_conversion(self, digest: Digest, recipe: str, result: Descriptor) -> None:
        """For all."""
        self.general.learned_conversion(digest, recipe, result)


def find_bases(
    general: Knowledge, repository: Source, tag: str, diff_ids: Collection[Digest], compression: Compression
) -> KnownBases:
    """Looks for layers with some diffIDs in the images of a repository, those of a few tags at most.

    Args:
        tag: the one to look at first.
        compression: the one that layers are to have there.
    """
    found = KnownBases(general)
    recipe = Recipe("none", compression, None).name
    for image in islice(_images(repository, tag), _MOST_IMAGES):
        for diff_id, layer in _layers(repository, image):
            if diff_id in diff_ids and media_types.layer_compression(layer.media_type) == compression:
                blob = Descriptor(converted_type(media_types.OCI_LAYER, compression), layer.digest, layer.size)
                found.blobs.setdefault((diff_id, recipe), blob)
        if len(found.blobs) >= len(diff_ids):
            break
    return found


def _images(place: Source, name: str) -> Iterator[Manifest]:
    for root in _roots(place, name):
        try:
            node = read_node(place, root)
            children = [child for child in node.children if child.is_manifest] if isinstance(node, Index) else []
            nodes = [read_node(place, child) for child in children] or [node]
        except ImgmoveError:
            continue
        yield from (item for item in nodes if isinstance(item, Manifest) and item.is_image)


def _roots(place: Source, name: str) -> Iterable[Descriptor]:
    """The likeliest images: the one of that name first; none where nobody can say, or there is no such place yet."""
    with contextlib.suppress(ImgmoveError):
        if isinstance(place, TagLister):
            return _tagged(place, dict.fromkeys(chain((name,) if name else (), islice(place.tags(), _MOST_TAGS))))
        if isinstance(place, ImageLister):
            # What was added last is the likeliest to have what comes next.
            images = sorted(enumerate(place.images()), key=lambda item: (name not in item[1].names, -item[0]))
            return [image.descriptor for _, image in images[:_MOST_TAGS]]
    return ()


def _tagged(place: Source, tags: Iterable[str]) -> Iterator[Descriptor]:
    for tag in tags:
        with contextlib.suppress(ImgmoveError):
            yield place.resolve(tag)


def _layers(repository: Source, image: Manifest) -> Iterator[tuple[Digest, Descriptor]]:
    assert image.config is not None
    try:
        diff_ids = digests_of_layers(read_content(repository, image.config, _LARGEST_CONFIG))
    except ImgmoveError:
        return
    if len(diff_ids) == len(image.layers):
        yield from zip(diff_ids, image.layers, strict=True)
