"""What accompanies the work: telling what happens, guesses of earlier runs, and restraint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest


class Knowledge(Protocol):
    """What earlier runs saw. Lossy and never trusted: a wrong answer costs a request, nothing more."""

    def repositories_with(self, registry: str, digest: Digest) -> Sequence[str]:
        """Where a blob was seen in a registry, the latest first."""
        ...

    def saw_blob(self, registry: str, repository: str, digest: Digest) -> None: ...

    def converted(self, digest: Digest, recipe: str) -> Descriptor | None:
        """What a blob became when it was last converted by ``recipe`` (such as ``gzip-1``)."""
        ...

    def learned_conversion(self, digest: Digest, recipe: str, result: Descriptor) -> None: ...


class RequestGate(Protocol):
    """Stands before one registry and says when it may be asked; for many threads."""

    def before(self, method: str, place: str) -> None:
        """Waits until the request may be sent.

        Args:
            place: the path, or the whole URL.

        Raises:
            ImgmoveError: it may not be sent at all any more.
        """
        ...

    def after(self, headers: Mapping[str, str]) -> None:
        """Hears the headers of every answer, by lower-case name."""
        ...


@dataclass(frozen=True, slots=True)
class PlanMade:
    """The plan is complete. ``bytes_to_send`` is a guess when ``is_exact`` is False."""

    blobs_to_send: int
    bytes_to_send: int
    bytes_present: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class BlobStarted:
    """A blob begins to move. ``size`` is None for a blob whose size shows at the end."""

    key: str
    label: str
    size: int | None


@dataclass(frozen=True, slots=True)
class BytesMoved:
    """``count`` more bytes of the blob came in; negative when some must come again."""

    key: str
    count: int


@dataclass(frozen=True, slots=True)
class BlobFinished:
    """A blob is at the destination. ``how`` tells whether it was sent, mounted or there already."""

    key: str
    label: str
    size: int
    how: Literal["sent", "mounted", "present"]


@dataclass(frozen=True, slots=True)
class Retrying:
    """Something failed and is tried again after ``delay`` seconds."""

    what: str
    reason: str
    delay: float


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a person should know, such as what a conversion changed."""

    text: str


Event = PlanMade | BlobStarted | BytesMoved | BlobFinished | Retrying | Note


class Observer(Protocol):
    """Hears of events, from any thread; must be quick and must not raise."""

    def on(self, event: Event, /) -> None: ...


class Silence:
    """An observer that doesn't listen."""

    def on(self, event: Event, /) -> None:
        """Does nothing."""
