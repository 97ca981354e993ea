"""What the planner finds out: about each move, about each blob, and the nodes that it read on the way."""

from __future__ import annotations

from dataclasses import dataclass, field

from imgmove.engine.convert import Conversions, Recipe, is_convertible
from imgmove.engine.graph import ManifestAllowance
from imgmove.engine.plan import Fate, Move
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest, Node
from imgmove.ports import ManifestMaker, NamedImage

BlobKey = tuple[int, Digest, str]
"""A blob at a destination, under the conversion that it is to undergo."""


@dataclass
class Survey:
    """What is found out about one move while its tasks run."""

    move: Move
    allowance: ManifestAllowance
    root: Descriptor | None = None
    found: dict[str, Descriptor | None] = field(default_factory=dict)
    questions: int = 0
    is_present: bool = False
    referrers: dict[Digest, NamedImage] = field(default_factory=dict)
    subjects: dict[Digest, set[Digest]] = field(default_factory=dict)
    visited: set[Digest] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    error: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        """Keeps the first reason why the move can't be planned."""
        if self.error is None:
            self.error = error


@dataclass(frozen=True, slots=True)
class BlobStatus:
    """What is to become of a blob at a destination."""

    fate: Fate
    mount_from: str = ""
    result: Descriptor | None = None


@dataclass
class Findings:
    """What all moves of a plan share.

    Attributes:
        nodes: the manifests and indexes that were read.
        statuses: of blobs; an exception where asking failed, None while nobody has answered.
    """

    conversions: Conversions | None
    nodes: dict[Digest, Node] = field(default_factory=dict)
    statuses: dict[BlobKey, BlobStatus | BaseException | None] = field(default_factory=dict)

    def recipe(self, node: Node, child: Descriptor, *, is_made_up: bool) -> Recipe | None:
        """How a child of a node is to be converted; None for one that stays as it is."""
        if self.conversions is None or not isinstance(node, Manifest) or not is_convertible(node):
            return None
        return None if child == node.config else self.conversions.recipe(child, is_made_up=is_made_up)


def blob_key(move: Move, blob: Descriptor, recipe: Recipe | None) -> BlobKey:
    """The key of a blob at the destination of a move."""
    return id(move.destination), blob.digest, recipe.name if recipe else ""


def is_made_up(move: Move, digest: Digest) -> bool:
    """Whether the source made a manifest for what came without one."""
    return isinstance(move.source, ManifestMaker) and move.source.is_made_up(digest)
