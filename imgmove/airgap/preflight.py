"""What is known of a bundle before its first byte: how large each image and the whole is, and whether there is room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imgmove.airgap.options import CreateBundleOptions
from imgmove.endpoints.bundle import Shape, volume_path
from imgmove.engine.plan import Plan, PlannedImage
from imgmove.errors import LocalError, UsageError
from imgmove.model.digest import Digest
from imgmove.stages.session import Session


@dataclass(frozen=True, slots=True)
class BundledImage:
    """One image of a bundle.

    Attributes:
        name: its original name; empty where it has none.
        size: bytes of everything that it is made of, referrers included.
        carried: bytes of that which the bundle holds.
    """

    name: str
    source: str
    digest: Digest
    size: int
    carried: int
    referrers: int

    def to_json(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "name": self.name,
            "source": self.source,
            "digest": str(self.digest),
            "size": self.size,
            "carried": self.carried,
            "referrers": self.referrers,
        }


@dataclass(frozen=True)
class Preflight:
    """What a bundle will be, known before its first byte.

    Attributes:
        size: bytes of its files together; of the only volume when one is wanted.
        blob_bytes: of the blobs in it, shared ones counted once.
        assumed_bytes: of blobs left out.
        room: bytes that its place can take; None where nobody knows.
        paths: the files.
    """

    bundle_id: str
    images: Sequence[BundledImage]
    size: int
    blobs: int
    blob_bytes: int
    assumed: int
    assumed_bytes: int
    room: int | None
    paths: Sequence[str]
    volumes: int
    is_dry_run: bool = False

    def to_json(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "dry_run": self.is_dry_run,
            "bundle": self.bundle_id,
            "files": list(self.paths),
            "volumes": self.volumes,
            "size": self.size,
            "blobs": self.blobs,
            "blob_bytes": self.blob_bytes,
            "assumed": self.assumed,
            "assumed_bytes": self.assumed_bytes,
            "free": self.room,
            "images": [image.to_json() for image in self.images],
        }


def foresee(session: Session, plan: Plan, shape: Shape, output: str, options: CreateBundleOptions) -> Preflight:
    """Works out what a bundle will be.

    Raises:
        UsageError: it has no such volume.
    """
    carried = {blob.digest for blob in (*shape.index.blobs, *shape.index.manifests)}
    volumes = shape.volumes
    chosen = [volume for volume in volumes if options.volume in {0, volume.number}]
    if volumes and not chosen:
        raise UsageError(f"there is no volume {options.volume}: the bundle has {len(volumes)}")
    paths = [volume_path(output, volume.number) for volume in chosen] if volumes else [output]
    return Preflight(
        bundle_id=shape.bundle_id,
        images=[_bundled(image, carried) for image in plan.images],
        size=sum(shape.volume_bytes(volume) for volume in chosen) if volumes else shape.size,
        blobs=len(shape.index.blobs),
        blob_bytes=sum(blob.size for blob in shape.index.blobs),
        assumed=len(shape.index.assumed),
        assumed_bytes=sum(item.descriptor.size for item in shape.index.assumed),
        room=None if output == "-" else session.endpoints.room_for(output),
        paths=paths,
        volumes=len(volumes),
        is_dry_run=options.dry_run,
    )


def _bundled(image: PlannedImage, carried: set[Digest]) -> BundledImage:
    assert image.root is not None
    parts = {node.descriptor.digest: node.descriptor.size for tree in image.trees() for node in tree.tree.nodes}
    parts |= {blob.descriptor.digest: blob.descriptor.size for blob in image.blobs()}
    return BundledImage(
        name=image.move.names[0] if image.move.names else "",
        source=image.move.label,
        digest=image.root.digest,
        size=sum(parts.values()),
        carried=sum(size for digest, size in parts.items() if digest in carried),
        referrers=len(image.referrers),
    )


def check_room(preflight: Preflight) -> None:
    """Makes sure that the bundle fits where it goes.

    Raises:
        LocalError: it does not.
    """
    if preflight.room is not None and preflight.size > preflight.room:
        raise LocalError(
            f"{preflight.paths[0]}: the bundle needs {preflight.size} bytes and there is room for {preflight.room}",
            hint="nothing was written",
        )
