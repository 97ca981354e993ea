"""Puts manifests: children first, names last, and each once, however many images of a run have it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from imgmove.engine.convert import Conversions
from imgmove.engine.plan import PlannedImage, PlannedTree
from imgmove.engine.run import Run
from imgmove.errors import ImgmoveError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Node
from imgmove.ports import Destination


@dataclass
class _Turn:
    """Held by the one who puts a manifest; the others find it done."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    is_done: bool = False


class ManifestMover:
    """Puts the manifests of many images, for many threads.

    Docker's registry rewrites the link to a manifest each time that it is put. Whoever puts an index at that moment is
    told that its child is none, so a child that two images share must not be put while one of them goes on.
    """

    def __init__(self, run: Run, conversions: Conversions | None) -> None:
        self._run = run
        self._conversions = conversions
        self._guard = threading.Lock()
        self._turns: dict[tuple[int, Digest, tuple[str, ...]], _Turn] = {}

    def put(self, image: PlannedImage, became: dict[Digest, Descriptor]) -> Descriptor | None:
        """Puts an image whose blobs are there, with what refers to it; its root as it is at the destination.

        Args:
            became: what blobs were converted to; what manifests become is added.

        Raises:
            ImgmoveError: the destination refuses, or can't be reached.
        """
        destination = image.move.destination
        assert isinstance(destination, Destination)
        root = image.root
        if image.image is not None:
            # Tags last: whoever sees the tag may rely on all of it, signatures included.
            names = () if image.referrers else image.image.tree.names
            made = self._put_tree(destination, image.image, names, became)
            root = made.descriptor
        for referrer in image.referrers:
            self._put_tree(destination, referrer, referrer.tree.names, became)
        if image.image is not None and image.referrers and image.image.tree.names:
            self._put(destination, made, image.image.tree.names)
        return root

    def rebuild(self, node: Node, became: dict[Digest, Descriptor]) -> Node:
        """A manifest with what its blobs and children became; noted there, if it is another one by that."""
        if self._conversions is None:
            return node
        made = self._conversions.rebuild(node, became)
        if made is not node:
            became[node.descriptor.digest] = made.descriptor
        return made

    def _put_tree(
        self, destination: Destination, planned: PlannedTree, names: Sequence[str], became: dict[Digest, Descriptor]
    ) -> Node:
        for node in planned.tree.nodes:
            made = self.rebuild(node, became)
            is_root = node is planned.tree.nodes[-1]
            self._put(destination, made, (names or (str(made.descriptor.digest),)) if is_root else ())
        return made

    def _put(self, destination: Destination, node: Node, names: Sequence[str]) -> None:
        with self._guard:
            turn = self._turns.setdefault((id(destination), node.descriptor.digest, tuple(names)), _Turn())
        with turn.lock:
            if turn.is_done:
                return
            try:
                self._run.persist(
                    f"putting manifest {node.descriptor.digest.short}",
                    lambda: destination.put_manifest(node.content, node.media_type, names, algorithm=node.algorithm),
                )
            except ImgmoveError as error:
                raise error.on("destination") from error.__cause__
            turn.is_done = True
