"""Runs commands in turns and keeps what each cost: seconds on the clock, of the processors, and memory at its peak."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_ONE_RUN = Path(__file__).with_name("one_run.py")


class RunFailed(Exception):
    """A command that was to be measured failed; its last words are the message."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run took.

    Attributes:
        wall: seconds.
        cpu: seconds of the processors, user and system together.
        memory: MiB at the peak.
    """

    wall: float
    cpu: float
    memory: float


@dataclass
class Costs:
    """All runs of one program in one row."""

    runs: list[Cost] = field(default_factory=list)
    failure: str = ""

    @property
    def wall(self) -> float:
        """The median of the seconds."""
        return statistics.median(run.wall for run in self.runs)

    @property
    def cpu(self) -> float:
        """The median of the processors' seconds."""
        return statistics.median(run.cpu for run in self.runs)

    @property
    def memory(self) -> float:
        """The largest of the peaks, in MiB."""
        return max(run.memory for run in self.runs)


def run_once(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Cost:
    """Runs a command to its end.

    Raises:
        RunFailed: it did not end with 0.
    """
    log = folder / "output.txt"
    words = [sys.executable, "-I", "-S", str(_ONE_RUN), str(log), *command]
    done = subprocess.run(words, stdout=subprocess.PIPE, env=dict(environment), cwd=folder, check=True)
    status, wall, cpu, memory = json.loads(done.stdout)
    if status:
        lines = log.read_text(errors="replace").strip().splitlines()
        raise RunFailed(f"{command[0]} ended with {status}: {lines[-1] if lines else ''}"[:300])
    return Cost(wall, cpu, memory)


def in_turns(programs: Mapping[str, Callable[[], Cost]], rounds: int) -> dict[str, Costs]:
    """Runs every program once a round, so that a noisy minute is everybody's; the first round warms the caches.

    A program that fails is left out of later rounds, with its reason kept.
    """
    costs = {name: Costs() for name in programs}
    for number in range(rounds + 1):
        for name, program in programs.items():
            if costs[name].failure:
                continue
            try:
                cost = program()
            except RunFailed as error:
                costs[name].failure = str(error)
                continue
            if number:
                costs[name].runs.append(cost)
    return costs
