"""Planning and moving images whose places are known: the part of a copy that others need too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from imgmove.engine.convert import Conversions
from imgmove.engine.graph import ManifestsTogether
from imgmove.engine.plan import Plan, PlannedImage
from imgmove.engine.planner import make_plan
from imgmove.engine.pool import Pool, each
from imgmove.engine.transfer import Outcome, transfer
from imgmove.errors import DigestMismatch
from imgmove.model.digest import Digest
from imgmove.model.media_types import Compression
from imgmove.ports import BlobMounter, Destination, Knowledge, OutlinedDestination, PullingDestination
from imgmove.stages.naming import Origin, Target, move_of
from imgmove.stages.options import CopyOptions
from imgmove.stages.report import CopyReport, ImageReport, Status, Tally
from imgmove.stages.session import Session

MOST_TOGETHER = 200
"""Images whose plans are held at a time, as one of many platforms takes some 100 KB."""


def move(
    session: Session,
    pairs: Sequence[tuple[Origin, Target]],
    options: CopyOptions,
    *,
    knowledge: Knowledge | None = None,
) -> CopyReport:
    """Plans and moves images whose places are known.

    Args:
        knowledge: instead of what is known in general.
    """
    work = _Work(session, pairs, options, knowledge or session.knowledge)
    reports: dict[int, ImageReport] = {}
    plans: list[Plan] = []
    tally = Tally(keeps_blobs=options.dry_run)
    targets = [target for _, target in pairs]
    for kind, batch in _batches(targets):
        lanes = _lanes(targets, batch)
        for numbers, (plan, made) in zip(lanes, work.done(kind, lanes), strict=True):
            if len(pairs) > MOST_TOGETHER:
                for error in filter(None, (report.error for report in made)):
                    error.alone()
            reports.update(zip(numbers, made, strict=True))
            tally.add(plan)
            plans += [plan] if len(pairs) <= MOST_TOGETHER else []
    return CopyReport(
        [reports[number] for number in range(len(pairs))],
        tally.totals(),
        is_dry_run=options.dry_run,
        plans=tuple(plans),
        blobs=tally.blobs,
    )


@dataclass(frozen=True)
class _Work:
    """What is to be moved, and how."""

    session: Session
    pairs: Sequence[tuple[Origin, Target]]
    options: CopyOptions
    knowledge: Knowledge

    def done(
        self, kind: Compression | None, lanes: Sequence[Sequence[int]]
    ) -> Sequence[tuple[Plan, Sequence[ImageReport]]]:
        """Plans and moves the images of each lane, all lanes side by side."""
        work = partial(self._lane, self.options.conversions(self.session.codec, kind), ManifestsTogether())
        if len(lanes) == 1:
            return [work(lanes[0])]
        # Threads of their own, as each of them waits for tasks of the session's.
        pool = Pool(self.session.run)
        try:
            return each(pool, work, lanes)
        finally:
            pool.close()

    def _lane(
        self, conversions: Conversions | None, together: ManifestsTogether, numbers: Sequence[int]
    ) -> tuple[Plan, Sequence[ImageReport]]:
        pairs = [self.pairs[number] for number in numbers]
        plan = make_plan(
            [move_of(origin, target) for origin, target in pairs],
            self.options.choice,
            self.session.pool,
            conversions=conversions,
            knowledge=self.knowledge,
            together=together,
        )
        targets = [target for _, target in pairs]
        plan = Plan([_checked(*item) for item in zip(plan.images, targets, strict=True)], plan.conversions)
        if self.options.dry_run:
            return plan, [_planned(*item) for item in zip(plan.images, targets, strict=True)]
        outcomes = transfer(plan, self.session.pool, knowledge=self.knowledge)
        return plan, [_reported(*item) for item in zip(outcomes, targets, strict=True)]


def _lanes(targets: Sequence[Target], batch: Sequence[int]) -> Sequence[Sequence[int]]:
    """Numbers of images that wait for one another: those of each engine, as one that hangs is no reason for others to wait."""
    lanes: dict[int, list[int]] = {}
    for number in batch:
        destination = targets[number].destination
        lanes.setdefault(id(destination) if isinstance(destination, PullingDestination) else 0, []).append(number)
    return list(lanes.values())


def _batches(targets: Sequence[Target]) -> Iterator[tuple[Compression | None, Sequence[int]]]:
    """Numbers of images that are planned together, and how layers without a manifest are compressed there.

    Destinations that want other conversions have plans of their own, and an archive has a single one.
    """
    kinds: tuple[Compression | None, ...] = ("gzip", None)
    for kind in kinds:
        chosen = [number for number, target in enumerate(targets) if made_up(target.destination) == kind]
        if len(chosen) <= MOST_TOGETHER:
            whole, apart = chosen, []
        else:
            is_whole = [isinstance(targets[number].destination, OutlinedDestination) for number in chosen]
            whole = [number for number, together in zip(chosen, is_whole, strict=True) if together]
            apart = [number for number, together in zip(chosen, is_whole, strict=True) if not together]
        if whole:
            yield kind, whole
        for start in range(0, len(apart), MOST_TOGETHER):
            yield kind, apart[start : start + MOST_TOGETHER]


def made_up(destination: Destination | PullingDestination) -> Compression | None:
    """Registries get layers gzipped that come without a manifest; files keep them as they are."""
    return "gzip" if isinstance(destination, BlobMounter) else None


def _checked(image: PlannedImage, target: Target) -> PlannedImage:
    """Refuses an image whose digest is not the one that the destination's name demands."""
    if target.digest is None or image.root is None or image.root.digest == target.digest:
        return image
    error = DigestMismatch(f"{image.move.label} is {image.root.digest}, not {target.digest} as {target.label} demands")
    return PlannedImage(image.move, image.root, None, error=error)


def _planned(image: PlannedImage, target: Target) -> ImageReport:
    if image.error is not None:
        return ImageReport(image.move.label, target.label, None, "failed", image.error)
    digest = image.root.digest if image.root and not any(blob.recipe for blob in image.blobs()) else None
    return _counted(image, target, digest, "planned")


def _reported(outcome: Outcome, target: Target) -> ImageReport:
    image = outcome.image
    if outcome.error is not None:
        return ImageReport(image.move.label, target.label, None, "failed", outcome.error)
    return _counted(image, target, outcome.descriptor.digest if outcome.descriptor else None, "copied")


def _counted(image: PlannedImage, target: Target, digest: Digest | None, status: Status) -> ImageReport:
    blobs = {blob.descriptor.digest: blob for blob in image.blobs()}.values()
    return ImageReport(
        image.move.label,
        target.label,
        digest,
        "present" if image.is_present and not image.referrers else status,
        referrers=len(image.referrers),
        size=sum(blob.descriptor.size for blob in blobs),
        bytes_sent=sum(blob.descriptor.size for blob in blobs if blob.fate == "send"),
    )
