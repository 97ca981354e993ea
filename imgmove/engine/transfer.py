"""Carrying a plan out: blobs first and biggest first, then manifests children first, names last."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from imgmove.engine.blobs import BlobMover
from imgmove.engine.manifests import ManifestMover
from imgmove.engine.plan import Plan, PlannedBlob, PlannedImage
from imgmove.engine.pool import Pool, TaskGroup
from imgmove.engine.pulled import pull
from imgmove.errors import ImgmoveError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Node
from imgmove.ports import (
    BlobMounter,
    InRegistry,
    Knowledge,
    NamedImage,
    Note,
    Outline,
    OutlinedDestination,
    PullingDestination,
    SequentialDestination,
)

_Key = tuple[int, Digest, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image of a plan.

    Attributes:
        descriptor: the image as it is at the destination; None when it failed.
        bytes_sent: what was sent for it alone; blobs shared with an earlier image count there.
    """

    image: PlannedImage
    descriptor: Descriptor | None
    error: ImgmoveError | None = None


def transfer(plan: Plan, pool: Pool, *, knowledge: Knowledge | None = None) -> Sequence[Outcome]:
    """Moves what the plan says; an image that fails does not keep the others from arriving.

    An archive holds all of its images or does not appear at all, so there the failure of one is that of all.

    Returns:
        One outcome an image, in the plan's order.

    Raises:
        Interrupted: the run was cancelled.
    """
    return _Transfer(plan, pool, knowledge).run()


