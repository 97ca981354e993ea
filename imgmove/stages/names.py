"""Giving and taking names: more tags for an image in its place, and removing tags or manifests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from imgmove.engine.graph import read_node, resolved, suggesting
from imgmove.errors import ImgmoveError, NotFound, UsageError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.location import LayoutLocation, Location, RegistryLocation
from imgmove.model.reference import Reference, check_tag
from imgmove.ports import Deleter, Destination, NameResolver, Source
from imgmove.stages.session import Session


def tag(session: Session, location: Location, names: Sequence[str]) -> list[str]:
    """Gives an image more names in its place; no blob moves.

    Args:
        names: tags, or full references to the same repository; in a layout any names.

    Returns:
        The new names as locations, with their digest.

    Raises:
        UsageError: a name is in another place.
        NotFound: there is no such image.
    """
    location = _writable(session, location)
    wanted = [_name(location, name) for name in names]
    place = session.endpoints.destination(location)
    source = session.endpoints.source(location)
    assert isinstance(source, Source)
    assert isinstance(place, Destination)
    try:
        root = session.run.persist(f"resolving {location}", partial(resolved, source, _resolvable(location)))
        node = session.run.persist(f"reading {root.digest.short}", partial(read_node, source, root))
        put = partial(place.put_manifest, node.content, node.media_type, wanted, algorithm=node.algorithm)
        session.run.persist(f"tagging {location}", put)
    except ImgmoveError as error:
        raise error.on("destination") from error.__cause__
    return [f"{_located(location, name)}@{root.digest}" for name in wanted]


def delete(session: Session, location: Location, *, by_digest: bool = False) -> str:
    """Removes a name, or with ``by_digest`` the manifest together with all its names.

    Returns:
        What was removed, as a location.

    Raises:
        UsageError: nothing can be deleted there, no image of a layout is named, or a digest was given without
            ``by_digest``.
        NotFound: there is no such image.
    """
    location = _writable(session, location)
    place = session.endpoints.destination(location)
    if not isinstance(place, Deleter) or not isinstance(place, Destination):
        raise UsageError(f"nothing can be deleted from {location}")
    named = _resolvable(location)
    if not named:
        raise UsageError(f"{location} names no image", hint=f"imgmove tags {location} lists those that it holds")
    is_digest = getattr(location, "digest", None) or (
        isinstance(location, RegistryLocation) and location.reference.digest
    )
    if is_digest and not by_digest:
        raise UsageError(f"{location} names a manifest, which may have other names", hint="add --digest to remove it")
    try:
        if by_digest:
            digest = session.run.persist(f"resolving {location}", partial(_find, place, location, named))
            session.run.persist(f"deleting {location}", partial(place.delete_manifest, digest.digest))
            return str(_with_digest(location, digest.digest))
        with suggesting(place, named):
            session.run.persist(f"deleting {location}", partial(place.delete_name, named))
    except ImgmoveError as error:
        raise error.on("destination") from error.__cause__
    return str(location)


def _find(place: Destination, location: Location, name: str) -> Descriptor:
    found = place.find(name) if isinstance(place, NameResolver) else None
    if found is None:
        raise NotFound(f"{location}: no such image")
    return found


def _writable(session: Session, location: Location) -> RegistryLocation | LayoutLocation:
    location = session.endpoints.looked_up(location)
    if isinstance(location, RegistryLocation | LayoutLocation):
        return location
    raise UsageError(f"names can be changed in registries and layouts only, not in {location}")


def _resolvable(location: Location) -> str:
    if isinstance(location, RegistryLocation):
        return location.reference.identifier
    assert isinstance(location, LayoutLocation)
    return str(location.digest) if location.digest else location.name


def _name(location: Location, name: str) -> str:
    if not isinstance(location, RegistryLocation):
        return name
    if "/" not in name and ":" not in name:
        check_tag(name)
        return name
    reference = Reference.parse(name)
    if reference.name != location.reference.name or reference.digest:
        raise UsageError(f"{name} is not a tag in {location.reference.name}", hint="copy the image there instead")
    return reference.tag


def _located(location: Location, name: str) -> str:
    if isinstance(location, RegistryLocation):
        return str(replace(location, reference=location.reference.with_tag(name)))
    assert isinstance(location, LayoutLocation)
    return str(replace(location, name=name, digest=None))


def _with_digest(location: RegistryLocation | LayoutLocation, digest: Digest) -> Location:
    if isinstance(location, RegistryLocation):
        return replace(location, reference=replace(location.reference, tag="", digest=digest))
    return replace(location, name="", digest=digest)
