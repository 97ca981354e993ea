"""What a stage did, as values: the command line prints them, scripts read them as JSON, the API returns them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from imgmove.engine.pipe import Outflow, Piped
from imgmove.engine.plan import Fate, Plan, PlannedBlob
from imgmove.errors import ImgmoveError, SomeFailed
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest

Status = Literal["copied", "present", "planned", "failed"]


@dataclass(frozen=True, slots=True)
class ImageReport:
    """What became of one image on its way to one destination.

    Attributes:
        source: the image, as a location.
        destination: where it went, as a location without a digest.
        digest: of the image at the destination; None when it failed, or when a conversion has yet to tell.
        status: ``present`` when the destination had it already, ``planned`` after a dry run.
        error: why it failed.
        referrers: how many signatures, attestations and SBOMs came along.
        size: bytes of its blobs, as far as they were looked at: none of an image that was present.
        bytes_sent: bytes of those that had to be sent; blobs that images share count for each.
    """

    source: str
    destination: str
    digest: Digest | None
    status: Status
    error: ImgmoveError | None = None
    referrers: int = 0
    size: int = 0
    bytes_sent: int = 0

    @classmethod
    def of_piped(cls, piped: Piped, outflow: Outflow, source: str, destination: str) -> ImageReport:
        """What became of an image that came out of a pipe."""
        return cls(
            source,
            destination,
            piped.descriptor.digest,
            "copied",
            referrers=piped.referrers,
            size=_size_of(piped.blobs),
            bytes_sent=_size_of(blob for blob in piped.blobs if blob.digest in outflow.sent),
        )

    def __str__(self) -> str:
        if not self.digest:
            return self.destination
        is_engine = self.destination.startswith(("docker-daemon", "podman", "containerd"))
        name, mark, options = self.destination.partition("?") if is_engine else (self.destination, "", "")
        return f"{name}@{self.digest}{mark}{options}"

    def to_json(self) -> dict[str, object]:
        """The JSON form."""
        value: dict[str, object] = {
            "source": self.source,
            "destination": self.destination,
            "digest": str(self.digest) if self.digest else None,
            "status": self.status,
            "referrers": self.referrers,
        }
        if self.error is not None:
            value["error"] = {"message": str(self.error), "exit_status": self.error.exit_status}
        return value


@dataclass(frozen=True, slots=True)
class Totals:
    """What moved and what did not have to; sizes are bytes as the source has them, out of a pipe as they were sent."""

    blobs_sent: int = 0
    bytes_sent: int = 0
    blobs_mounted: int = 0
    blobs_present: int = 0
    bytes_present: int = 0
    is_exact: bool = True

    @classmethod
    def of(cls, plan: Plan) -> Totals:
        """What a plan comes to."""
        tally = Tally()
        tally.add(plan)
        return tally.totals()

    @classmethod
    def of_pipe(cls, outflow: Outflow) -> Totals:
        """What the blobs of a pipe came to."""
        sent, present = outflow.sent.values(), outflow.present.values()
        return cls(len(sent), _size_of(sent), blobs_present=len(present), bytes_present=_size_of(present))

    def to_json(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "blobs_sent": self.blobs_sent,
            "bytes_sent": self.bytes_sent,
            "blobs_mounted": self.blobs_mounted,
            "blobs_present": self.blobs_present,
            "bytes_present": self.bytes_present,
            "is_exact": self.is_exact,
        }


class Tally:
    """Counts over plans that follow one another; a blob that several of them have counts in the first.

    Args:
        keeps_blobs: whether `blobs` is wanted.

    Attributes:
        blobs: those that were counted.
    """

    def __init__(self, *, keeps_blobs: bool = False) -> None:
        self.blobs: list[PlannedBlob] = []
        self._keeps_blobs = keeps_blobs
        self._seen: set[tuple[int, Digest, str]] = set()
        self._counts: Counter[Fate] = Counter()
        self._bytes: Counter[Fate] = Counter()
        self._is_exact = True

    def add(self, plan: Plan) -> None:
        """Counts what is new in a plan."""
        self._is_exact = self._is_exact and plan.is_exact
        for blob in plan.blobs:
            if blob.key not in self._seen:
                self._seen.add(blob.key)
                self._counts[blob.fate] += 1
                self._bytes[blob.fate] += blob.descriptor.size
                self.blobs += [blob] if self._keeps_blobs else []

    def totals(self) -> Totals:
        """What it came to."""
        return Totals(
            blobs_sent=self._counts["send"],
            bytes_sent=self._bytes["send"],
            blobs_mounted=self._counts["mount"],
            blobs_present=self._counts["present"],
            bytes_present=self._bytes["present"] + self._bytes["mount"],
            is_exact=self._is_exact,
        )


@dataclass(frozen=True, slots=True)
class CopyReport:
    """The result of a command that moves images.

    Attributes:
        images: one for each image and destination, in the order asked for.
        totals: over all of them; for a dry run, what would be.
        plans: what the totals were counted from; none after moving from a pipe, which can't be planned, or so many
            images that their plans had to be forgotten one after another.
        blobs: what would become of each blob, after a dry run.
    """

    images: Sequence[ImageReport]
    totals: Totals
    is_dry_run: bool = False
    plans: Sequence[Plan] = ()
    blobs: Sequence[PlannedBlob] = ()

    def raise_failures(self) -> None:
        """Raises what the command's exit status should be made of.

        Raises:
            SomeFailed: some images failed, others did not.
            ImgmoveError: all failed: the only error, or one that stands for all of a common exit status.
        """
        failed = [image for image in self.images if image.error is not None]
        if not failed:
            return
        if len(failed) < len(self.images):
            raise SomeFailed(f"{len(failed)} of {len(self.images)} images failed")
        first = failed[0].error
        assert first is not None
        if len(failed) == 1:
            raise first
        statuses = {image.error.exit_status for image in failed if image.error is not None}
        message = f"all {len(failed)} images failed"
        raise _with_status(first, message) if len(statuses) == 1 else ImgmoveError(message)

    def to_json(self) -> dict[str, object]:
        """The JSON form."""
        value: dict[str, object] = {
            "dry_run": self.is_dry_run,
            "images": [image.to_json() for image in self.images],
            "totals": self.totals.to_json(),
        }
        if self.is_dry_run:
            value["blobs"] = [_blob_json(blob) for blob in self.blobs]
        return value


def _size_of(blobs: Iterable[Descriptor]) -> int:
    return sum(blob.size for blob in blobs)


def _blob_json(blob: PlannedBlob) -> dict[str, object]:
    value: dict[str, object] = {
        "digest": str(blob.descriptor.digest),
        "size": blob.descriptor.size,
        "media_type": blob.descriptor.media_type,
        "fate": blob.fate,
    }
    if blob.recipe:
        value["converted_to"] = blob.recipe.after
    if blob.mount_from:
        value["mount_from"] = blob.mount_from
    return value


def _with_status(error: ImgmoveError, message: str) -> ImgmoveError:
    """An error of the same exit status with another message, as the errors' own lines have been told already."""

    class Together(ImgmoveError):
        exit_status = error.exit_status

    return Together(message)
