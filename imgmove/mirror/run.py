"""One pass over a mirror file: lists, looks, moves, prunes, and tells."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from imgmove.engine.budget import Budget
from imgmove.errors import ImgmoveError, UsageError
from imgmove.mirror.config import Mirror, MirrorFile, Pattern, names_image
from imgmove.mirror.executor import Executor
from imgmove.mirror.hooks import Hooks
from imgmove.mirror.limits import Gate
from imgmove.mirror.prune import Pruner
from imgmove.mirror.report import MirrorSummary, PassReport, Unfinished
from imgmove.mirror.state import PastPass, State
from imgmove.mirror.survey import Listing, Survey
from imgmove.mirror.work import Failure, Record, Result, Work
from imgmove.model.location import LayoutLocation, RegistryLocation, RegistryPrefix
from imgmove.ports import Observer, RequestGate
from imgmove.settings import HostOptions, Settings
from imgmove.stages.session import Session

_CHUNK = 100
"""Images a work: enough to keep all connections busy, few enough to be spread and to be told of as it goes."""

_MOST_CONNECTIONS = 16
_FOR_QUESTIONS = 2
_FOR_ONE_BLOB = 7


@dataclass(frozen=True)
class PassOptions:
    """What was asked of one pass.

    Attributes:
        only: names of mirrors; none for all.
        unfinished: look only at what an earlier pass left undone.
        recheck: look at everything, even where the names say that all is done.
    """

    only: tuple[str, ...] = ()
    unfinished: Unfinished | None = None
    dry_run: bool = False
    recheck: bool = False


def pass_settings(settings: Settings, file: MirrorFile, workers: int = 1) -> Settings:
    """The settings of a pass: what the file says of registries, divided among so many workers.

    Threads that hold a connection to a source must never wait for one to a destination that others hold who wait for
    the source; and questions must not wait for blobs. So fewer blobs are in motion than there may be connections.
    """
    reading, writing = _sides(file)
    hosts: dict[str, HostOptions] = {}
    jobs = settings.jobs
    for host in {*file.registries, *reading, *writing}:
        rules = file.registries.get(host)
        most = max(1, (rules.max_connections if rules is not None else _MOST_CONNECTIONS) // workers)
        # A registry on both sides has its connections divided between them.
        half = max(1, most // 2) if host in reading and host in writing else most
        named = rules.options if rules is not None else None
        hosts[host] = HostOptions(named or settings.source, half, half)
        jobs = min(jobs, max(1, half - _FOR_QUESTIONS))
    rate = settings.limit_rate if settings.limit_rate is not None else file.limit_rate
    return replace(settings, hosts=hosts, jobs=jobs, limit_rate=rate)


def open_session(
    file: MirrorFile, settings: Settings, observer: Observer | None = None, *, workers: int = 1
) -> Session:
    """A session that keeps to the manners that the file demands."""
    own = pass_settings(settings, file, workers)
    few = min(options.most_reading or 1 for options in own.hosts.values())
    # Reading one blob over several connections is for those who have connections left over.
    session = Session(own, observer, Budget(0) if few < own.jobs + _FOR_QUESTIONS + _FOR_ONE_BLOB else None)
    gates: dict[str, RequestGate] = {
        host: Gate(host, rules, session.run, workers)
        for host, rules in file.registries.items()
        if rules.requests_per_second is not None or rules.ratelimit_floor is not None
    }
    carriers = {None, *(carrier for mirror in file.mirrors for carrier in mirror.carriers)}
    for registries in map(session.endpoints.registries_behind, carriers):
        registries.gates, registries.memory = gates, session.knowledge
    return session


def _sides(file: MirrorFile) -> tuple[set[str], set[str]]:
    reading: set[str] = set()
    writing: set[str] = set()
    for mirror in file.mirrors:
        source, destination = mirror.source, mirror.destination
        reading.add(source.reference.host if isinstance(source, RegistryLocation) else source.host)
        if isinstance(destination, RegistryLocation):
            writing.add(destination.reference.host)
        elif isinstance(destination, RegistryPrefix):
            writing.add(destination.host)
    return reading, writing


def _place(location: RegistryLocation | Pattern | RegistryPrefix | LayoutLocation) -> str:
    """A place as the mirror file has it: a repository has no tag."""
    if isinstance(location, RegistryLocation) and not names_image(location):
        return str(location).removesuffix(f":{location.reference.tag}")
    return str(location)


def _slips(listing: Listing, source: RegistryLocation) -> Iterator[str]:
    """What may be a slip in the rules of a mirror, as nothing comes of it."""
    if listing.absent:
        yield f"{source.reference.name} has no tag {', '.join(listing.absent)}, as include names"
    elif not listing.items and not listing.misnamed:
        yield f"none of the tags of {source.reference.name} is chosen"


class Pass:
    """One pass. `report` grows while it runs, so that it tells what was done even when the pass is ended.

    Args:
        told: hears of every record as soon as it is complete.
    """

    def __init__(
        self,
        session: Session,
        file: MirrorFile,
        state: State,
        options: PassOptions,
        told: Callable[[Record], None] = lambda _: None,
    ) -> None:
        self._session = session
        self._file = file
        self._state = state
        self._options = options
        self._told = told
        self._began = time.monotonic()
        self._mirrors = self._chosen()
        self._hooks: Hooks | None = None
        self.report = PassReport(file.path, datetime.now().astimezone(), options.dry_run)
        self._summaries = {
            mirror.name: MirrorSummary(mirror.name, _place(mirror.source), _place(mirror.destination))
            for mirror in self._mirrors
        }
        self.report.mirrors = list(self._summaries.values())

    def run(self, executor: Executor) -> PassReport:
        """Does everything and returns the report.

        Raises:
            Interrupted: the run was cancelled; what was done is done, and the next pass goes on.
        """
        if self._file.hook is not None and not self._options.dry_run:
            variables = self._session.settings.environment.variables
            self._hooks = Hooks(*self._file.hook, variables)
        try:
            listings = Survey(self._session).read(self._mirrors)
            works = list(self._works(listings))
            for result in executor.run(works):
                self._take(result)
            self._prune(listings)
            if self._hooks is not None:
                self._hooks.finish()
                self.report.hook_failures = self._hooks.failures
        finally:
            if self._hooks is not None:
                self._hooks.end()
            self._complete()
        return self.report

    def _chosen(self) -> list[Mirror]:
        known = {mirror.name for mirror in self._file.mirrors}
        for name in self._options.only:
            if name not in known:
                raise UsageError(
                    f"the mirror file has no mirror {name!r:.80}", hint=f"there are {', '.join(sorted(known))}"
                )
        unfinished = self._options.unfinished
        return [
            mirror
            for mirror in self._file.mirrors
            if (not self._options.only or mirror.name in self._options.only)
            and (unfinished is None or unfinished.concerns(mirror.name))
        ]

    # --- from lists to works

    def _works(self, listings: Sequence[Listing]) -> Iterator[Work]:
        for listing in listings:
            summary = self._summaries[listing.mirror.name]
            if listing.error is not None:
                summary.failures.append(Failure.of(listing.error))
                continue
            assert listing.source is not None
            assert listing.destination is not None
            summary.repositories += 1
            summary.tags += len(listing.items)
            # Of many repositories that a pattern fits, some may well have nothing to choose.
            if not isinstance(listing.mirror.source, Pattern):
                summary.notes += _slips(listing, listing.source)
            yield from self._works_of(listing, listing.source)

    def _works_of(self, listing: Listing, source: RegistryLocation) -> Iterator[Work]:
        mirror, destination = listing.mirror, listing.destination
        assert destination is not None
        options = self._options
        whole = Work(
            mirror=mirror.name,
            source=source,
            destination=destination,
            items=(),
            platforms=mirror.platforms,
            referrers=mirror.referrers,
            keep_previous=mirror.keep_previous,
            known=self._state.known(str(destination), ",".join(map(str, mirror.platforms))),
            known_referrers=self._state.referrers(str(destination)),
            recheck=options.recheck,
            dry_run=options.dry_run,
        )
        for tag, error in listing.misnamed:
            record = Record(mirror.name, f"{source.reference.name}:{tag}", str(destination), "copy")
            record.fail(error)
            self._add(record)
        items = listing.items
        if options.unfinished is not None:
            wants, work = options.unfinished.wants, whole
            items = [item for item in items if wants(mirror.name, work.source_of(item))]
        for start in range(0, len(items), _CHUNK):
            yield replace(whole, items=tuple(items[start : start + _CHUNK]))

    # --- from results to the report

    def _take(self, result: Result) -> None:
        if not self._options.dry_run:
            self._state.learn(result)
        self.report.bytes_sent += result.bytes_sent
        for record in result.records:
            self._add(record)

    def _add(self, record: Record) -> None:
        self.report.records.append(record)
        self._told(record)
        if self._hooks is not None and record.is_change:
            self._hooks.tell({"event": record.action, "config": self._file.path, **record.to_json()})

    def _prune(self, listings: Sequence[Listing]) -> None:
        if self._options.unfinished is not None:
            return
        pruner = Pruner(self._session, self._file.mirrors, self._note, self._fail)
        for record in pruner.prune(listings, dry_run=self._options.dry_run):
            self._add(record)

    def _note(self, mirror: str, text: str) -> None:
        self._summaries[mirror].notes.append(text)

    def _fail(self, mirror: str, error: ImgmoveError) -> None:
        self._summaries[mirror].failures.append(Failure.of(error))

    def _complete(self) -> None:
        report = self.report
        report.seconds = time.monotonic() - self._began
        report.bytes_total = self._state.total_since(report.started.timestamp()) if not report.is_dry_run else 0
        done = PastPass(
            report.started.timestamp(),
            report.seconds,
            len(report.records),
            report.changes,
            len(report.failures),
            report.bytes_sent,
            report.bytes_total,
        )
        if not report.is_dry_run and not self._options.only and self._options.unfinished is None:
            self._state.add_pass(done)
        report.history = self._state.passes()
