"""What a pass came to: every tag with what became of it, the totals, and the exit status that they make."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from imgmove.errors import ConfigError, ImgmoveError, LocalError, SomeFailed
from imgmove.mirror.state import PastPass
from imgmove.mirror.work import Failure, Record

_VERSION = 1
_LARGEST = 512 << 20
_DONE = {"copy": "copied", "update": "updated", "keep": "kept", "prune": "pruned"}


@dataclass(slots=True)
class MirrorSummary:
    """One entry of the mirror file in a report.

    Attributes:
        tags: how many of them were chosen, in all of its repositories.
        notes: what a person should know, such as why nothing was pruned.
        failures: what went wrong that belongs to no single tag, such as a list that could not be read.
    """

    name: str
    source: str
    destination: str
    repositories: int = 0
    tags: int = 0
    notes: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "name": self.name,
            "source": self.source,
            "destination": self.destination,
            "repositories": self.repositories,
            "tags": self.tags,
            "notes": list(self.notes),
            "errors": [{"message": item.message, "exit_status": item.exit_status} for item in self.failures],
        }


@dataclass(slots=True)
class PassReport:
    """The result of one pass.

    Attributes:
        bytes_sent: each blob once.
        bytes_total: of all images that are mirrored, as far as their sizes are known.
        history: earlier passes, the oldest first, and this one.
    """

    config: str
    started: datetime
    is_dry_run: bool = False
    seconds: float = 0.0
    mirrors: list[MirrorSummary] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    bytes_sent: int = 0
    bytes_total: int = 0
    hook_failures: list[Failure] = field(default_factory=list)
    history: Sequence[PastPass] = ()

    @property
    def totals(self) -> dict[str, int]:
        """How many tags met which fate; those of a dry run as what would be."""
        found: Counter[str] = Counter()
        for record in self.records:
            is_well = record.status in {"done", "planned"}
            found[_DONE[record.action] if is_well else record.status] += 1
        return {name: found[name] for name in (*_DONE.values(), "failed", "postponed")}

    @property
    def changes(self) -> int:
        """How many names at destinations are others than before."""
        return sum(record.is_change for record in self.records)

    @property
    def failures(self) -> list[Failure]:
        """Everything that went wrong."""
        found = [record.failure for record in self.records if record.failure is not None]
        return [*found, *(item for mirror in self.mirrors for item in mirror.failures), *self.hook_failures]

    def raise_failures(self) -> None:
        """Raises what the command's exit status should be made of.

        Raises:
            SomeFailed: something failed, and all else was done.
            ImgmoveError: everything failed, with the status that all failures have in common.
        """
        failures = self.failures
        if not failures:
            return
        if any(record.failure is None for record in self.records):
            raise SomeFailed(_counted(failures))
        statuses = {failure.exit_status for failure in failures}
        raise _with_status(statuses.pop() if len(statuses) == 1 else 1, _counted(failures))

    def head_json(self) -> dict[str, object]:
        """The JSON form without the tags."""
        return {
            "version": _VERSION,
            "config": self.config,
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 3),
            "dry_run": self.is_dry_run,
            "totals": {**self.totals, "bytes_sent": self.bytes_sent, "bytes_total": self.bytes_total},
            "mirrors": [mirror.to_json() for mirror in self.mirrors],
            "hook_errors": [failure.message for failure in self.hook_failures],
        }

    def json_lines(self) -> Iterator[str]:
        """The whole as one JSON document, line by line, as it can be long."""
        head = json.dumps(self.head_json(), indent=2, ensure_ascii=False)
        yield head.removesuffix("\n}") + ","
        yield '  "tags": ['
        for number, record in enumerate(self.records, 1):
            yield f"    {json.dumps(record.to_json(), ensure_ascii=False)}{',' * (number < len(self.records))}"
        yield "  ]"
        yield "}"


@dataclass(frozen=True)
class Unfinished:
    """What an earlier pass left undone.

    Attributes:
        mirrors: those of which nobody knows all tags.
        sources: images, by mirror.
    """

    mirrors: frozenset[str]
    sources: Mapping[str, frozenset[str]]

    def concerns(self, mirror: str) -> bool:
        """Whether a mirror has anything to do."""
        return mirror in self.mirrors or mirror in self.sources

    def wants(self, mirror: str, source: str) -> bool:
        """Whether an image is to be looked at."""
        return mirror in self.mirrors or source in self.sources.get(mirror, ())


def read_unfinished(path: str) -> Unfinished:
    """Reads a JSON report for what failed or was put off.

    Raises:
        LocalError: it can't be read.
        ConfigError: it is no such report.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise LocalError(f"can't read the report {path}: {error.strerror}") from error
    sources: dict[str, set[str]] = {}
    try:
        document = json.loads(content)
        if document["version"] != _VERSION:
            raise ConfigError(f"{path} is a report of another version of imgmove")
        mirrors = {str(mirror["name"]) for mirror in document["mirrors"] if mirror["errors"]}
        for tag in document["tags"]:
            if tag["status"] in ("failed", "postponed"):
                sources.setdefault(str(tag["mirror"]), set()).add(str(tag["source"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConfigError(
            f"{path} is no report of imgmove mirror", hint="it is written with --report FILE.json"
        ) from None
    return Unfinished(frozenset(mirrors), {name: frozenset(found) for name, found in sources.items()})


def _counted(failures: Sequence[Failure]) -> str:
    if len(failures) == 1:
        return failures[0].message
    return f"{len(failures)} things failed"


def _with_status(status: int, message: str) -> ImgmoveError:
    """An error of some exit status, as the errors' own lines have been told already."""

    class Together(ImgmoveError):
        exit_status = status

    return Together(message)
