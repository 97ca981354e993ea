"""What was measured so far, kept in a file, so that a row can be measured again without all others."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.growth import Growth, Point
from bench.measure import Cost, Costs
from bench.report import Measured


class Results:
    """Rows and curves by name, in the order in which the page lists them.

    Args:
        path: of the file; None to keep nothing.
        names: all that the page is about.
    """

    def __init__(self, path: Path | None, names: list[str]) -> None:
        self._path = path
        self._names = names
        self._found: dict[str, Measured | Growth] = {}
        if path is not None and path.exists():
            self._found = {name: _read(document) for name, document in json.loads(path.read_text()).items()}

    @property
    def rows(self) -> list[Measured]:
        """The rows of the table."""
        return [found for found in map(self._found.get, self._names) if isinstance(found, Measured)]

    @property
    def curves(self) -> list[Growth]:
        """The curves."""
        return [found for found in map(self._found.get, self._names) if isinstance(found, Growth)]

    def add(self, found: Measured | Growth) -> None:
        """Keeps one more, in place of what was measured before."""
        self._found[found.name] = found
        if self._path is not None:
            self._path.write_text(json.dumps({name: asdict(each) for name, each in self._found.items()}, default=list))


def _read(document: dict[str, Any]) -> Measured | Growth:
    if "points" in document:
        return Growth(document["name"], [Point(each["count"], Cost(**each["cost"])) for each in document["points"]])
    costs = {
        program: Costs([Cost(**run) for run in each["runs"]], each["failure"])
        for program, each in document["costs"].items()
    }
    return Measured(document["name"], costs, document["target"], document["minus_start"], frozenset(document["floors"]))
