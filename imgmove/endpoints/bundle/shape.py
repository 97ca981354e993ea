"""A bundle worked out before its first blob moves: its index, its size, its volumes."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from imgmove.endpoints.archive.shape import front_matter, merged
from imgmove.endpoints.bundle.index import (
    INDEX_NAME,
    LARGEST,
    SIGNATURE_NAME,
    Assumed,
    BundleIndex,
    describe_file,
    front_end,
    total_size,
)
from imgmove.endpoints.bundle.volumes import Volume, cut
from imgmove.endpoints.index_file import is_digest, parse_digest_tag
from imgmove.errors import MalformedContent, UsageError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Index, Node, check_json_size
from imgmove.ports import NamedImage, Outline
from imgmove.version import __version__

Signer = Callable[[bytes], bytes]
"""Makes the Ed25519 signature of some bytes."""

Assumption = Callable[[Digest], tuple[str, ...] | None]
"""Tells for a blob that is to be left out the repositories in which the far side has it, perhaps none; None for a blob
that is to be carried."""


@dataclass(frozen=True)
class BundleOptions:
    """How a bundle is made.

    Attributes:
        assumed: what the far side has.
        signer: signs the index; None for an unsigned bundle.
        created: seconds since 1970 to write down; None for nothing.
        volume_size: bytes of a volume; 0 for one file.
        volume: the only volume to write; 0 for all.
    """

    assumed: Assumption = lambda _: None
    signer: Signer | None = None
    created: int | None = None
    volume_size: int = 0
    volume: int = 0


@dataclass(frozen=True)
class Shape:
    """A bundle before its first blob: every byte that is not a blob's, and where each blob will lie."""

    index: BundleIndex
    document: bytes
    outline: Outline
    front: tuple[tuple[str, bytes], ...]
    volumes: tuple[Volume, ...]

    @property
    def size(self) -> int:
        """Bytes of the bundle in one file."""
        return total_size(self.index.members)

    def volume_bytes(self, volume: Volume) -> int:
        """Bytes of a volume's file."""
        front = front_end(self.index, self.index.members)
        return front + len(volume.head()) + volume.end - volume.start + len(volume.tail())

    @property
    def bundle_id(self) -> str:
        """SHA-256 of ``imgmove.json``."""
        return describe_file(INDEX_NAME, self.document).sha256


def make_shape(outline: Outline, options: BundleOptions) -> Shape:
    """Works out a whole bundle. The same outline gives the same bytes, in whatever order its referrers came.

    Raises:
        UsageError: a conversion leaves sizes open, or the volumes are too small.
    """
    if not outline.is_whole:
        raise UsageError("a bundle holds images as they are", hint="convert them in a copy before")
    outline = _sorted(outline)
    nodes = {node.descriptor.digest: node for node in outline.manifests}
    roots = merged(outline.roots)
    assumed: list[Assumed] = []
    carried: list[Descriptor] = []
    for blob in outline.blobs:
        repositories = options.assumed(blob.digest)
        if blob.digest not in nodes:
            carried.append(blob) if repositories is None else assumed.append(Assumed(blob, repositories))
    # Docker must not take a delta for something that it can load.
    files = front_matter(roots, nodes)[: 2 if assumed else None]
    index = BundleIndex(
        images=tuple(root for root in roots if not _refers(root, nodes)),
        referrers=tuple(root for root in roots if _refers(root, nodes)),
        files=tuple(describe_file(*item) for item in files),
        manifests=tuple(node.descriptor for node in outline.manifests),
        blobs=tuple(carried),
        assumed=tuple(assumed),
        tool=f"imgmove {__version__}",
        is_signed=options.signer is not None,
        created=options.created,
    )
    document = index.to_bytes()
    _check_size(index, [(INDEX_NAME, document), *files])
    index = replace(index, members=index.arranged(len(document)))
    front = [(INDEX_NAME, document)]
    if options.signer is not None:
        front.append((SIGNATURE_NAME, base64.b64encode(options.signer(document)) + b"\n"))
    volumes: tuple[Volume, ...] = ()
    if options.volume_size:
        volumes = cut(index, describe_file(INDEX_NAME, document).sha256, options.volume_size)
    kept = Outline(tuple(carried), outline.manifests, outline.roots, is_whole=True)
    return Shape(index, document, kept, (*front, *files), volumes)


def _check_size(index: BundleIndex, files: Sequence[tuple[str, bytes]]) -> None:
    """Refuses at once what no reader would take."""
    try:
        for _, content in files:
            check_json_size(content, most=LARGEST)
    except MalformedContent:
        count = len(index.images)
        blobs = len(index.manifests) + len(index.blobs) + len(index.assumed)
        raise UsageError(
            f"{count} image{'s' * (count > 1)} with {blobs} manifests and blobs are too many for one bundle",
            hint="make several",
        ) from None


def needless(shape: Shape, volume: int) -> set[Digest]:
    """The blobs of which nothing lies in the only volume that is wanted; none where all are."""
    if not volume:
        return set()
    wanted = {piece.blob for piece in shape.volumes[volume - 1].pieces}
    return {blob.digest for blob in shape.index.blobs if str(blob.digest) not in wanted}


def _sorted(outline: Outline) -> Outline:
    """The outline with its parts in an order that depends on nothing but the images and their order."""
    nodes = {node.descriptor.digest: node for node in outline.manifests}
    blobs = {blob.digest: blob for blob in outline.blobs}
    roots = list(outline.roots)
    images = [root for root in roots if not _refers(root, nodes)]
    referrers = sorted((root for root in roots if _refers(root, nodes)), key=lambda root: root.descriptor.digest)
    ordered = [*images, *referrers]
    found_nodes: dict[Digest, Node] = {}
    found_blobs: dict[Digest, Descriptor] = {}
    for root in ordered:
        for node in _below(root.descriptor, nodes):
            found_nodes.setdefault(node.descriptor.digest, node)
            for child in node.children:
                if child.digest in blobs:
                    found_blobs.setdefault(child.digest, blobs[child.digest])
    return Outline(tuple(found_blobs.values()), tuple(found_nodes.values()), tuple(ordered), is_whole=True)


def _below(root: Descriptor, nodes: Mapping[Digest, Node]) -> Iterator[Node]:
    """Nodes of a tree, children first."""
    node = nodes.get(root.digest)
    if node is None:
        return
    if isinstance(node, Index):
        for child in node.manifests:
            yield from _below(child, nodes)
    yield node


def _refers(root: NamedImage, nodes: Mapping[Digest, Node]) -> bool:
    """Whether a root is a signature or the like: it has a subject and no name, or a name that is a digest tag."""
    names = [name for name in root.names if not is_digest(name)]
    if names:
        return all(parse_digest_tag(name) is not None for name in names)
    return nodes[root.descriptor.digest].subject is not None
