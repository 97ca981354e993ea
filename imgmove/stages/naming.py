"""From what a person typed to what the engine moves: which images a source means, and what they are called where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from imgmove.endpoints.factory import Endpoints
from imgmove.engine.plan import Move
from imgmove.errors import ImgmoveError, NotFound, UsageError
from imgmove.model.digest import Digest
from imgmove.model.location import (
    ArchiveLocation,
    BundleLocation,
    EngineLocation,
    LayoutLocation,
    Location,
    RegistryLocation,
    RegistryPrefix,
    file_stem,
)
from imgmove.model.reference import DEFAULT_TAG, HUB, Reference
from imgmove.ports import Destination, ImageLister, NamedImage, PullingDestination, SequentialSource, Source, TagLister


@dataclass(frozen=True, slots=True)
class Origin:
    """One image at its source.

    Attributes:
        name: what the source is to resolve.
        own: the image's own name as a reference; None where it has none.
        listed: that name as it stands in a layout, which other layouts keep to the letter; empty elsewhere.
        label: the image as a location, for messages and reports.
    """

    source: Source | SequentialSource
    name: str
    own: Reference | None
    label: str
    listed: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """One image's place at a destination.

    Attributes:
        names: what it will be called there; none to be reached by its digest alone.
        label: the place as a location, without a digest.
        digest: the digest that the person demands; None for any.
    """

    destination: Destination | PullingDestination
    names: tuple[str, ...]
    label: str
    digest: Digest | None = None


def find_origins(endpoints: Endpoints, location: Location, *, every: bool) -> list[Origin]:
    """The images that a source location means.

    Args:
        every: all tags of a repository, or all images of a file; else the one that is named, or the only one.

    Raises:
        NotFound: there is none.
        UsageError: there are several and none is named.
    """
    try:
        return _found(endpoints, location, every=every)
    except ImgmoveError as error:
        raise error.on("source") from error.__cause__


def _found(endpoints: Endpoints, location: Location, *, every: bool) -> list[Origin]:
    if isinstance(location, RegistryLocation):
        return list(_from_registry(endpoints, location, every=every))
    source = endpoints.source(location)
    named = ""
    if isinstance(location, LayoutLocation | ArchiveLocation):
        named = str(location.digest) if location.digest else location.name
    if isinstance(location, EngineLocation) and location.engine == "containerd":
        name = location.name
        # A bare word may be a name without a tag, or an ID.
        full = name if ":" in name or "/" in name else endpoints.engines.containerd(location).record_name(name)
        return [Origin(source, name, own_reference(full, location), str(location))]
    if named and not every:
        return [_named(source, named, named, location, str(location))]
    if not isinstance(source, ImageLister):
        return [Origin(source, named, None, str(location))]
    images = source.images()
    if not every:
        images = [_only(images, location)]
    if not images:
        raise NotFound(f"{location} holds no image")
    return [origin for image in images for origin in _from_listing(source, image, location)]


def _from_registry(endpoints: Endpoints, location: RegistryLocation, *, every: bool) -> Iterator[Origin]:
    source = endpoints.source(location)
    reference = location.reference
    if not every:
        yield Origin(source, reference.identifier, reference, str(location))
        return
    assert isinstance(source, TagLister)
    for tag in source.tags():
        tagged = reference.with_tag(tag)
        yield Origin(source, tag, tagged, str(replace(location, reference=tagged)))


def _only(images: Sequence[NamedImage], location: Location) -> NamedImage:
    if len(images) == 1:
        return images[0]
    if not images:
        raise NotFound(f"{location} holds no image")
    names = ", ".join(image.names[0] if image.names else str(image.descriptor.digest) for image in images[:8])
    names += ", …" if len(images) > 8 else ""
    # A bundle's location, and that of what came out of a pipe, has no room for a name.
    is_nameable = not isinstance(location, BundleLocation) and not getattr(location, "shown", "")
    hint = f"name one of {names}; load -i takes all" if is_nameable else f"imgmove load takes all of {names}"
    raise UsageError(f"{location} holds {len(images)} images", hint=hint)


def _from_listing(source: Source, image: NamedImage, location: Location) -> Iterator[Origin]:
    digest = str(image.descriptor.digest)
    if not image.names:
        yield Origin(source, digest, None, str(_renamed(location, "", image.descriptor.digest)))
    for name in image.names:
        # A bundle's location has no room for a name, but names in bundles are full ones.
        label = name if isinstance(location, BundleLocation) else str(_renamed(location, name))
        yield _named(source, digest, name, location, label)


def _named(source: Source | SequentialSource, asked: str, name: str, location: Location, label: str) -> Origin:
    own = own_reference(name, location)
    listed = name if own is not None and isinstance(location, LayoutLocation) else ""
    return Origin(source, asked, own, label, listed)


def _renamed(location: Location, name: str, digest: Digest | None = None) -> Location:
    if isinstance(location, LayoutLocation | ArchiveLocation):
        return replace(location, name=name, digest=digest)
    return location


def own_reference(name: str, location: Location) -> Reference | None:
    """The reference that a name in a layout or archive stands for; a bare tag belongs to the file's own name."""
    if name.startswith(("sha256:", "sha384:", "sha512:")):
        return None
    try:
        if ":" in name or "/" in name:
            return Reference.parse(name)
        stem = file_stem(getattr(location, "path", ""))
        return Reference.parse(f"{stem or 'image'}:{name}")
    except UsageError:
        return None


