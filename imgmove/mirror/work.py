"""The values that a pass hands out and gets back: what is to be looked at, and what became of each tag.

They go over the network to workers on other machines, so they hold nothing but plain values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from imgmove.errors import ImgmoveError, QuotaReached
from imgmove.mirror.naming import PreviousName
from imgmove.model.location import LayoutLocation, RegistryLocation
from imgmove.model.platform import Platform

Action = Literal["copy", "update", "keep", "prune"]
Status = Literal["done", "planned", "failed", "postponed"]


@dataclass(frozen=True, slots=True)
class Item:
    """One image to look at.

    Attributes:
        image: what the source is asked for: a tag or a digest.
        name: what it is called at the destination; empty to be reached by its digest alone.
    """

    image: str
    name: str


@dataclass(frozen=True, slots=True)
class Work:
    """Some images of one repository, to be brought to one place.

    Attributes:
        source: the repository.
        destination: a repository or a layout.
        known: what was written for digests of the source, as far as anybody remembers.
        known_referrers: digests of signatures and the like that the destination has, as far as anybody remembers.
        recheck: look at everything, even where the names say that all is done.
        dry_run: change nothing.
    """

    mirror: str
    source: RegistryLocation
    destination: RegistryLocation | LayoutLocation
    items: tuple[Item, ...]
    platforms: tuple[Platform, ...] = ()
    referrers: bool = True
    keep_previous: PreviousName | None = None
    known: Mapping[str, str] = field(default_factory=dict)
    known_referrers: frozenset[str] = frozenset()
    recheck: bool = False
    dry_run: bool = False

    def source_of(self, item: Item) -> str:
        """The image as a location."""
        at = "@" if ":" in item.image else ":"
        return f"{self.source}{at}{item.image}"

    def destination_of(self, item: Item) -> str:
        """The place as a location, without a digest."""
        return placed(self.destination, item.name)


def placed(destination: RegistryLocation | LayoutLocation, name: str) -> str:
    """A name at a destination, as a location."""
    if isinstance(destination, LayoutLocation):
        return str(LayoutLocation(destination.path, name, None, destination.carrier))
    reference = destination.reference.without_digest()
    return str(RegistryLocation(reference.with_tag(name) if name else reference, destination.carrier))


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something could not be done."""

    message: str
    exit_status: int = 1

    @classmethod
    def of(cls, error: ImgmoveError) -> Failure:
        """What is left of an error when it is only to be told."""
        return cls(str(error), error.exit_status)


@dataclass(slots=True)
class Record:
    """What became of one tag.

    Attributes:
        action: what had to be done.
        reason: why, in a few words.
        digest: of the image at the destination afterwards.
        previous: the digest that the destination's name had before, if another.
        kept_as: the name under which the previous image was kept.
        size: bytes of the image's blobs; 0 where nobody looked.
        bytes_sent: of these, bytes that the destination lacked.
        referrers: how many signatures and the like came along.
        seconds: until it was done, together with those that moved beside it.
    """

    mirror: str
    source: str
    destination: str
    action: Action
    status: Status = "done"
    reason: str = ""
    digest: str = ""
    previous: str = ""
    kept_as: str = ""
    size: int = 0
    bytes_sent: int = 0
    referrers: int = 0
    seconds: float = 0.0
    failure: Failure | None = None

    @property
    def is_change(self) -> bool:
        """Whether the destination is another than before."""
        return self.status == "done" and self.action != "keep"

    def fail(self, error: ImgmoveError) -> None:
        """Notes that it could not be done, or not yet."""
        self.status = "postponed" if isinstance(error, QuotaReached) else "failed"
        self.failure = Failure.of(error)

    def to_json(self) -> dict[str, object]:
        """The JSON form, without what is not known."""
        value: dict[str, object] = {
            "mirror": self.mirror,
            "source": self.source,
            "destination": self.destination,
            "action": self.action,
            "status": self.status,
            "reason": self.reason,
            "seconds": round(self.seconds, 3),
        }
        for name in ("digest", "previous", "kept_as", "size", "bytes_sent", "referrers"):
            if content := getattr(self, name):
                value[name] = content
        if self.failure is not None:
            value["error"] = {"message": self.failure.message, "exit_status": self.failure.exit_status}
        return value


@dataclass(frozen=True, slots=True)
class Learned:
    """What the next pass will be glad to know: what a digest of the source became, and its size if known."""

    source_digest: str
    written: str
    size: int = 0


@dataclass(slots=True)
class Result:
    """What came of some work.

    Attributes:
        referrers: digests of signatures and the like that the destination has.
        bytes_sent: of all images together, each blob once.
    """

    work: Work
    records: list[Record] = field(default_factory=list)
    learned: list[Learned] = field(default_factory=list)
    referrers: list[str] = field(default_factory=list)
    bytes_sent: int = 0

    @classmethod
    def all_failed(cls, work: Work, error: ImgmoveError) -> Result:
        """Nothing could be done."""
        result = cls(work)
        for item in work.items:
            record = Record(work.mirror, work.source_of(item), work.destination_of(item), "copy")
            record.fail(error)
            result.records.append(record)
        return result


def interleaved(works: Sequence[Work]) -> list[Work]:
    """Takes turns among the destinations, so that those who wait for one of them have others to go on with."""
    turns: dict[str, int] = {}
    keyed: list[tuple[int, Work]] = []
    for work in works:
        place = str(work.destination)
        keyed.append((turns.get(place, 0), work))
        turns[place] = turns.get(place, 0) + 1
    return [work for _, work in sorted(keyed, key=lambda pair: pair[0])]
