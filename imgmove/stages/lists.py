"""What there is: the tags of a repository, the repositories of a registry, the names in a file."""

from __future__ import annotations

from collections.abc import Sequence

from imgmove.errors import ImgmoveError, UsageError
from imgmove.model.location import Location, PipeLocation, RegistryLocation, RegistryPrefix
from imgmove.model.location_grammar import parse_location
from imgmove.model.reference import check_host
from imgmove.ports import ImageLister, NamedImage, Note, TagLister
from imgmove.stages.session import Session


def tags(session: Session, location: Location) -> list[str]:
    """The tags of a repository, or the names of the images in a file, sorted.

    Raises:
        UsageError: the location names an image, not a place that holds several.
        NotFound: there is no such place.
    """
    if isinstance(location, RegistryLocation) and (location.has_tag or location.reference.digest):
        raise UsageError(f"{location} names an image", hint=f"the repository is {location.reference.name}")
    location = session.endpoints.looked_up(location)
    if isinstance(location, PipeLocation):
        location = session.endpoints.spooled(location)
    try:
        source = session.endpoints.source(location)
        if isinstance(source, TagLister):
            where = location.reference.name if isinstance(location, RegistryLocation) else location
            found = session.run.persist(f"listing {where}", lambda: list(source.tags()))
        elif isinstance(source, ImageLister):
            images = source.images()
            found = [name for image in images for name in image.names]
            _tell_nameless(session, location, [image for image in images if not image.names])
        else:
            raise UsageError(f"{location} has no list of names")
    except ImgmoveError as error:
        raise error.on("source") from error.__cause__
    return sorted(dict.fromkeys(found))


def _tell_nameless(session: Session, location: Location, images: Sequence[NamedImage]) -> None:
    if images:
        what = "1 image has no name" if len(images) == 1 else f"{len(images)} images have no name"
        note = f"{location}: {what}, and can be had by its digest, such as {images[0].descriptor.digest}"
        session.run.observer.on(Note(note))


def repos(session: Session, place: str) -> list[str]:
    """The repositories of a registry, sorted.

    Args:
        place: ``REGISTRY`` or ``REGISTRY/PREFIX``; only repositories at or below the prefix are listed.

    Raises:
        UsageError: not a registry.
        AccessDenied, ServerRefused: it does not list its repositories, as Docker Hub never does.
    """
    found = _registry(place)
    registries = session.endpoints.registries_behind(found.carrier)
    listing = f"listing {found.host}"
    try:
        return sorted(session.run.persist(listing, lambda: list(registries.repositories(found.host, found.path))))
    except ImgmoveError as error:
        raise error.on("source") from error.__cause__


def _registry(place: str) -> RegistryPrefix:
    if "/" not in place:
        return RegistryPrefix(check_host(place))
    location = parse_location(place if place.endswith("/") else f"{place}/")
    if not isinstance(location, RegistryPrefix):
        raise UsageError(f"{place} is not a registry", hint="write REGISTRY or REGISTRY/PREFIX")
    return location
