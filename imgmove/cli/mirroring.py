"""``mirror``."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from imgmove.cli.messages import Messages, clean, counted, size, write
from imgmove.cli.options import Output, ProgressKind, Running, WatchedOutput, make_settings
from imgmove.errors import UsageError

if TYPE_CHECKING:
    from imgmove.mirror.job import MirrorOptions
    from imgmove.mirror.report import PassReport
    from imgmove.mirror.work import Record

_DONE = {"copy": "copied", "update": "updated", "keep": "kept", "prune": "pruned"}


@dataclass(frozen=True)
class Passing:
    """What a pass is to look at, and where it tells of it."""

    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done to each tag, and why.")] = False
    only: Annotated[
        list[str], typer.Option("--only", metavar="NAME", help="Only this mirror of the file; repeatable.")
    ] = field(default_factory=list)
    only_failed: Annotated[
        str,
        typer.Option("--only-failed", metavar="REPORT.json", show_default=False, help="Only what failed back then."),
    ] = ""
    recheck: Annotated[
        bool, typer.Option("--recheck", help="Look at everything, even where the tag is the same already.")
    ] = False
    report: Annotated[
        list[str], typer.Option("--report", metavar="FILE", help="Write a .json or .html report; repeatable.")
    ] = field(default_factory=list)
    metrics_file: Annotated[
        str, typer.Option("--metrics-file", metavar="FILE.prom", show_default=False, help="For node_exporter.")
    ] = ""
    executor: Annotated[str, typer.Option("--executor", metavar="WHERE", help="threads, or dask://HOST:PORT.")] = (
        "threads"
    )
    limit_rate: Annotated[
        str,
        typer.Option(help="Bytes per second over all connections, such as 20M.", metavar="RATE", show_default=False),
    ] = ""

    def options(self) -> MirrorOptions:
        """As a pass wants it."""
        from imgmove.mirror.job import MirrorOptions
        from imgmove.mirror.report import read_unfinished

        return MirrorOptions(
            only=tuple(self.only),
            unfinished=read_unfinished(self.only_failed) if self.only_failed else None,
            dry_run=self.dry_run,
            recheck=self.recheck,
            executor=self.executor,
            reports=tuple(self.report),
            metrics_file=self.metrics_file,
        )


def mirror(
    config: Annotated[str, typer.Argument(metavar="CONFIG", show_default=False, help="The mirror file.")] = "",
    skip_if_running: Annotated[
        bool, typer.Option("--skip-if-running", help="End with 0 when another pass is under way.")
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of mirror files.")] = False,
    *,
    passing: Passing,
    running: Running,
    output: WatchedOutput,
) -> None:
    """Do one pass over a mirror file: cron's job.

    Prints a line for each tag that changed. Unchanged tags cost one question to each side; nothing is pruned unless
    the file says so.
    """
    if schema:
        _print_schema()
        return
    if not config:
        raise UsageError("a pass needs a mirror file", hint="imgmove mirror mirror.yaml")
    from imgmove.cli.session import make_messages
    from imgmove.mirror.lock import AlreadyRunning

    messages = make_messages(output)
    try:
        done = _passed(config, passing, running, output, messages)
    except AlreadyRunning as error:
        if not skip_if_running:
            raise
        messages.note(error.message)
        return
    _conclude(done, output, messages)
    done.raise_failures()


def _passed(config: str, passing: Passing, running: Running, output: WatchedOutput, messages: Messages) -> PassReport:
    from imgmove.cli.session import watched_session
    from imgmove.mirror.job import run_pass
    from imgmove.mirror.meaning import read_mirror_file
    from imgmove.mirror.run import open_session

    settings = make_settings(running, limit_rate=passing.limit_rate)
    file = read_mirror_file(config, settings.environment.variables.get)
    options = passing.options()
    # Lines about changes and bars would get into each other's way.
    quiet = replace(output, progress=ProgressKind.plain) if output.progress is ProgressKind.auto else output
    with watched_session(settings, quiet, partial(open_session, file)) as session:
        return run_pass(session, file, options, partial(_tell, output, messages))


def _print_schema() -> None:
    from imgmove.mirror.schema import json_schema

    write(sys.stdout, json.dumps(json_schema(), indent=2))


def _tell(output: Output, messages: Messages, record: Record) -> None:
    """A line for whatever changed, would change, or failed."""
    if record.failure is not None:
        messages.failure(f"{record.destination}: {record.failure.message}")
    elif not output.json and record.status == "planned":
        source = f"{record.source} → " if record.source else ""
        sent = f"; {size(record.bytes_sent)} to send" if record.bytes_sent else ""
        write(sys.stdout, clean(f"{record.action:7}{source}{record.destination} ({record.reason}{sent})"))
    elif not output.json and record.action != "keep":
        digest = f"@{record.digest}" if record.digest else ""
        kept = f"; the image before is {record.kept_as}" if record.kept_as else ""
        write(sys.stdout, clean(f"{_DONE[record.action]} {record.destination}{digest} ({record.reason}{kept})"))


def _conclude(report: PassReport, output: Output, messages: Messages) -> None:
    if output.json:
        for line in report.json_lines():
            write(sys.stdout, line)
    for mirror in report.mirrors:
        for note in mirror.notes:
            messages.note(f"{mirror.name}: {note}")
        for failure in mirror.failures:
            messages.failure(f"{mirror.name}: {failure.message}")
    for failure in report.hook_failures:
        messages.failure(failure.message)
    totals = ", ".join(f"{count} {name}" for name, count in report.totals.items() if count) or "nothing to do"
    what, moved = ("would be: ", "to send") if report.is_dry_run else ("", "sent")
    sent = f", {size(report.bytes_sent)} {moved}" if report.bytes_sent else ""
    messages.note(f"{what}{totals}{sent}; {counted(len(report.mirrors), 'mirror')} in {report.seconds:.1f} s")
