"""Proving that images arrived: everything reachable is walked at the destination, and nothing of it may be missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from imgmove.endpoints.bundle import Bundle
from imgmove.engine.graph import read_content, read_node
from imgmove.engine.verify import verify
from imgmove.errors import ContentError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest
from imgmove.ports import Destination, PullingDestination, Source
from imgmove.stages.session import Session


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found below one image at the destination.

    Attributes:
        manifests: digests of the manifests and indexes, all of them read and hashed there.
        blobs: that are there in their full size; hashed again only when that was asked for.
        is_reread: whether the blobs were hashed again.
    """

    root: Digest
    manifests: tuple[Digest, ...]
    blobs: tuple[Descriptor, ...]
    referrers: int
    is_reread: bool

    @property
    def blob_bytes(self) -> int:
        """Bytes of the blobs."""
        return sum(blob.size for blob in self.blobs)


def prove(
    session: Session,
    destination: Destination,
    root: Descriptor,
    names: Sequence[str],
    *,
    reread: bool,
) -> Proof | None:
    """Walks an image at its destination; None where a place gives nothing back.

    Args:
        names: what the image is called there; each must stand for the root.
        reread: whether blobs are read and hashed again. They were hashed before they were committed, so without this
            only their presence and size are asked for.

    Raises:
        NotFound, ContentError: something is missing or wrong.
    """
    if not isinstance(destination, Source):
        return None
    for name in names:
        found = session.run.persist(f"asking for {name}", partial(destination.resolve, name))
        if found.digest != root.digest:
            raise ContentError(f"{name} stands for {found.digest}, not {root.digest}").on("destination")
    has = None if reread else destination.has
    verified = verify(destination, root, session.pool, with_referrers=True, side="destination", has=has)
    verified.raise_first()
    return Proof(
        root=root.digest,
        manifests=tuple(node.descriptor.digest for node in verified.nodes),
        blobs=verified.blobs,
        referrers=len(verified.referrers),
        is_reread=reread,
    )


def prove_pulled(
    session: Session, destination: PullingDestination, bundle: Bundle, root: Descriptor, names: Sequence[str]
) -> Proof:
    """Asks an engine for an image that it took.

    Its layers are known to be there, but configs are left out of the proof: to be asked again, an engine has to be
    shown the config, so the next bundle must carry it.

    Raises:
        ContentError: the engine does not show it whole under its names.
    """
    node = read_node(bundle, root)
    assert isinstance(node, Manifest)
    assert node.config is not None
    config = read_content(bundle, node.config, node.config.size)
    holding = session.run.persist(f"asking for {names[0]}", lambda: destination.holding(node, config, names))
    if not holding.is_complete:
        raise ContentError(f"{names[0]} is not there as {root.digest}").on("destination")
    layers = tuple(layer for layer in node.layers if not layer.is_foreign)
    return Proof(root.digest, (root.digest,), layers, 0, is_reread=False)
