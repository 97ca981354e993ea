"""The stage that moves images: any source to any destination, planned first unless the source is a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from imgmove.engine.pipe import move_pipe
from imgmove.engine.piped_blobs import Piping, from_source
from imgmove.errors import DigestMismatch, UsageError
from imgmove.model.location import EngineLocation, Location, PipeLocation, RegistryLocation, RegistryPrefix
from imgmove.ports import (
    Destination,
    Knowledge,
    NamedImage,
    Note,
    SequentialSource,
    Source,
)
from imgmove.stages.move import made_up, move
from imgmove.stages.naming import Origin, Target, Targets, find_origins, own_reference
from imgmove.stages.options import CopyOptions
from imgmove.stages.report import CopyReport, ImageReport, Totals
from imgmove.stages.saved import bases_of_saved
from imgmove.stages.session import Session

_REGISTRIES = (RegistryLocation, RegistryPrefix)


def copy(
    session: Session,
    sources: Sequence[Location],
    destinations: Sequence[Location],
    options: CopyOptions | None = None,
    *,
    every: bool = False,
) -> CopyReport:
    """Moves images from every source to every destination.

    Args:
        every: all images of each source that is a file; `CopyOptions.all_tags` does the same for repositories.

    Returns:
        What became of each; an image that failed does not keep the others from moving.

    Raises:
        UsageError: the request can't be meant; nothing has moved.
        ImgmoveError: nothing could be begun.
    """
    options = options or CopyOptions()
    _check(sources, destinations, options)
    sources = [session.endpoints.looked_up(location) for location in sources]
    destinations = [session.endpoints.shaped(location) for location in destinations]
    if any(isinstance(source, PipeLocation) for source in sources):
        return _copy_pipe(session, sources, destinations, options, every=every)
    _tell_of_detours(session, sources, destinations)
    notes = from_source(lambda: _new_digests(session, sources))
    if notes and options.compression == "keep" and all(isinstance(item, _REGISTRIES) for item in destinations):
        options = replace(options, compression="gzip")
    report = _copied(session, sources, destinations, options, every=every)
    for note in notes:
        session.run.observer.on(note)
    return report


def _tell_of_detours(session: Session, sources: Sequence[Location], destinations: Sequence[Location]) -> None:
    """Says so where content that lies on one far host goes to another by way of this machine."""
    there = [
        next((str(carrier) for item in places if (carrier := getattr(item, "carrier", None))), "")
        for places in (sources, destinations)
    ]
    if all(there):
        session.run.observer.on(Note(f"from {there[0]} to {there[1]}, all content comes through this machine"))


def _copied(
    session: Session,
    sources: Sequence[Location],
    destinations: Sequence[Location],
    options: CopyOptions,
    *,
    every: bool,
) -> CopyReport:
    knowledge: Knowledge = session.knowledge
    if _is_saved(sources[0]) and _can_be_piped(sources, destinations, options):
        assert isinstance(sources[0], EngineLocation)
        bases = bases_of_saved(session, sources[0], destinations[0], options)
        if bases is None:
            return _copy_pipe(session, sources, destinations, options, every=every)
        # What the repository has can only be left out when the whole is known.
        knowledge = bases
    origins, for_engines = _origins(session, sources, destinations, every=every or options.all_tags)
    pairs = [
        (origin, target.target(origin, keeps_tag=options.all_tags))
        for location in destinations
        for target in [Targets(session.endpoints, location, options.more_tags)]
        for origin in (for_engines if isinstance(location, EngineLocation) else origins)
    ]
    return move(session, pairs, options, knowledge=knowledge)


def _origins(
    session: Session, sources: Sequence[Location], destinations: Sequence[Location], *, every: bool
) -> tuple[Sequence[Origin], Sequence[Origin]]:
    """The images; for engines, if they are many, from sources that are read once where they are not here."""
    has_many_engines = sum(isinstance(location, EngineLocation) for location in destinations) > 1
    origins: list[Origin] = []
    for_engines: list[Origin] = []
    for location in sources:
        found = find_origins(session.endpoints, location, every=every)
        origins += found
        is_away = isinstance(location, RegistryLocation) or getattr(location, "carrier", None) is not None
        for_engines += [_kept(session, origin) for origin in found] if has_many_engines and is_away else found
    return origins, for_engines


def _kept(session: Session, origin: Origin) -> Origin:
    assert isinstance(origin.source, Source)
    return replace(origin, source=session.endpoints.kept(origin.source))


def _check(sources: Sequence[Location], destinations: Sequence[Location], options: CopyOptions) -> None:
    if not sources or not destinations:
        raise UsageError("a copy needs a source and a destination")
    if sum(isinstance(item, PipeLocation) for item in sources) and len(sources) > 1:
        raise UsageError("stdin can't be one of several sources")
    if sum(isinstance(item, PipeLocation) for item in destinations) > 1:
        raise UsageError("stdout can be only one destination")
    if len(options.choice.platforms) > 1 and any(isinstance(item, EngineLocation) for item in destinations):
        raise UsageError("an engine takes one platform of an image, not several")
    if not options.all_tags:
        return
    for location in (*sources, *destinations):
        if isinstance(location, RegistryLocation) and (location.has_tag or location.reference.digest):
            raise UsageError(f"--all-tags takes repositories without a tag, not {location}")


def _is_saved(source: Location) -> bool:
    """Whether it is an engine that hands out archives, rather than each blob by itself."""
    return isinstance(source, EngineLocation) and source.engine != "containerd"


def _can_be_piped(sources: Sequence[Location], destinations: Sequence[Location], options: CopyOptions) -> bool:
    """Whether what an engine saves may go straight on, in the one pass that a pipe allows."""
    if len(sources) > 1 or len(destinations) > 1 or options.platforms or options.dry_run:
        return False
    return not isinstance(destinations[0], RegistryPrefix | EngineLocation | PipeLocation)


def _new_digests(session: Session, sources: Sequence[Location]) -> list[Note]:
    """What to tell of engines that keep no manifests, and so no digests."""
    return [
        Note(f"{source}: its engine keeps no manifests, so the image gets a new one with a digest of its own")
        for source in sources
        if isinstance(source, EngineLocation) and not session.endpoints.engines.keeps_manifests(source)
    ]


# --- from a pipe


def _copy_pipe(
    session: Session,
    sources: Sequence[Location],
    destinations: Sequence[Location],
    options: CopyOptions,
    *,
    every: bool,
) -> CopyReport:
    if any(isinstance(location, RegistryPrefix | EngineLocation) for location in destinations):
        # The repositories show only when all has come, but each blob needs one when it comes; and an engine takes what
        # it lacks, which only the whole can tell.
        return _copied(session, [session.endpoints.spooled(sources[0])], destinations, options, every=every)
    if len(destinations) > 1 or options.platforms or options.dry_run:
        what = "several destinations" if len(destinations) > 1 else "--platform" if options.platforms else "--dry-run"
        raise UsageError(f"{what} can't be used with a pipe, which is read only once", hint="write it to a file first")
    location = destinations[0]
    source = from_source(lambda: session.endpoints.pipe(sources[0]))
    targets = Targets(session.endpoints, location, options.more_tags)
    names = _PipeNames(sources[0], targets, source, every=every)
    destination = session.endpoints.destination(location)
    assert isinstance(destination, Destination)
    piping = Piping(
        destination=destination,
        names=names,
        run=session.run,
        conversions=options.conversions(session.codec, made_up(destination)),
        knowledge=session.knowledge,
        referrers=options.referrers,
    )
    outflow = move_pipe(source, piping)
    labels = [names.targets[piped.image.descriptor.digest].label for piped in outflow.images]
    images = [
        ImageReport.of_piped(piped, outflow, str(sources[0]), label)
        for piped, label in zip(outflow.images, labels, strict=True)
    ]
    return CopyReport(images, Totals.of_pipe(outflow))


class _PipeNames:
    """Names a pipe's images when they are known at last, before any name is put."""

    def __init__(self, location: Location, targets: Targets, source: SequentialSource, *, every: bool) -> None:
        self._location = location
        self._targets = targets
        self._source = source
        self._every = every
        self.targets: dict[object, Target] = {}

    def __call__(self, image: NamedImage) -> Sequence[str]:
        self._check_count()
        label = image.names[0] if image.names else "-"
        names: dict[str, None] = {}
        for name in image.names or ("",):
            own = own_reference(name, self._location) if name else None
            origin = Origin(self._source, str(image.descriptor.digest), own, label)
            target = self._targets.target(origin)
            if target.digest is not None and target.digest != image.descriptor.digest:
                raise DigestMismatch(f"the pipe holds {image.descriptor.digest}, not {target.digest}")
            self.targets.setdefault(image.descriptor.digest, target)
            names.update(dict.fromkeys(target.names))
        return tuple(names)

    def _check_count(self) -> None:
        images = self._source.images()
        if len(images) > 1 and not self._every:
            names = ", ".join(item.names[0] if item.names else str(item.descriptor.digest) for item in images[:8])
            raise UsageError(f"the pipe holds {len(images)} images", hint=f"imgmove load takes all of {names}")
