"""What the images of a bundle are made of, out of the manifests that every bundle holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from imgmove.endpoints.bundle import Bundle
from imgmove.engine.graph import DEEPEST_INDEX, ManifestAllowance, read_node
from imgmove.errors import MalformedContent
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Index, Node
from imgmove.ports import NamedImage


@dataclass(frozen=True)
class Content:
    """Everything below an image, its referrers included, each thing once.

    Attributes:
        nodes: manifests and indexes.
        blobs: configs and layers; foreign ones are no part of any bundle.
    """

    nodes: Sequence[Node]
    blobs: Sequence[Descriptor]
    referrers: Sequence[NamedImage]


def content_of(bundle: Bundle, root: Descriptor) -> Content:
    """Walks an image.

    Raises:
        ContentError: a manifest is broken.
    """
    nodes: dict[Digest, Node] = {}
    blobs: dict[Digest, Descriptor] = {}
    referrers: dict[Digest, NamedImage] = {}
    allowance = ManifestAllowance()
    waiting = deque([(root, 0)])
    while waiting:
        descriptor, depth = waiting.popleft()
        if descriptor.digest in nodes:
            continue
        if depth > DEEPEST_INDEX:
            raise MalformedContent(f"indexes stand in one another more than {DEEPEST_INDEX} deep")
        allowance.spend(descriptor)
        node = nodes[descriptor.digest] = read_node(bundle, descriptor)
        for child in node.children:
            if child.is_manifest and isinstance(node, Index):
                waiting.append((child, depth + 1))
            elif not child.is_foreign:
                blobs.setdefault(child.digest, child)
        for referrer in bundle.referrers(descriptor.digest):
            referrers.setdefault(referrer.descriptor.digest, referrer)
            waiting.append((referrer.descriptor, 0))
    return Content(tuple(nodes.values()), tuple(blobs.values()), tuple(referrers.values()))


def affected(bundle: Bundle, volumes: Collection[int], blobs: Collection[Digest]) -> Iterator[str]:
    """The images that need one of some volumes or blobs."""
    if not volumes and not blobs:
        return
    for image in bundle.index.images:
        needed = [blob.digest for blob in content_of(bundle, image.descriptor).blobs]
        if any(digest in blobs or not set(bundle.volumes_of(digest)).isdisjoint(volumes) for digest in needed):
            yield image.names[0] if image.names else str(image.descriptor.digest)
