"""The report as a page for people, in one file that needs nothing else: the one door of Jinja."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files

from imgmove.mirror.report import MirrorSummary, PassReport
from imgmove.mirror.state import PastPass
from imgmove.mirror.work import Record

_MOST_ROWS = 5000
_MOST_POINTS = 120
_WIDTH, _HEIGHT = 720, 160


@dataclass(frozen=True, slots=True)
class Point:
    """One pass in the chart; x and y in the chart's own units."""

    x: float
    y: float
    label: str


def page_parts(report: PassReport) -> Iterator[str]:
    """The page, piece by piece, as it can be long."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["bytes"] = readable_size
    environment.filters["short"] = _short
    template = environment.from_string(files("imgmove.mirror").joinpath("page.html").read_text("utf-8"))
    failed = [record for record in report.records if record.failure is not None]
    changed = [record for record in report.records if record.failure is None and record.action != "keep"]
    yield from template.generate(
        report=report,
        failed=failed[:_MOST_ROWS],
        failed_left=max(0, len(failed) - _MOST_ROWS),
        changed=changed[:_MOST_ROWS],
        changed_left=max(0, len(changed) - _MOST_ROWS),
        rows=[_row(mirror, report.records) for mirror in report.mirrors],
        points=chart_points(report.history),
        largest=max((item.bytes_total for item in report.history), default=0),
        width=_WIDTH,
        height=_HEIGHT,
    )


def chart_points(history: Sequence[PastPass]) -> list[Point]:
    """Sizes over time, thinned out to what a chart can show; the latest pass is always there."""
    known = [item for item in history if item.bytes_total]
    step = max(1, -(-len(known) // _MOST_POINTS))
    thinned = known[::-1][::step][::-1]
    if len(thinned) < 2:
        return []
    first, span = thinned[0].started, (thinned[-1].started - thinned[0].started) or 1.0
    most = max(item.bytes_total for item in thinned)
    return [
        Point(
            round((item.started - first) / span * _WIDTH, 1),
            round(_HEIGHT - item.bytes_total / most * _HEIGHT, 1),
            f"{datetime.fromtimestamp(item.started, UTC):%Y-%m-%d %H:%M} UTC: {readable_size(item.bytes_total)}",
        )
        for item in thinned
    ]


def readable_size(count: float) -> str:
    """A number of bytes as people read it: 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


@dataclass(frozen=True, slots=True)
class _Row:
    mirror: MirrorSummary
    counts: dict[str, int]


def _row(mirror: MirrorSummary, records: Sequence[Record]) -> _Row:
    counts = dict.fromkeys(("copy", "update", "keep", "prune", "failed"), 0)
    for record in records:
        if record.mirror == mirror.name:
            counts["failed" if record.failure is not None else record.action] += 1
    return _Row(mirror, counts)


def _short(digest: str) -> str:
    return digest.partition(":")[2][:12]
