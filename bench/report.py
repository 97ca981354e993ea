"""The page about the benchmarks: what was measured, where, with which versions, and whether the targets are met."""

from __future__ import annotations

import datetime as dt
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.growth import Growth
from bench.measure import Costs

_VERSIONS = {
    "imgmove": ("imgmove", "--version"),
    "crane": ("crane", "version"),
    "skopeo": ("skopeo", "--version"),
    "regctl": ("regctl", "version", "--format", "{{.VCSTag}}"),
    "regsync": ("regsync", "version", "--format", "{{.VCSTag}}"),
    "oras": ("oras", "version"),
    "umoci": ("umoci", "--version"),
    "docker-registry": ("docker-registry", "--version"),
    "ssh": ("ssh", "-V"),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """A row that was run.

    Attributes:
        target: how many times the quickest peer's time imgmove may take; 0 for none.
        minus_start: the interpreter's start is not counted against the target.
        floors: those programs that are nobody's, and show what cannot be undercut.
        seconds: how long imgmove may take whatever others take; 0 for as long as the target says.
    """

    name: str
    costs: Mapping[str, Costs]
    target: float = 0
    minus_start: bool = False
    floors: frozenset[str] = frozenset()
    seconds: float = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that goes onto the page.

    Attributes:
        picture: the file name of the curves' picture, beside the page.
    """

    rows: Sequence[Measured]
    curves: Sequence[Growth]
    path: str
    picture: str

    def text(self) -> str:
        """The page, in Markdown."""
        return "\n".join((*self._head(), *self._table(), *self._growth())).rstrip() + "\n"

    def _head(self) -> Iterator[str]:
        yield "# Benchmarks\n"
        yield f"Written by `make bench` on {dt.datetime.now(dt.UTC):%Y-%m-%d}. Machine: {_machine()}."
        yield f"Programs: {'; '.join(_versions(self.path))}.\n"
        yield (
            f"Medians of {self._rounds()} rounds in which all programs take turns, after one that warms the caches; every "
            "destination is empty before each run, but for the rows that say *unchanged*. Registries are "
            "docker-registry, on the same machine. Slow links are a proxy that delays (and paces) each connection. "
            "*Peak* is the largest memory of any run."
        )
        yield (
            f"*{START}* is all that Python, its imports and the command line take: a copy whose first request finds nobody "
            "listening. Where *minus start* stands, that is taken off before comparing with the target; the ratio itself "
            "is of whole times.\n"
        )

    def _rounds(self) -> str:
        counts = [len(cost.runs) for row in self.rows for cost in row.costs.values() if cost.runs]
        return f"{min(counts)} (bundles) to {max(counts)}" if counts else "no"

    def _table(self) -> Iterator[str]:
        yield "| work | program | seconds | times the quickest other | target | CPU seconds | peak MiB |"
        yield "|---|---|---:|---:|---|---:|---:|"
        for row in self.rows:
            yield from self._lines(row)
        yield ""
        if any(row.floors for row in self.rows):
            yield (
                "*bare sockets* is [bench/floor.py](../bench/floor.py): the fewest lines of Python that move such a layer, "
                "without and with its SHA-256. What it takes beyond a program is Python's or the hash's; what imgmove takes "
                "beyond it is imgmove's.\n"
            )

    def _lines(self, row: Measured) -> Iterator[str]:
        name = row.name
        others = _OURS | row.floors | {START}
        peers = [cost.wall for program, cost in row.costs.items() if program not in others and cost.runs]
        best = min(peers, default=0.0)
        for program, cost in row.costs.items():
            if not cost.runs:
                yield f"| {name} | {program} | failed: {cost.failure} | | | | |"
            else:
                ratio = f"{cost.wall / best:.2f}" if best and program in others - {START} else ""
                judged = self._judged(row, cost.wall, best) if program in _OURS - {"first"} else ""
                yield (
                    f"| {name} | {program} | {cost.wall:.3f} | {ratio} | {judged} | {cost.cpu:.2f} | {cost.memory:.0f} |"
                )
            name = ""

    def _judged(self, row: Measured, wall: float, best: float) -> str:
        if row.seconds:
            return f"≤ {row.seconds} s, {'met' if wall <= row.seconds else '**missed**'}"
        if not row.target or not best:
            return ""
        reached = (wall - row.costs[START].wall if row.minus_start else wall) / best
        said = f"≤ {row.target} minus start: {reached:.2f}" if row.minus_start else f"≤ {row.target}"
        return f"{said}, {'met' if reached <= row.target else '**missed**'}"

    def _growth(self) -> Iterator[str]:
        if not self.curves:
            return
        yield "## As work grows\n"
        yield f"![seconds and memory as work grows]({self.picture})\n"
        yield "| work | count: seconds, peak MiB | exponent of the last step |"
        yield "|---|---|---:|"
        for curve in self.curves:
            points = " · ".join(
                f"{point.count}: {point.cost.wall:.2f}, {point.cost.memory:.0f}" for point in curve.points
            )
            yield f"| {curve.name.partition(': ')[2]} | {points} | {curve.exponent:.2f} |"
        yield "\nAn exponent of 1 is linear; more than that is a defect.\n"


START = "start alone"
_OURS = frozenset({"imgmove", "first", "bundle create", "bundle load"})


def _machine() -> str:
    cores = os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    release = platform.freedesktop_os_release()["PRETTY_NAME"] if Path("/etc/os-release").exists() else ""
    return f"{cores} cores ({model}), {memory:.0f} GiB, {release or platform.platform()}, Python {platform.python_version()}"


def _versions(path: str) -> Iterator[str]:
    for program, words in _VERSIONS.items():
        if shutil.which(program, path=path) is not None:
            environment = {**os.environ, "PATH": path}
            done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
            lines = (done.stdout or done.stderr).strip().splitlines()
            version = " ".join(lines[0].split()) if lines else "?"
            yield version if version.startswith(program) else f"{program} {version}"