class Targets:
    """Says what each image is called at one destination, and sees to it that no two get one name."""

    def __init__(self, endpoints: Endpoints, location: Location, additional_tags: Sequence[str] = ()) -> None:
        self._endpoints = endpoints
        self._location = location
        self._additional = tuple(additional_tags)
        self._taken: dict[tuple[int, str], Origin] = {}

    def target(self, origin: Origin, *, keeps_tag: bool = False) -> Target:
        """Where one image goes.

        Args:
            keeps_tag: the image's own tag is used in the destination's repository, as for all tags at once.

        Raises:
            UsageError: it needs a name of its own and has none, or another image has that name.
        """
        target = self._target(origin, keeps_tag=keeps_tag)
        for name in target.names:
            other = self._taken.setdefault((id(target.destination), name), origin)
            if (other.source, other.name) != (origin.source, origin.name):
                where = self._location
                is_bare = isinstance(where, RegistryLocation) and not (where.has_tag or where.reference.digest)
                hint = "end the destination in / so that images keep their names below it" if is_bare else ""
                raise UsageError(f"{other.label} and {origin.label} would both become {target.label}", hint=hint)
        return target

    def _target(self, origin: Origin, *, keeps_tag: bool) -> Target:
        location = self._location
        if isinstance(location, RegistryPrefix):
            return self._in_prefix(location, origin)
        if isinstance(location, RegistryLocation):
            return self._in_repository(location, origin, keeps_tag=keeps_tag)
        if isinstance(location, EngineLocation):
            return self._in_engine(location, origin)
        return self._in_file(location, origin)

    def _in_engine(self, location: EngineLocation, origin: Origin) -> Target:
        name = location.name or (_own_name_in_engine(origin.own) if origin.own else "")
        if not name:
            raise UsageError(f"{origin.label} has no name of its own", hint=f"write {location.engine}:NAME")
        reference = Reference.parse(name)
        plain = name.partition("@")[0]
        if ":" not in plain.rpartition("/")[2]:
            plain += f":{reference.tag or DEFAULT_TAG}"
        names = dict.fromkeys((plain, *(f"{plain.rpartition(':')[0]}:{tag}" for tag in self._additional)))
        label = str(replace(location, name=plain))
        return Target(self._endpoints.destination(location), tuple(names), label, reference.digest)

    def _in_prefix(self, prefix: RegistryPrefix, origin: Origin) -> Target:
        if origin.own is None:
            raise UsageError(f"{origin.label} has no name of its own", hint=f"name the destination below {prefix}")
        repository = prefix.join(origin.own.repository)
        return self._in_repository(repository, origin, keeps_tag=True)

    def _in_repository(self, location: RegistryLocation, origin: Origin, *, keeps_tag: bool) -> Target:
        reference = location.reference
        tag = origin.own.tag if keeps_tag and origin.own else reference.tag
        names = tuple(dict.fromkeys(item for item in (tag, *self._additional) if item))
        placed = reference.with_tag(tag) if tag else reference
        label = str(RegistryLocation(placed.without_digest(), location.carrier))
        return Target(self._endpoints.destination(location), names, label, reference.digest)

    def _in_file(self, location: Location, origin: Origin) -> Target:
        name = getattr(location, "name", "")
        if not name and origin.own is not None:
            is_kept = origin.listed and isinstance(location, LayoutLocation)
            name = origin.listed if is_kept else _name_in_file(origin.own, location)
        names = tuple(dict.fromkeys(item for item in (name, *self._more_names(name)) if item))
        label = str(_renamed(location, name))
        return Target(self._endpoints.destination(location), names, label, getattr(location, "digest", None))

    def _more_names(self, name: str) -> Iterator[str]:
        for tag in self._additional:
            head, colon, tail = name.rpartition(":")
            yield f"{head}:{tag}" if colon and "/" not in tail else f"{name}:{tag}" if "/" in name else tag


def _own_name_in_engine(own: Reference) -> str:
    """The repository's path without its host, as docker shows names."""
    repository = own.repository.removeprefix("library/") if own.host == HUB else own.repository
    return f"{repository}:{own.tag}" if own.tag else ""


def _name_in_file(own: Reference, location: Location) -> str:
    """A layout keeps ``REPO:TAG``, an archive the full name, because engines load that."""
    if not own.tag:
        return ""
    is_layout = isinstance(location, LayoutLocation)
    return f"{own.repository}:{own.tag}" if is_layout else str(own.without_digest())


def move_of(origin: Origin, target: Target) -> Move:
    """What the engine is asked."""
    assert isinstance(origin.source, Source)
    return Move(origin.source, origin.name, target.destination, target.names, origin.label)
