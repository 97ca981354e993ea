"""Mirror passes in which nothing changed: many tags, beside regsync and skopeo when they are on the PATH."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.many_tags import fill
from bench.measure import Cost, Costs, in_turns, run_once
from bench.servers import registry, slow_link


@dataclass(frozen=True, slots=True)
class MirrorRow:
    """So many tags in so many repositories, all of them at the destination already.

    Attributes:
        round_trip: milliseconds, on the way to either registry.
        target: how many times the quickest peer's time imgmove may take.
    """

    name: str
    repositories: int
    tags: int
    round_trip: float
    target: float


MIRROR_ROWS: Sequence[MirrorRow] = (
    MirrorRow("mirror pass, 60 unchanged tags", 1, 60, 0, 3),
    MirrorRow("mirror pass, 1,000 unchanged tags, 40 ms round trip", 1, 1000, 40, 0.1),
    MirrorRow("mirror pass, 5,000 unchanged tags in 50 repositories", 50, 100, 0, 1),
)


def measure(row: MirrorRow, folder: Path, environment: Mapping[str, str], rounds: int) -> dict[str, Costs]:
    """Costs of one pass of each program; imgmove's both without and with what earlier passes learned."""
    for side in ("mirror-source", "mirror-destination"):
        fill(folder / side / "data", row.repositories, row.tags)
    programs: dict[str, Callable[[], Cost]] = {
        "first": partial(_pass, row, folder, environment, "imgmove", is_known=False),
        "imgmove": partial(_pass, row, folder, environment, "imgmove", is_known=True),
    }
    # At a distance skopeo takes minutes, as it asks about one tag after another.
    for peer in ("regsync",) if row.round_trip else ("regsync", "skopeo"):
        if shutil.which(peer, path=environment["PATH"]) is not None:
            programs[peer] = partial(_pass, row, folder, environment, peer, is_known=True)
    costs = in_turns(programs, rounds)
    for side in ("mirror-source", "mirror-destination"):
        shutil.rmtree(folder / side)
    return costs


def _pass(row: MirrorRow, folder: Path, environment: Mapping[str, str], program: str, *, is_known: bool) -> Cost:
    if not is_known:
        shutil.rmtree(Path(environment["XDG_CACHE_HOME"]) / "imgmove", ignore_errors=True)
    with contextlib.ExitStack() as stack:
        source, destination = (
            stack.enter_context(registry(folder / side)) for side in ("mirror-source", "mirror-destination")
        )
        if row.round_trip:
            source, destination = (
                stack.enter_context(slow_link(host, row.round_trip)) for host in (source, destination)
            )
        return run_once(_command(row, folder, program, source, destination), environment, folder)


def _command(row: MirrorRow, folder: Path, program: str, source: str, destination: str) -> list[str]:
    names = [f"bench/app{number}" for number in range(row.repositories)]
    config = folder / f"{program}.yaml"
    # JSON is YAML.
    if program == "imgmove":
        mirrors = [{"source": f"{source}/{name}", "destination": f"{destination}/{name}"} for name in names]
        config.write_text(json.dumps({"version": 1, "mirrors": mirrors}))
        return ["imgmove", "mirror", "-q", str(config)]
    if program == "regsync":
        syncs = [
            {"source": f"{source}/{name}", "target": f"{destination}/{name}", "type": "repository"} for name in names
        ]
        hosts = [{"registry": host, "tls": "disabled"} for host in (source, destination)]
        config.write_text(json.dumps({"version": 1, "creds": hosts, "sync": syncs}))
        return ["regsync", "once", "-c", str(config)]
    config.write_text(json.dumps({source: {"tls-verify": False, "images": {name: [] for name in names}}}))
    return [
        *("skopeo", "--insecure-policy", "sync", "--keep-going", "--src", "yaml", "--dest", "docker"),
        *("--dest-tls-verify=false", str(config), f"{destination}/bench"),
    ]
