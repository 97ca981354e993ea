"""Making bundles: planned to the last byte before the first one moves, then streamed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from imgmove.airgap.documents import WantedImage
from imgmove.airgap.known import FarSide, read_far_side
from imgmove.airgap.lock import read_lock, write_lock
from imgmove.airgap.options import CreateBundleOptions
from imgmove.airgap.preflight import Preflight, check_room, foresee
from imgmove.endpoints.bundle import make_shape, needless
from imgmove.engine.plan import Choice, Move, Plan, PlannedImage
from imgmove.engine.planner import make_plan
from imgmove.engine.transfer import transfer
from imgmove.errors import DigestMismatch, ImgmoveError, UsageError
from imgmove.model.digest import Digest
from imgmove.model.location import Location, PipeLocation, RegistryLocation
from imgmove.model.location_grammar import parse_location
from imgmove.model.platform import as_platforms
from imgmove.ports import Destination, Source
from imgmove.stages.naming import Origin, find_origins
from imgmove.stages.session import Session

Announce = Callable[[Preflight], None]
"""Hears of a bundle once it is planned."""


def create(
    session: Session,
    images: Sequence[Location],
    output: str,
    options: CreateBundleOptions,
    announce: Announce | None = None,
) -> Preflight:
    """Makes a bundle of images.

    Args:
        output: the file, to whose name volumes add their number; ``-`` for stdout.
        announce: what it raises ends all before the first byte.

    Returns:
        What was made, or with ``dry_run`` would be.

    Raises:
        UsageError: the request contradicts itself.
        LocalError: there is not enough room; nothing was written.
        ImgmoveError: an image can't be had; a bundle has all of its images or does not appear.
    """
    accepts = options.key.accepts if options.key is not None else None
    far_side = read_far_side(session, options.have, options.since, options.request, accepts)
    pins = read_lock(options.lock) if options.lock else {}
    origins = [origin for origin in _origins(session, images, far_side) if _is_wanted(session, origin, far_side)]
    form = options.form(far_side, session.settings.source_date)
    destination = session.endpoints.new_bundle(output, form)
    moves = [move for origin in origins for move in _moves(origin, destination, pins)]
    plan = _planned(session, moves, options)
    shape = make_shape(plan.outline(), form)
    preflight = foresee(session, plan, shape, output, options)
    if announce is not None:
        announce(preflight)
    check_room(preflight)
    if not options.dry_run:
        _transfer(session, plan.sparing(needless(shape, options.volume)))
        if options.lock:
            write_lock(options.lock, pins | {image.name: image.digest for image in preflight.images if image.name})
    return preflight


def _origins(session: Session, images: Sequence[Location], far_side: FarSide) -> Iterator[Origin]:
    locations = list(images)
    if not locations and far_side.request is not None:
        locations = [_requested(image) for image in far_side.request.images]
    if not locations:
        raise UsageError("no image is named", hint="imgmove bundle create -o FILE IMAGE...")
    for location in dict.fromkeys(locations):
        if isinstance(location, PipeLocation):
            raise UsageError("a bundle can't be made from a pipe", hint="write it to a file first")
        yield from find_origins(session.endpoints, session.endpoints.looked_up(location), every=False)


def _requested(image: WantedImage) -> Location:
    """Where an image that is asked for comes from: a paper from elsewhere may name registries, never files of ours."""
    found = parse_location(image.name)
    if not isinstance(found, RegistryLocation) or found.carrier is not None:
        raise UsageError(f"the request asks for {image.name!r:.120}, which is in no registry", hint="name the images")
    return found


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


def _planned(session: Session, moves: Sequence[Move], options: CreateBundleOptions) -> Plan:
    taken: dict[str, str] = {}
    for move in moves:
        for name in move.names:
            if taken.setdefault(name, move.label) != move.label:
                raise UsageError(f"{taken[name]} and {move.label} would both be {name} in the bundle")
    plan = make_plan(moves, Choice(as_platforms(options.platforms), options.referrers), session.pool)
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


def _transfer(session: Session, plan: Plan) -> None:
    outcomes = transfer(plan, session.pool)
    failed = [replace(outcome.image, error=outcome.error) for outcome in outcomes if outcome.error is not None]
    if failed:
        error = failed[0].error
        assert error is not None
        # All images of a bundle fail together, with one error.
        raise error
