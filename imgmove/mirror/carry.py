"""Doing one work: looking at its images, keeping what a name stood for, and moving what changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from imgmove.engine.pool import Pool
from imgmove.errors import ImgmoveError, UsageError
from imgmove.mirror.check import Checked, Checker, Place, put_under
from imgmove.mirror.survey import opened
from imgmove.mirror.work import Item, Learned, Record, Result, Work
from imgmove.model.digest import Digest
from imgmove.ports import NameResolver
from imgmove.stages.copy import move
from imgmove.stages.naming import Origin, Target
from imgmove.stages.options import CopyOptions
from imgmove.stages.report import CopyReport, ImageReport
from imgmove.stages.session import Session

_TOGETHER = 25
"""Images whose plans are made and held at a time; an index of many platforms takes some 100 KB."""

_MOST_PREVIOUS = 100


class Carrier:
    """Does work over one session, for several threads.

    Args:
        asking: how many questions are under way at a time; each takes a connection for as long as it lasts.
    """

    def __init__(self, session: Session, asking: int = 32) -> None:
        self._session = session
        self._pool = Pool(replace(session.run, jobs=asking))
        self._opening = threading.Lock()
        self._moving: dict[str, threading.Lock] = {}

    def carry(self, work: Work) -> Result:
        """Does some work; what could not be done is in the result with its reason.

        Raises:
            Interrupted: the run was cancelled.
        """
        try:
            with self._opening:
                place = self._open(work)
                lock = self._moving.setdefault(str(work.destination), threading.Lock())
        except ImgmoveError as error:
            return Result.all_failed(work, error)
        checker = Checker(self._pool, work, place)
        checks = checker.check()
        result = Result(work, referrers=list(checker.referrers))
        records = [_recorded(work, check) for check in checks]
        result.records += records
        result.learned += [_learned(check) for check in checks if check.is_settled and check.error is None]
        unsettled = [
            (check, record)
            for check, record in zip(checks, records, strict=True)
            if not check.is_settled and check.error is None
        ]
        for group in _groups(unsettled):
            # Images of one repository share blobs; two plans at once would send those twice.
            with lock:
                self._session.run.check()
                _Batch(self._session, work, place).move(group, result)
        return result

    def close(self) -> None:
        """Lets its threads end."""
        self._pool.close()

    def _open(self, work: Work) -> Place:
        endpoints = self._session.endpoints
        try:
            source = endpoints.source(endpoints.looked_up(work.source))
        except ImgmoveError as error:
            raise error.on("source") from error.__cause__
        try:
            return Place.of(source, opened(self._session, work.destination))
        except ImgmoveError as error:
            raise error.on("destination") from error.__cause__


_Pair = tuple[Checked, Record]


class _Batch:
    """Images that move together."""

    def __init__(self, session: Session, work: Work, place: Place) -> None:
        self._session = session
        self._work = work
        self._place = place

    def move(self, pairs: Sequence[_Pair], result: Result) -> None:
        """Moves them and completes their records."""
        began = time.monotonic()
        work = self._work
        if work.keep_previous is not None and not work.dry_run:
            pairs = self._with_previous_kept(pairs)
        if pairs:
            report = self._moved([check for check, _ in pairs], dry_run=work.dry_run)
            result.bytes_sent += report.totals.bytes_sent if not work.dry_run else 0
            for (check, record), image in zip(pairs, report.images, strict=True):
                _complete(check, record, image)
                if image.error is None and image.digest is not None and not work.dry_run:
                    result.learned.append(Learned(_source_digest(check), str(image.digest), image.size))
        for check, record in pairs:
            record.seconds = check.seconds + time.monotonic() - began

    def _moved(self, checks: Sequence[Checked], *, dry_run: bool) -> CopyReport:
        work = self._work
        options = CopyOptions(work.platforms, referrers=work.referrers, recheck=work.recheck, dry_run=dry_run)
        pairs = [(self._origin(check), self._target(check.item)) for check in checks]
        return move(self._session, pairs, options)

    def _origin(self, check: Checked) -> Origin:
        # By digest, so that what is learned about it holds even when the tag moves on meanwhile.
        label = self._work.source_of(check.item)
        return Origin(self._place.source, _source_digest(check), None, label)

    def _target(self, item: Item) -> Target:
        names = (item.name,) if item.name else ()
        return Target(self._place.destination, names, self._work.destination_of(item))

    # --- the images that names stood for before

    def _with_previous_kept(self, pairs: Sequence[_Pair]) -> list[_Pair]:
        self._plan_unknown([check for check, _ in pairs if check.wanted is None and check.current is not None])
        left: list[_Pair] = []
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


def _groups(pairs: Sequence[_Pair]) -> Iterator[Sequence[_Pair]]:
    for start in range(0, len(pairs), _TOGETHER):
        yield pairs[start : start + _TOGETHER]


def _source_digest(check: Checked) -> str:
    assert check.found is not None
    return str(check.found.digest)


def _recorded(work: Work, check: Checked) -> Record:
    record = Record(
        work.mirror,
        work.source_of(check.item),
        work.destination_of(check.item),
        check.action or ("copy" if check.current is None else "update"),
        "planned" if work.dry_run else "done",
        check.reason,
        str(check.wanted) if check.wanted is not None and check.is_settled else "",
        str(check.current) if check.moves_tag else "",
        seconds=check.seconds,
    )
    if check.error is not None:
        record.fail(check.error)
    return record


def _learned(check: Checked) -> Learned:
    assert check.wanted is not None
    return Learned(_source_digest(check), str(check.wanted))


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
