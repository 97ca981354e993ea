"""Moving from a pipe: nothing can be planned, and what it all means shows when the manifests are there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from imgmove.engine.blobs import on_destination
from imgmove.engine.convert import converted_type, is_convertible
from imgmove.engine.graph import Tree, grow, read_node
from imgmove.engine.piped_blobs import PipedBlobs, Piping, from_source
from imgmove.errors import ImgmoveError, NotFound, UsageError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest, Node
from imgmove.ports import (
    NamedImage,
    Outline,
    OutlinedDestination,
    ReferrerLister,
    SequentialSource,
)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Piped:
    """An image that came out of a pipe: as it was there, and as it is at the destination.

    Attributes:
        blobs: what it and its referrers name, each once, as it is at the destination.
        referrers: how many came along.
    """

    image: NamedImage
    descriptor: Descriptor
    names: tuple[str, ...]
    blobs: tuple[Descriptor, ...]
    referrers: int


@dataclass(frozen=True, slots=True)
class Outflow:
    """What came out of a pipe.

    Attributes:
        images: in the pipe's order.
        sent: the blobs whose bytes went to the destination, as they went.
        present: those that it had.
    """

    images: Sequence[Piped]
    sent: Mapping[Digest, Descriptor]
    present: Mapping[Digest, Descriptor]


def move_pipe(source: SequentialSource, piping: Piping) -> Outflow:
    """Sends everything that comes out of a pipe to one destination.

    Raises:
        NotFound: no image came.
        UsageError: the destination is a pipe too, and content has to be read before it has a digest.
        ImgmoveError: anything else that went wrong; names are put last, so nothing incomplete shows.
    """
    destination = piping.destination
    if isinstance(destination, OutlinedDestination):
        destination.begin(Outline((), (), (), is_whole=False))
    blobs = PipedBlobs(source, piping)
    for arrival in _sided(source.arrivals):
        piping.run.check()
        blobs.take(arrival)
    done = _PipedImages(source, piping, blobs).put()
    if isinstance(destination, OutlinedDestination):
        on_destination(destination.finish)
    present = {digest: blob for digest, blob in blobs.arrived.items() if digest not in blobs.sent}
    return Outflow(done, blobs.sent, present)


@dataclass(frozen=True)
class _PipedImages:
    source: SequentialSource
    piping: Piping
    blobs: PipedBlobs

    def put(self) -> Sequence[Piped]:
        done: list[Piped] = []
        images = list(_sided(self.source.images))
        if not images:
            raise NotFound("the pipe holds no image").on("source")
        for image in images:
            names = self.piping.names(image)
            if names is None:
                continue
            tree = self._grown(image, tuple(names))
            referrers = self._referrers(tree)
            root = self._put_tree(tree, () if referrers else tree.names)
            for referrer in referrers:
                self._put_tree(referrer, referrer.names)
            if referrers and tree.names:
                self._put(root, tree.names)
            named = (blob for part in (tree, *referrers) for blob in part.blobs)
            found = {blob.digest: blob for blob in (self.blobs.became.get(blob.digest, blob) for blob in named)}
            done.append(Piped(image, root.descriptor, tree.names, tuple(found.values()), len(referrers)))
        return done

    def _grown(self, image: NamedImage, names: tuple[str, ...]) -> Tree:
        nodes: dict[Digest, Node] = {}
        waiting = [image.descriptor]
        while waiting:
            descriptor = waiting.pop()
            if descriptor.digest not in nodes:
                node = from_source(lambda: read_node(self.source, descriptor))  # noqa: B023 - called at once
                nodes[descriptor.digest] = node
                waiting.extend(child for child in node.children if child.is_manifest)
        return grow(image.descriptor, names, nodes)

    def _referrers(self, tree: Tree) -> Sequence[Tree]:
        source, found = self.source, {}
        if self.piping.referrers and isinstance(source, ReferrerLister):
            waiting = [node.descriptor.digest for node in tree.nodes]
            while waiting:
                subject = waiting.pop(0)
                for referrer in source.referrers(subject):
                    if referrer.descriptor.digest not in found:
                        found[referrer.descriptor.digest] = self._grown(referrer, referrer.names)
                        waiting.append(referrer.descriptor.digest)
        return list(found.values())

    def _put_tree(self, tree: Tree, names: Sequence[str]) -> Node:
        for blob in tree.blobs:
            self.blobs.ensure(blob)
        became = dict(self.blobs.became)
        for node in tree.nodes:
            made = self._rebuilt(node, became)
            self._put(made, (names or (str(made.descriptor.digest),)) if node is tree.nodes[-1] else ())
        return made

    def _rebuilt(self, node: Node, became: dict[Digest, Descriptor]) -> Node:
        conversions = self.piping.conversions
        if conversions is None:
            return node
        if isinstance(node, Manifest):
            if not is_convertible(node) and any(child.digest in became for child in node.children):
                raise UsageError(
                    f"manifest {node.descriptor.digest.short} is no image but holds a file that was converted",
                    hint="write the pipe to a file first",
                )
            for layer in node.layers:
                if layer.digest in became:
                    compression = media_types.layer_compression(became[layer.digest].media_type) or "none"
                    kind = converted_type(layer.media_type, compression)
                    became[layer.digest] = replace(became[layer.digest], media_type=kind)
        made = conversions.rebuild(node, became)
        if made is not node:
            became[node.descriptor.digest] = made.descriptor
        return made

    def _put(self, node: Node, names: Sequence[str]) -> None:
        run, destination = self.piping.run, self.piping.destination

        def put() -> None:
            destination.put_manifest(node.content, node.media_type, names, algorithm=node.algorithm)

        on_destination(lambda: run.persist(f"putting manifest {node.descriptor.digest.short}", put))


def _sided(items: Callable[[], Iterable[Result]]) -> Iterator[Result]:
    try:
        yield from items()
    except ImgmoveError as error:
        raise error.on("source") from error.__cause__
