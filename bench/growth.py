"""What more of everything costs: more tags, layers, bytes and images, each by a factor of about ten at a time."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.images import build, noise
from bench.many_tags import fill
from bench.measure import Cost, run_once
from bench.servers import empty_registry, registry

_SMALL_LAYER = 100_000
_MIB = 1 << 20

CURVES: Mapping[str, Sequence[int]] = {
    "growth: mirror pass without state, unchanged tags": (10, 100, 1000, 10_000),
    "growth: registry → layout, layers of 100 kB": (1, 10, 50, 200),
    "growth: registry → layout, one layer, MiB": (1, 16, 256, 4096),
    "growth: save, images in one archive": (10, 100, 1000),
    "growth: load, images in one archive": (10, 100, 1000),
}
"""How many of what each curve counts."""


@dataclass(frozen=True, slots=True)
class Point:
    """So many of something, and what that cost."""

    count: int
    cost: Cost


@dataclass(frozen=True, slots=True)
class Growth:
    """One curve: a job done with more and more of one thing.

    Attributes:
        name: the job, and what is counted.
        points: from few to many.
    """

    name: str
    points: Sequence[Point]

    @property
    def exponent(self) -> float:
        """How steep the last step is: 1 is linear, less is better."""
        before, last = self.points[-2:]
        return math.log(last.cost.wall / before.cost.wall) / math.log(last.count / before.count)


class Meadow:
    """The folder and environment in which everything grows."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder / "growth"
        self.environment = environment

    def curves(self, is_wanted: Callable[[str], bool]) -> Iterator[Growth]:
        """Measures one curve after another; each point is the best of three runs, the largest of one."""
        measures = (self._tags, self._layers, self._bytes, self._save, self._load)
        for (name, counts), measure in zip(CURVES.items(), measures, strict=True):
            if is_wanted(name):
                yield self._curve(name, counts, measure)

    def _curve(self, name: str, counts: Sequence[int], measure: Callable[[int], Callable[[], Cost]]) -> Growth:
        points = []
        for count in counts:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()
            with ExitStack() as self._stack:
                once = measure(count)
                runs = [once() for _ in range(1 if count == counts[-1] else 3)]
            points.append(Point(count, min(runs, key=lambda run: run.wall)))
        shutil.rmtree(self.folder, ignore_errors=True)
        return Growth(name, points)

    def _run(self, *words: str) -> Cost:
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        shutil.rmtree(Path(self.environment["XDG_CACHE_HOME"]) / "imgmove", ignore_errors=True)
        os.sync()
        return run_once(["imgmove", *words], self.environment, self.folder)

    def _tags(self, count: int) -> Callable[[], Cost]:
        hosts = []
        for side in ("source", "destination"):
            fill(self.folder / side / "data", 1, count)
            hosts.append(self._stack.enter_context(registry(self.folder / side)))
        config = self.folder / "mirror.yaml"
        config.write_text(
            f"version: 1\nmirrors: [{{source: '{hosts[0]}/bench/app0', destination: '{hosts[1]}/bench/app0'}}]\n"
        )
        return lambda: self._run("mirror", "-q", str(config))

    def _layers(self, count: int) -> Callable[[], Cost]:
        return self._pulled(noise(_SMALL_LAYER, number) for number in range(count))

    def _bytes(self, count: int) -> Callable[[], Cost]:
        return self._pulled(noise(count * _MIB, number) for number in (1,))

    def _pulled(self, layers: Iterator[bytes]) -> Callable[[], Cost]:
        build(self.folder / "in", "app:1", layers, is_gzipped=False)
        host = self._stack.enter_context(empty_registry(self.folder / "source"))
        self._run("copy", "-q", f"oci:{self.folder}/in:app:1", f"{host}/app:1")
        shutil.rmtree(self.folder / "in")
        return lambda: self._run("copy", "-q", f"{host}/app:1", f"oci:{self.folder}/out:app:1")

    def _images(self, count: int) -> list[str]:
        for number in range(count):
            build(self.folder / "in", f"app:{number}", iter((noise(_SMALL_LAYER, number),)), is_gzipped=False)
        return [f"oci:{self.folder}/in:app:{number}" for number in range(count)]

    def _save(self, count: int) -> Callable[[], Cost]:
        images = self._images(count)
        return lambda: self._run("save", "-q", *images, "-o", str(self.folder / "out.tar"))

    def _load(self, count: int) -> Callable[[], Cost]:
        self._save(count)()
        return lambda: self._run("load", "-q", "-i", str(self.folder / "out.tar"), "--to", f"oci:{self.folder}/out")


def draw(curves: Sequence[Growth], path: Path) -> None:
    """Draws all curves, time above and memory below, on logarithmic axes."""
    if not curves:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(curves), 5.6), layout="constrained")
    axes = figure.subplots(2, len(curves), sharex="col", squeeze=False)
    for column, curve in enumerate(curves):
        counts = [point.count for point in curve.points]
        for row, (label, values) in enumerate(
            (
                ("seconds", [point.cost.wall for point in curve.points]),
                ("peak, MiB", [point.cost.memory for point in curve.points]),
            )
        ):
            panel = axes[row][column]
            panel.plot(counts, values, marker="o")
            panel.set_xscale("log")
            panel.set_ylabel(label)
            panel.grid(visible=True, alpha=0.3)
            if row == 0:
                panel.set_yscale("log")
                panel.set_title(curve.name.partition(": ")[2].replace(", ", ",\n", 1), fontsize=9)
            else:
                panel.set_ylim(0, 120)
    # Without the date the same figures give the same picture.
    figure.savefig(path, metadata={"Date": None})
