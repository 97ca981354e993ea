"""Making bundles: planned to the last byte before the first one moves, then streamed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from imgmove.airgap.known import FarSide, read_far_side
from imgmove.airgap.lock import read_lock, write_lock
from imgmove.endpoints.bundle import BundleOptions, Shape, make_shape, needless, volume_path
from imgmove.engine.plan import Choice, Move, Plan, PlannedImage
from imgmove.engine.planner import make_plan
from imgmove.engine.transfer import transfer
from imgmove.errors import DigestMismatch, ImgmoveError, LocalError, UsageError
from imgmove.model.digest import Digest
from imgmove.model.location import Location, PipeLocation, parse_location
from imgmove.model.platform import Platform
from imgmove.ports import Destination, Source
from imgmove.stages.naming import Origin, find_origins
from imgmove.stages.session import Session
from imgmove.wire.signing import PublicKey, SigningKey


@dataclass(frozen=True)
class CreateOptions:
    """What a person can ask of a bundle.

    Attributes:
        have: files of inventories and receipts; blobs that they list are left out.
        since: older bundles, whose blobs are left out.
        request: a file of what the far side lacked; nothing else is carried then.
        lock: a file that pins tags to digests; made if missing.
        volume_size: bytes of a volume; 0 for one file.
        volume: the only volume to make; 0 for all.
        sign_key: signs the bundle.
        key: must have signed the inventories, receipts and requests.
        dry_run: stops before the first byte.
    """

    platforms: tuple[Platform, ...] = ()
    referrers: bool = True
    have: tuple[str, ...] = ()
    since: tuple[str, ...] = ()
    request: str = ""
    lock: str = ""
    volume_size: int = 0
    volume: int = 0
    sign_key: SigningKey | None = None
    key: PublicKey | None = None
    dry_run: bool = False


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


Announce = Callable[[Preflight], None]


def create(
    session: Session,
    images: Sequence[Location],
    output: str,
    options: CreateOptions,
    announce: Announce | None = None,
) -> Preflight:
    """Makes a bundle of images.

    Args:
        output: the file, to whose name volumes add their number; ``-`` for stdout.
        announce: told of the bundle once it is planned.

    Returns:
        What was made, or with ``dry_run`` would be.

    Raises:
        UsageError: the request contradicts itself.
        LocalError: there is not enough room; nothing was written.
        ImgmoveError: an image can't be had; a bundle has all of its images or does not appear.
    """
    _check(output, options)
    accepts = options.key.accepts if options.key is not None else None
    far_side = read_far_side(session, options.have, options.since, options.request, accepts)
    pins = read_lock(options.lock) if options.lock else {}
    origins = [origin for origin in _origins(session, images, far_side) if _is_wanted(session, origin, far_side)]
    bundle_options = BundleOptions(
        assumed=far_side,
        signer=options.sign_key.sign if options.sign_key is not None else None,
        created=session.settings.source_date,
        volume_size=options.volume_size,
        volume=options.volume,
    )
    destination = session.endpoints.new_bundle(output, bundle_options)
    moves = [move for origin in origins for move in _moves(origin, destination, pins)]
    plan = _planned(session, moves, options)
    shape = make_shape(plan.outline(), bundle_options)
    preflight = _preflight(session, plan, shape, output, options)
    if announce is not None:
        announce(preflight)
    _check_room(preflight)
    if not options.dry_run:
        _transfer(session, plan.sparing(needless(shape, options.volume)))
        if options.lock:
            write_lock(options.lock, pins | {image.name: image.digest for image in preflight.images if image.name})
    return preflight


def _check(output: str, options: CreateOptions) -> None:
    if options.volume and not options.volume_size:
        raise UsageError("--volume needs --volume-size, which says where volumes begin")
    if output == "-" and options.volume_size:
        raise UsageError("volumes are several files, which stdout can't be", hint="name the bundle with -o FILE")


def _origins(session: Session, images: Sequence[Location], far_side: FarSide) -> Iterator[Origin]:
    locations = list(images)
    if not locations and far_side.request is not None:
        locations = [parse_location(image.name) for image in far_side.request.images]
    if not locations:
        raise UsageError("no image is named", hint="imgmove bundle create -o FILE IMAGE...")
    for location in dict.fromkeys(locations):
        if isinstance(location, PipeLocation):
            raise UsageError("a bundle can't be made from a pipe", hint="write it to a file first")
        yield from find_origins(session.endpoints, session.endpoints.looked_up(location), every=False)


def _is_wanted(session: Session, origin: Origin, far_side: FarSide) -> bool:
    """Whether a request, if there is one, asks for this image; it must still be the same."""
    if far_side.request is None:
        return True
    name = name_of(origin)
    wanted = next((image for image in far_side.request.images if image.name == name), None)
    if wanted is None:
        return False
    assert isinstance(origin.source, Source)
    source = origin.source
    found = session.run.persist(f"resolving {origin.label}", lambda: source.resolve(origin.name))
    if found.digest != wanted.digest:
        raise DigestMismatch(
            f"{origin.label} is {found.digest} now, and the request asks for {wanted.digest}",
            hint=f"name {origin.label.partition('@')[0]}@{wanted.digest}, or make a new bundle",
        )
    return True


def name_of(origin: Origin) -> str:
    """An image's original name: with its tag, or where it has none, with the digest by which it was asked for."""
    if origin.own is None:
        return ""
    return str(origin.own.without_digest() if origin.own.tag else origin.own)


def _moves(origin: Origin, destination: Destination, pins: Mapping[str, Digest]) -> Iterator[Move]:
    assert isinstance(origin.source, Source)
    name = name_of(origin)
    resolved = str(pins.get(name, "")) or origin.name
    yield Move(origin.source, resolved, destination, (name,) if name else (), origin.label)


def _planned(session: Session, moves: Sequence[Move], options: CreateOptions) -> Plan:
    taken: dict[str, str] = {}
    for move in moves:
        for name in move.names:
            if taken.setdefault(name, move.label) != move.label:
                raise UsageError(f"{taken[name]} and {move.label} would both be {name} in the bundle")
    plan = make_plan(moves, Choice(options.platforms, options.referrers), session.pool)
    errors = [image for image in plan.images if image.error is not None]
    if errors:
        raise _first_of(errors)
    return plan


def _first_of(failed: Sequence[PlannedImage]) -> ImgmoveError:
    error = failed[0].error
    assert error is not None
    if failed[0].move.label not in error.message:
        error.message = f"{failed[0].move.label}: {error.message}"
    if len(failed) > 1:
        error.message += f" (and {len(failed) - 1} more images can't be had)"
    return error


def _preflight(session: Session, plan: Plan, shape: Shape, output: str, options: CreateOptions) -> Preflight:
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


def _check_room(preflight: Preflight) -> None:
    if preflight.room is not None and preflight.size > preflight.room:
        raise LocalError(
            f"{preflight.paths[0]}: the bundle needs {preflight.size} bytes and there is room for {preflight.room}",
            hint="nothing was written",
        )


def _transfer(session: Session, plan: Plan) -> None:
    outcomes = transfer(plan, session.pool)
    failed = [replace(outcome.image, error=outcome.error) for outcome in outcomes if outcome.error is not None]
    if failed:
        error = failed[0].error
        assert error is not None
        # All images of a bundle fail together, with one error.
        raise error
