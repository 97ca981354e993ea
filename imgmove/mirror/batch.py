"""Moving images together: what their names stood for before is kept, and what came of each is told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

from imgmove.errors import ImgmoveError, UsageError
from imgmove.mirror.check import Checked, Place, put_under
from imgmove.mirror.work import Item, Learned, Record, Result, Work
from imgmove.model.digest import Digest
from imgmove.ports import NameResolver
from imgmove.stages.move import move
from imgmove.stages.naming import Origin, Target
from imgmove.stages.options import CopyOptions
from imgmove.stages.report import CopyReport, ImageReport
from imgmove.stages.session import Session

_MOST_PREVIOUS = 100

Pair = tuple[Checked, Record]


class Batch:
    """Images that move together.

    Args:
        planned: blobs that earlier batches of a dry run would have sent to the same place.
    """

    def __init__(self, session: Session, work: Work, place: Place, planned: set[Digest]) -> None:
        self._session = session
        self._work = work
        self._place = place
        self._planned = planned

    def move(self, pairs: Sequence[Pair], result: Result) -> None:
        """Moves them and completes their records."""
        began = time.monotonic()
        work = self._work
        if work.keep_previous is not None and not work.dry_run:
            pairs = self._with_previous_kept(pairs)
        if pairs:
            report = self._moved([check for check, _ in pairs], dry_run=work.dry_run)
            result.bytes_sent += self._bytes_of_dry_run(report) if work.dry_run else report.totals.bytes_sent
            for (check, record), image in zip(pairs, report.images, strict=True):
                _complete(check, record, image)
            if not work.dry_run:
                _learn(pairs, report, result)
        for check, record in pairs:
            record.seconds = check.seconds + time.monotonic() - began

    def _bytes_of_dry_run(self, report: CopyReport) -> int:
        """What would be sent; what batches share, the first of them sends."""
        sent = {blob.descriptor for plan in report.plans for blob in plan.blobs if blob.fate == "send"}
        new = {blob.digest: blob.size for blob in sent if blob.digest not in self._planned}
        self._planned.update(new)
        return sum(new.values())

    def _moved(self, checks: Sequence[Checked], *, dry_run: bool) -> CopyReport:
        work = self._work
        options = CopyOptions(work.platforms, referrers=work.referrers, recheck=work.recheck, dry_run=dry_run)
        pairs = [(self._origin(check), self._target(check.item)) for check in checks]
        return move(self._session, pairs, options)

    def _origin(self, check: Checked) -> Origin:
        # By digest, so that what is learned about it holds even when the tag moves on meanwhile.
        label = self._work.source_of(check.item)
        return Origin(self._place.source, check.source_digest, None, label)

    def _target(self, item: Item) -> Target:
        names = (item.name,) if item.name else ()
        return Target(self._place.destination, names, self._work.destination_of(item))

    # --- the images that names stood for before

    def _with_previous_kept(self, pairs: Sequence[Pair]) -> list[Pair]:
        self._plan_unknown([check for check, _ in pairs if check.wanted is None and check.current is not None])
        left: list[Pair] = []
        for check, record in pairs:
            try:
                if check.moves_tag:
                    record.kept_as = self._keep_previous(check)
                left.append((check, record))
            except ImgmoveError as error:
                record.fail(error)
        return left

    def _plan_unknown(self, checks: Sequence[Checked]) -> None:
        """Finds out what some platforms of an image come to, so that it is known whether a name will move."""
        if checks:
            for check, image in zip(checks, self._moved(checks, dry_run=True).images, strict=True):
                check.wanted = image.digest if image.error is None else None

    def _keep_previous(self, check: Checked) -> str:
        rule, current, destination = self._work.keep_previous, check.current, self._place.destination
        assert rule is not None
        assert current is not None
        if not isinstance(destination, NameResolver):
            raise UsageError(f"{self._work.destination} can't keep previous images")
        repository, colon, tag = check.item.name.rpartition(":")
        wanted = f"{repository}{colon}{rule.name(tag, current, datetime.now().astimezone())}"
        name = wanted if rule.is_one_a_tag else self._free_name(destination, wanted, current)
        there = self._session.run.persist(f"asking for {current.short}", lambda: destination.find(str(current)))
        if name and there is not None:
            put_under(self._session.run.persist, self._place.destination, there, name)
        return name or wanted

    def _free_name(self, destination: NameResolver, wanted: str, current: Digest) -> str:
        """The name, or one with a number when other images have it; empty when this image has it already."""
        for number in range(1, _MOST_PREVIOUS):
            name = wanted if number == 1 else f"{wanted}-{number}"
            found = self._session.run.persist(f"asking for {name}", lambda name=name: destination.find(name))  # type: ignore[misc]
            if found is None:
                return name
            if found.digest == current:
                return ""
        raise UsageError(f"there are {_MOST_PREVIOUS} previous images called {wanted} already")


def _learn(pairs: Sequence[Pair], report: CopyReport, result: Result) -> None:
    planned = [image for plan in report.plans for image in plan.images]
    for (check, _), image, plan in zip(pairs, report.images, planned, strict=True):
        if image.error is None and image.digest is not None:
            result.learned.append(Learned(check.source_digest, str(image.digest), image.size))
            result.referrers += [str(referrer.tree.root.digest) for referrer in plan.referrers]


def _complete(check: Checked, record: Record, image: ImageReport) -> None:
    if image.error is not None:
        record.fail(image.error)
        return
    record.digest = str(image.digest) if image.digest is not None else ""
    record.size, record.bytes_sent, record.referrers = image.size, image.bytes_sent, image.referrers
    if image.status == "present":
        record.action, record.reason = "keep", "unchanged"
    elif check.action is None:
        # Only the plan could tell what some platforms of the image come to.
        is_moved = check.current is not None and image.digest is not None and check.current != image.digest
        record.reason = f"moved from {check.current.short}" if is_moved and check.current else "new"
        record.previous = str(check.current) if is_moved else ""
