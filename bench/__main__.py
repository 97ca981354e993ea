"""``python -m bench [WORDS...]``: measures the rows whose name has one of the words, or all, and then writes the page."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import bundle, mirror, ssh
from bench.growth import CURVES, Growth, Meadow, draw
from bench.images import build, noise, real_layers, tiny_files
from bench.measure import Cost, Costs, in_turns, run_once
from bench.report import START, Measured, Page
from bench.results import Results
from bench.rows import ROWS, Command, Job, Row
from bench.servers import empty_registry, registry, slow_link

_MIB = 1 << 20
_IMAGE = (124 * _MIB, 90 * _MIB, 80 * _MIB, 22 * _MIB)
_LARGE = 1 << 30
_DOCS = Path(__file__).parent.parent / "docs"
_PICTURE = "benchmarks-growth.svg"
_START = ["sh", "-c", "imgmove copy -q --retries 0 127.0.0.1:1/none:1 oci:none || true"]
"""All that a copy does before its first request, which nobody answers here."""


class Ground:
    """The registry full of images and the folders that all rows share."""

    def __init__(self, folder: Path, source: str) -> None:
        self.folder = folder
        self.source = source
        self.archive = str(folder / "image.tar")
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder / "home"),
            "XDG_CACHE_HOME": str(folder / "home" / "cache"),
            "XDG_RUNTIME_DIR": str(folder / "home" / "run"),
        }
        for name in ("home/run", "out"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def measure(self, row: Row, rounds: int) -> dict[str, Costs]:
        """Runs one row."""
        commands = {name: command for name, command in row.commands.items() if self.has(name)} | row.floors
        found = {name: self._program(row, command) for name, command in commands.items()}
        if row.minus_start:
            found[START] = self.start
        return in_turns(found, rounds)

    def start(self) -> Cost:
        """What a copy costs before its first request."""
        return run_once(_START, self.environment, self.folder)

    def has(self, program: str) -> bool:
        """Whether a program is on the PATH."""
        return shutil.which(program, path=self.environment["PATH"]) is not None

    def _program(self, row: Row, command: Command) -> Callable[[], Cost]:
        def run() -> Cost:
            with contextlib.ExitStack() as stack:
                source = self.source
                destination = stack.enter_context(empty_registry(self.folder / "destination"))
                if row.is_warm:
                    self._once(command, source, destination)
                if row.round_trip or row.megabits:
                    source = stack.enter_context(slow_link(source, row.round_trip, row.megabits))
                if row.round_trip:
                    destination = stack.enter_context(slow_link(destination, row.round_trip))
                return self._once(command, source, destination)

        return run

    def _once(self, command: Command, source: str, destination: str) -> Cost:
        out = self.folder / "out"
        shutil.rmtree(out)
        out.mkdir()
        shutil.rmtree(self.folder / "home" / "cache", ignore_errors=True)
        os.sync()
        job = Job(source, destination, self.archive, str(self.folder / "layout"), str(out))
        return run_once(command(job), self.environment, self.folder)


def make_images(folder: Path, host: str) -> None:
    """Fills the registry; real layers are of this machine's own files."""
    layout = folder / "all"
    build(layout, "image:1", real_layers(_IMAGE), is_gzipped=True)
    build(layout, "sixty:1", (noise(300_000, number) for number in range(60)), is_gzipped=True)
    build(layout, "large:1", (noise(_LARGE, number) for number in (1,)), is_gzipped=False)
    build(layout, "tiny:1", (tiny_files(50_000, f"opt/{number}") for number in range(4)), is_gzipped=True)
    environment = {**os.environ, "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
    imgmove = str(Path(sys.executable).with_name("imgmove"))
    commands = [
        [imgmove, "copy", "-q", f"oci:{layout}:{name}", f"{host}/{name}"]
        for name in ("image:1", "sixty:1", "large:1", "tiny:1")
    ]
    commands.append([imgmove, "copy", "-q", f"oci:{layout}:image:1", f"oci:{folder / 'layout'}:image:1"])
    commands.append(
        [
            "skopeo",
            "--insecure-policy",
            "copy",
            "-q",
            f"oci:{layout}:image:1",
            f"docker-archive:{folder / 'image.tar'}:image:1",
        ]
    )
    for command in commands:
        run_once(command, environment, folder)
    shutil.rmtree(layout)


@contextlib.contextmanager
def ground(kept: Path | None) -> Iterator[Ground]:
    """Images in a registry, made anew or taken from the folder of an earlier run."""
    with contextlib.ExitStack() as stack:
        folder = kept or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imgmove-bench-")))
        is_new = not (folder / "image.tar").exists()
        host = stack.enter_context(registry(folder / "source"))
        if is_new:
            make_images(folder, host)
        yield Ground(folder, host)


def main() -> None:
    """Measures, prints, and writes the page when everything was measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("words", nargs="*", help="only rows with one of these words")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="a folder to keep images and results in, to measure some rows again")
    parser.add_argument("--bundle-gib", type=int, default=10, help="how large the bundle is")
    arguments = parser.parse_args()

    def is_wanted(name: str) -> bool:
        return not arguments.words or any(word in name for word in arguments.words)

    with ground(arguments.keep) as place:
        results = Results(arguments.keep and arguments.keep / "results.json", _names(arguments))
        for found in _all(place, arguments, is_wanted):
            _show(found)
            results.add(found)
            if arguments.keep or not arguments.words:
                draw(results.curves, _DOCS / _PICTURE)
                path = place.environment["PATH"]
                page = Page(results.rows, results.curves, path, _PICTURE)
                (_DOCS / "benchmarks.md").write_text(page.text())


def _names(arguments: argparse.Namespace) -> list[str]:
    rows = [row.name for row in ROWS] + [row.name for row in mirror.MIRROR_ROWS] + [row.name for row in ssh.SSH_ROWS]
    return [*rows, _bundle_name(arguments), *CURVES]


def _bundle_name(arguments: argparse.Namespace) -> str:
    return f"bundle of {arguments.bundle_gib} GiB, beside copying and hashing its blobs"


def _all(place: Ground, arguments: argparse.Namespace, is_wanted: Callable[[str], bool]) -> Iterator[Measured | Growth]:
    yield from _measured(place, arguments, is_wanted)
    yield from Meadow(place.folder, place.environment).curves(is_wanted)
    yield from _bundled(place, arguments, is_wanted)


def _measured(place: Ground, arguments: argparse.Namespace, is_wanted: Callable[[str], bool]) -> Iterator[Measured]:
    for row in filter(lambda row: is_wanted(row.name), ROWS):
        costs = place.measure(row, arguments.rounds)
        yield Measured(row.name, costs, row.target, row.minus_start, frozenset(row.floors), row.seconds)
    for passes in filter(lambda row: is_wanted(row.name), mirror.MIRROR_ROWS):
        costs = mirror.measure(passes, place.folder, place.environment, min(arguments.rounds, 2))
        yield Measured(passes.name, costs, passes.target)
    for way in filter(lambda row: is_wanted(row.name), ssh.SSH_ROWS):
        start = {} if way.round_trip else {START: place.start}
        costs = ssh.measure(way, place.folder, place.environment, arguments.rounds, start)
        yield Measured(way.name, costs, way.target, not way.round_trip)


def _bundled(place: Ground, arguments: argparse.Namespace, is_wanted: Callable[[str], bool]) -> Iterator[Measured]:
    name = _bundle_name(arguments)
    if is_wanted(name):
        size = arguments.bundle_gib << 30
        yield Measured(name, bundle.measure(place.folder, size, place.environment, 1), 1.3)


def _show(found: Measured | Growth) -> None:
    print(found.name)
    if isinstance(found, Growth):
        for point in found.points:
            print(f"  {point.count:8} {point.cost.wall:7.3f} s  {point.cost.memory:6.0f} MiB", flush=True)
        return
    for name, cost in found.costs.items():
        if cost.failure:
            print(f"  {name:8} {cost.failure}")
        else:
            print(f"  {name:8} {cost.wall:7.3f} s  cpu {cost.cpu:7.3f} s  {cost.memory:6.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
