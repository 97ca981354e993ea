"""Doing one work: looking at its images, keeping what a name stood for, and moving what changed."""

from __future__ import annotations

import threading
import traceback
from collections import defaultdict
from dataclasses import replace

from imgmove.engine.pool import Pool
from imgmove.errors import ImgmoveError
from imgmove.mirror.check import Checked, Checker, Place
from imgmove.mirror.survey import opened
from imgmove.mirror.work import Learned, Record, Result, Work
from imgmove.model.digest import Digest
from imgmove.stages.session import Session

_TOGETHER = 25
"""Images whose plans are made and held at a time; an index of many platforms takes some 100 KB."""


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
        self._planned: defaultdict[str, set[Digest]] = defaultdict(set)

    def carry(self, work: Work) -> Result:
        """Does some work; what could not be done is in the result with its reason.

        Raises:
            Interrupted: the run was cancelled.
        """
        try:
            return self._carried(work)
        except ImgmoveError:
            raise
        except Exception as error:  # noqa: BLE001 - the other mirrors are not to suffer for a slip over one's answers
            return Result.all_failed(work, _slip(error))

    def _carried(self, work: Work) -> Result:
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
        for start in range(0, len(unsettled), _TOGETHER):
            # Most passes move nothing, and need nothing of what that takes.
            from imgmove.mirror.batch import Batch

            # Images of one repository share blobs; two plans at once would send those twice.
            with lock:
                self._session.run.check()
                batch = Batch(self._session, work, place, self._planned[str(work.destination)])
                batch.move(unsettled[start : start + _TOGETHER], result)
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


def _slip(error: Exception) -> ImgmoveError:
    """A fault of imgmove's own as one line; what it says of itself may hold what nobody should read in a report."""
    *_, last = traceback.extract_tb(error.__traceback__)
    return ImgmoveError(f"internal error: {type(error).__name__} in line {last.lineno} of {last.name}")


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
    return Learned(check.source_digest, str(check.wanted))
