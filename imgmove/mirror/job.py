"""A pass from its lock to its reports: what the command line and the Python API both ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from imgmove.errors import UsageError
from imgmove.mirror.carry import Carrier
from imgmove.mirror.config import MirrorFile
from imgmove.mirror.executor import Executor, ThreadsExecutor
from imgmove.mirror.lock import only_pass
from imgmove.mirror.report import PassReport
from imgmove.mirror.run import Pass, PassOptions
from imgmove.mirror.state import State, state_path
from imgmove.mirror.work import Record
from imgmove.stages.session import Session
from imgmove.wire.files import LocalFiles

_DASK = "dask://"


@dataclass(frozen=True)
class MirrorOptions(PassOptions):
    """What can be asked of a pass beyond what the mirror file says.

    Attributes:
        executor: ``threads``, or ``dask://HOST:PORT`` for the workers of a Dask cluster.
        reports: files to write, whose names end in ``.json`` or ``.html``.
        metrics_file: a file for node_exporter; empty for none.
    """

    executor: str = "threads"
    reports: tuple[str, ...] = ()
    metrics_file: str = ""

    def __post_init__(self) -> None:
        for path in self.reports:
            if not path.endswith((".json", ".html")):
                raise UsageError(f"a report is a .json or .html file, not {path!r:.120}")
        if self.metrics_file and self.dry_run:
            raise UsageError("a dry run has no metrics: they tell of passes that were done")
        is_dask = self.executor.startswith(_DASK) and self.executor.removeprefix(_DASK).rpartition(":")[0]
        if self.executor != "threads" and not is_dask:
            raise UsageError(f"no executor {self.executor!r:.80}", hint="there are threads and dask://HOST:PORT")


def run_pass(
    session: Session, file: MirrorFile, options: MirrorOptions, told: Callable[[Record], None] = lambda _: None
) -> PassReport:
    """Does one pass, and writes its reports whatever comes of it.

    Args:
        session: one that `open_session` made for this file.
        told: hears of every record as soon as it is complete.

    Raises:
        AlreadyRunning: another pass over this file is under way.
        Interrupted: the run was cancelled; the reports tell what was done.
        ImgmoveError: nothing could be begun.
    """
    base = state_path(session.settings.environment.cache_folder, file.path)
    with only_pass(f"{base}.lock", file.path), closing(State(Path(f"{base}.sqlite"))) as state:
        job = Pass(session, file, state, options, told)
        with closing(_executor(session, file, options)) as executor:
            try:
                job.run(executor)
            finally:
                _write(job.report, options)
    return job.report


def _executor(session: Session, file: MirrorFile, options: MirrorOptions) -> Executor:
    if options.executor == "threads":
        return ThreadsExecutor(Carrier(session), session.run)
    from imgmove.mirror.cluster import DaskExecutor

    return DaskExecutor(options.executor.removeprefix(_DASK), file, session)


def _write(report: PassReport, options: MirrorOptions) -> None:
    for path in options.reports:
        if path.endswith(".json"):
            _write_whole(path, (f"{line}\n".encode(errors="replace") for line in report.json_lines()))
        else:
            from imgmove.mirror.page import page_parts

            _write_whole(path, (part.encode(errors="replace") for part in page_parts(report)))
    if options.metrics_file:
        from imgmove.mirror.metrics import metrics_of

        _write_whole(options.metrics_file, [metrics_of(report)])


def _write_whole(path: str, parts: Iterable[bytes]) -> None:
    """Writes a file that appears whole or not at all."""
    writer = LocalFiles().create(path)
    try:
        for part in parts:
            writer.write_at(writer.size, part)
        writer.commit()
    finally:
        writer.abort()
