"""The plan: what a command will move, complete and as data before the first blob does."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from imgmove.engine.convert import Conversions, Recipe
from imgmove.engine.graph import Tree
from imgmove.errors import ImgmoveError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Node
from imgmove.model.platform import Platform
from imgmove.ports import Destination, NamedImage, Outline, PlanMade, PullingDestination, Source

Fate = Literal["send", "mount", "present"]


@dataclass(frozen=True, slots=True)
class Move:
    """One image to be moved from a place to a place.

    Attributes:
        name: what the source is to resolve.
        names: what the image is to be called at the destination; none to reach it by its digest alone.
        label: what a person would call it, for messages.
    """

    source: Source
    name: str
    destination: Destination | PullingDestination
    names: tuple[str, ...]
    label: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Which parts of an image move.

    Attributes:
        platforms: none for all; one takes that manifest itself; several make an index of them.
        referrers: whether signatures, attestations and SBOMs come along.
        recheck: whether to look at everything even where the destination's name says that all is done.
    """

    platforms: tuple[Platform, ...] = ()
    referrers: bool = True
    recheck: bool = False


@dataclass(frozen=True, slots=True)
class PlannedBlob:
    """A blob and what has to happen with it.

    Attributes:
        descriptor: as the source names it.
        fate: ``present`` means that nothing has to.
        mount_from: the repository that has it, when the fate is ``mount``.
        recipe: how it is converted on the way; the digest that it gets is then known only afterwards.
        result: what it is at the destination, as far as that is known.
    """

    source: Source
    destination: Destination | PullingDestination
    descriptor: Descriptor
    fate: Fate
    mount_from: str = ""
    recipe: Recipe | None = None
    result: Descriptor | None = None

    @property
    def key(self) -> tuple[int, Digest, str]:
        """The same for all that need the same done."""
        return id(self.destination), self.descriptor.digest, self.recipe.name if self.recipe else ""


@dataclass(frozen=True, slots=True)
class PlannedTree:
    """A tree of the graph with the fates of its blobs."""

    tree: Tree
    blobs: tuple[PlannedBlob, ...]
    is_made_up: bool = False


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """An image to be moved, with everything that refers to it.

    Attributes:
        image: None when planning failed.
        referrers: in an order in which a subject comes before what refers to it.
        is_present: the destination's names say that it is there; only new referrers move.
        error: why planning failed.
        notes: what a person should know, such as referrers that can't come along.
    """

    move: Move
    root: Descriptor | None
    image: PlannedTree | None
    referrers: tuple[PlannedTree, ...] = ()
    is_present: bool = False
    error: ImgmoveError | None = None
    notes: tuple[str, ...] = ()

    def trees(self) -> Iterator[PlannedTree]:
        """The image itself, if it moves, and its referrers."""
        if self.image is not None:
            yield self.image
        yield from self.referrers

    def blobs(self) -> Iterator[PlannedBlob]:
        """All blobs of all trees; some may come several times."""
        for planned in self.trees():
            yield from planned.blobs


@dataclass(frozen=True, slots=True)
class Plan:
    """All images of a command."""

    images: Sequence[PlannedImage]
    conversions: Conversions | None = None
    _unique: tuple[PlannedBlob, ...] = field(init=False, default=(), repr=False)

    def __post_init__(self) -> None:
        unique: dict[tuple[int, Digest, str], PlannedBlob] = {}
        for image in self.images:
            for blob in image.blobs():
                unique.setdefault(blob.key, blob)
        object.__setattr__(self, "_unique", tuple(unique.values()))

    def sparing(self, digests: Collection[Digest]) -> Plan:
        """The same plan, but that some blobs need not move."""

        def spared(planned: PlannedTree) -> PlannedTree:
            blobs = (
                replace(blob, fate="present") if blob.descriptor.digest in digests else blob for blob in planned.blobs
            )
            return replace(planned, blobs=tuple(blobs))

        images = [
            replace(
                image,
                image=spared(image.image) if image.image is not None else None,
                referrers=tuple(map(spared, image.referrers)),
            )
            for image in self.images
        ]
        return Plan(images, self.conversions)

    def outline(self) -> Outline:
        """Everything that will be written; not whole where something is converted on the way."""
        blobs: dict[Digest, Descriptor] = {}
        nodes: dict[Digest, Node] = {}
        roots: list[NamedImage] = []
        for planned in (tree for image in self.images for tree in image.trees()):
            blobs.update((blob.descriptor.digest, blob.descriptor) for blob in planned.blobs)
            nodes.update((node.descriptor.digest, node) for node in planned.tree.nodes)
            roots.append(NamedImage(planned.tree.nodes[-1].descriptor, planned.tree.names))
        return Outline(tuple(blobs.values()), tuple(nodes.values()), tuple(roots), is_whole=self.is_exact)

    @property
    def blobs(self) -> Sequence[PlannedBlob]:
        """Each blob once for each destination, however many images share it."""
        return self._unique

    @property
    def bytes_to_send(self) -> int:
        """What has to move; before conversion, so a guess where ``is_exact`` is False."""
        return sum(blob.descriptor.size for blob in self.blobs if blob.fate == "send")

    @property
    def bytes_present(self) -> int:
        """What the destinations have or can mount."""
        return sum(blob.descriptor.size for blob in self.blobs if blob.fate != "send")

    @property
    def is_exact(self) -> bool:
        """Whether no blob is converted on the way."""
        return all(blob.recipe is None or blob.fate == "present" for blob in self.blobs)

    def summary(self) -> PlanMade:
        """The totals, as an event."""
        sent = [blob for blob in self.blobs if blob.fate == "send"]
        return PlanMade(len(sent), self.bytes_to_send, self.bytes_present, self.is_exact)
