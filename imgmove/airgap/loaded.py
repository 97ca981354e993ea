"""What became of a bundle that was loaded: for people, for scripts, and for the receipt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imgmove.airgap.documents import HeldBlob, Holdings, Request, WantedImage
from imgmove.airgap.proof import Proof
from imgmove.endpoints.bundle import Bundle
from imgmove.errors import SomeFailed
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.stages.report import CopyReport, ImageReport, Totals


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """One image of a bundle and what became of it.

    Attributes:
        name: its original name.
        report: how it moved.
        proof: what was found at the destination; None for one that failed, or a place that gives nothing back.
        lacking: blobs that neither the bundle nor the destination has.
        repository: where it is in a registry; empty for other places.
    """

    name: str
    digest: Digest
    report: ImageReport
    proof: Proof | None = None
    lacking: tuple[Descriptor, ...] = ()
    repository: str = ""


@dataclass(frozen=True)
class LoadReport:
    """The result of a load.

    Attributes:
        faults: volumes that are missing or can't be used, a line each.
        is_signed: whether a key was given, and signed the bundle.
    """

    bundle: Bundle
    place: str
    images: Sequence[LoadedImage]
    faults: Sequence[str]
    totals: Totals
    is_signed: bool
    is_dry_run: bool = False

    def raise_failures(self) -> None:
        """Raises what the exit status should be made of.

        Raises:
            SomeFailed: some images failed, or could not be completed.
            ImgmoveError: all failed for another reason.
        """
        if any(image.lacking for image in self.images):
            count = sum(image.report.error is not None for image in self.images)
            raise SomeFailed(f"{count} of {len(self.images)} images could not be completed")
        CopyReport([image.report for image in self.images], self.totals).raise_failures()

    @property
    def request(self) -> Request | None:
        """What would complete the images that lack what no volume holds; None when none does."""
        wanted = []
        for image in self.images:
            nowhere = tuple(blob.digest for blob in image.lacking if not self.bundle.volumes_of(blob.digest))
            if nowhere:
                wanted.append(WantedImage(image.name, image.digest, nowhere))
        return Request(self.bundle.bundle_id, wanted) if wanted else None

    @property
    def holdings(self) -> Holdings:
        """What the destination confirmed to hold, for the receipt."""
        held: dict[Digest, tuple[int, dict[str, None]]] = {}
        proven = [image for image in self.images if image.proof is not None]
        for image in proven:
            assert image.proof is not None
            for blob in image.proof.blobs:
                places = held.setdefault(blob.digest, (blob.size, {}))[1]
                places.update({image.repository: None} if image.repository else {})
        blobs = [HeldBlob.of(digest, size, places) for digest, (size, places) in sorted(held.items())]
        names = [(image.report.destination, image.digest) for image in proven]
        return Holdings(self.place, names, blobs, self.bundle.bundle_id)

    def to_json(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "bundle": self.bundle.bundle_id,
            "place": self.place,
            "dry_run": self.is_dry_run,
            "signature_checked": self.is_signed,
            "volumes": list(self.faults),
            "images": [_image_json(image) for image in self.images],
            "totals": self.totals.to_json(),
        }


def _image_json(image: LoadedImage) -> Mapping[str, object]:
    value = {"name": image.name, **image.report.to_json()}
    if image.lacking:
        value["lacking"] = [str(blob.digest) for blob in image.lacking]
    if image.proof is not None:
        value["proof"] = {
            "manifests": len(image.proof.manifests),
            "blobs": len(image.proof.blobs),
            "bytes": image.proof.blob_bytes,
            "referrers": image.proof.referrers,
            "reread": image.proof.is_reread,
        }
    return value