@dataclass
class _Progress:
    """How far one image is, while it moves."""

    image: PlannedImage
    blobs_left: int = 0
    descriptor: Descriptor | None = None
    error: BaseException | None = None
    became: dict[Digest, Descriptor] = field(default_factory=dict)

    def fail(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error


class _Transfer:
    def __init__(self, plan: Plan, pool: Pool, knowledge: Knowledge | None) -> None:
        self._plan = plan
        self._knowledge = knowledge
        self._group = TaskGroup(pool)
        self._mover = BlobMover(pool.run, plan.conversions, self._why_unwanted)
        self._manifests = ManifestMover(pool.run, plan.conversions)
        self._run = pool.run
        self._lock = threading.Lock()
        self._results: dict[_Key, Descriptor] = {}
        self._users: dict[_Key, list[_Progress]] = {}

    def run(self) -> Sequence[Outcome]:
        progress = [_Progress(image, error=image.error) for image in self._plan.images]
        whole = _outlined(self._plan)
        self._fail_together(progress, whole)
        self._run.observer.on(self._plan.summary())
        for image in self._plan.images:
            for note in image.notes:
                self._run.observer.on(Note(note))
        for destination in whole:
            self._begin(destination, progress)
        self._move_blobs([item for item in progress if item.error is None])
        self._group.wait()
        self._fail_together(progress, whole)
        for destination in whole:
            self._finish(destination, progress)
        return [_outcome(item) for item in progress]

    # --- archives: whole or not at all

    def _fail_together(self, progress: Sequence[_Progress], whole: Iterable[OutlinedDestination]) -> None:
        for destination in whole:
            together = _of(destination, progress)
            error = next((item.error for item in together if item.error is not None), None)
            if error is not None:
                for item in together:
                    item.fail(error)

    def _begin(self, destination: OutlinedDestination, progress: Sequence[_Progress]) -> None:
        together = _of(destination, progress)
        if any(item.error is not None for item in together):
            # An archive of less than what was asked for would take the place of one that a later run can finish.
            return
        try:
            if isinstance(destination, SequentialDestination):
                self._measure(destination)
            destination.begin(self._outline([item.image for item in together]))
        except ImgmoveError as error:
            for item in together:
                item.fail(error.on("destination"))

    def _finish(self, destination: OutlinedDestination, progress: Sequence[_Progress]) -> None:
        together = _of(destination, progress)
        if any(item.error is not None for item in together):
            return
        try:
            destination.finish()
        except ImgmoveError as error:
            for item in together:
                item.fail(error.on("destination"))

    def _outline(self, images: Sequence[PlannedImage]) -> Outline:
        blobs: dict[Digest, Descriptor] = {}
        nodes: dict[Digest, Node] = {}
        roots: list[NamedImage] = []
        for planned in (tree for image in images for tree in image.trees()):
            results = {blob: self._results.get(blob.key) for blob in planned.blobs if blob.recipe}
            became = {blob.descriptor.digest: result for blob, result in results.items() if result is not None}
            if len(became) < len(results):
                known = [blob.descriptor for image in images for blob in image.blobs() if not blob.recipe]
                return Outline(tuple({item.digest: item for item in known}.values()), (), (), is_whole=False)
            for blob in planned.blobs:
                descriptor = became.get(blob.descriptor.digest, blob.descriptor)
                blobs[descriptor.digest] = descriptor
            made = [self._manifests.rebuild(node, became) for node in planned.tree.nodes]
            nodes.update((node.descriptor.digest, node) for node in made)
            roots.append(NamedImage(made[-1].descriptor, planned.tree.names))
        return Outline(tuple(blobs.values()), tuple(nodes.values()), tuple(roots), is_whole=True)

    def _measure(self, destination: SequentialDestination) -> None:
        """Converts for nobody first where sizes must be known before anything is written."""
        for blob in self._plan.blobs:
            if id(blob.destination) == id(destination) and blob.recipe:
                self._results[blob.key] = self._mover.measure(blob, blob.recipe)

    # --- blobs

    def _move_blobs(self, progress: Sequence[_Progress]) -> None:
        chains: dict[tuple[object, Digest, str], list[PlannedBlob]] = {}
        for item in progress:
            if isinstance(item.image.move.destination, PullingDestination):
                self._group.spawn(partial(self._pull, item, item.image.move.destination), item.fail)
                continue
            for blob in item.image.blobs():
                waiting = self._users.setdefault(blob.key, [])
                if not waiting:
                    chains.setdefault(_chain(blob), []).append(blob)
                if item not in waiting:
                    waiting.append(item)
                    item.blobs_left += 1
        for item in progress:
            if not item.blobs_left and not isinstance(item.image.move.destination, PullingDestination):
                self._blobs_are_done(item)
        sequential = [chain for chain in chains.values() if isinstance(chain[0].destination, SequentialDestination)]
        for chain in chains.values():
            if not isinstance(chain[0].destination, SequentialDestination):
                task = partial(self._move_chain, chain)
                failed = partial(self._chain_failed, chain)
                self._group.spawn(task, failed, urgency=chain[0].descriptor.size)
        self._move_in_order(sequential)

    def _move_in_order(self, chains: Sequence[list[PlannedBlob]]) -> None:
        by_digest: dict[tuple[int, Digest], list[PlannedBlob]] = {}
        destinations: dict[int, SequentialDestination] = {}
        for chain in chains:
            blob = chain[0]
            result = self._results.get(blob.key, blob.descriptor)
            by_digest[id(blob.destination), result.digest] = chain
            assert isinstance(blob.destination, SequentialDestination)
            destinations[id(blob.destination)] = blob.destination
        for identity, destination in destinations.items():
            for descriptor in destination.order():
                chain = by_digest[identity, descriptor.digest]
                try:
                    self._run.check()
                    self._move_chain(chain)
                except ImgmoveError as error:
                    self._chain_failed(chain, error)
                    return

    def _move_chain(self, chain: Sequence[PlannedBlob]) -> None:
        """Sends a blob to the first repository that wants it and mounts it from there into the others."""
        holder = ""
        for blob in chain:
            if self._why_unwanted(blob) is not None:
                continue
            if blob.fate == "present":
                result = blob.result or blob.descriptor
            else:
                result = self._mover.move(blob, mount_from=holder, measured=self._results.get(blob.key))
            self._arrived(blob, result)
            if isinstance(blob.destination, BlobMounter):
                holder = blob.destination.repository
            for item in self._users[blob.key]:
                self._blob_is_done(item, blob, result)

    def _chain_failed(
        self,
        chain: Sequence[PlannedBlob],
        error: BaseException,
    ) -> None:
        for blob in chain:
            for item in self._users[blob.key]:
                item.fail(error)

    def _why_unwanted(self, blob: PlannedBlob) -> BaseException | None:
        """What ended the first of the images that need a blob, when none of them goes on."""
        errors = [item.error for item in self._users.get(blob.key, ())]
        return errors[0] if errors and all(error is not None for error in errors) else None

    def _arrived(self, blob: PlannedBlob, result: Descriptor) -> None:
        if self._knowledge is None:
            return
        if isinstance(blob.destination, BlobMounter):
            self._knowledge.saw_blob(blob.destination.registry, blob.destination.repository, result.digest)
        if isinstance(blob.source, InRegistry):
            self._knowledge.saw_blob(blob.source.registry, blob.source.repository, blob.descriptor.digest)
        if blob.recipe and blob.fate != "present":
            self._knowledge.learned_conversion(blob.descriptor.digest, blob.recipe.name, result)

    def _blob_is_done(self, item: _Progress, blob: PlannedBlob, result: Descriptor) -> None:
        with self._lock:
            if blob.recipe:
                item.became[blob.descriptor.digest] = result
            item.blobs_left -= 1
            is_last = not item.blobs_left
        if is_last:
            self._blobs_are_done(item)

    # --- destinations that fetch for themselves

    def _pull(self, item: _Progress, destination: PullingDestination) -> None:
        planned, move = item.image.image, item.image.move
        if planned is None:
            item.descriptor = item.image.root
        else:
            item.descriptor = pull(planned, destination, self._mover, move.label)

    # --- manifests

    def _blobs_are_done(self, item: _Progress) -> None:
        if item.error is None:
            self._group.spawn(partial(self._put_manifests, item), item.fail, urgency=1 << 62)

    def _put_manifests(self, item: _Progress) -> None:
        item.descriptor = self._manifests.put(item.image, item.became)


def _chain(blob: PlannedBlob) -> tuple[object, Digest, str]:
    place: object = id(blob.destination)
    if isinstance(blob.destination, BlobMounter):
        place = blob.destination.registry
    return place, blob.descriptor.digest, blob.recipe.name if blob.recipe else ""


def _outlined(plan: Plan) -> Sequence[OutlinedDestination]:
    found: dict[int, object] = {id(image.move.destination): image.move.destination for image in plan.images}
    return [destination for destination in found.values() if isinstance(destination, OutlinedDestination)]


def _of(destination: object, progress: Iterable[_Progress]) -> list[_Progress]:
    return [item for item in progress if item.image.move.destination is destination]


def _outcome(item: _Progress) -> Outcome:
    if item.error is None:
        return Outcome(item.image, item.descriptor)
    if isinstance(item.error, ImgmoveError):
        return Outcome(item.image, None, item.error)
    raise item.error
