"""Reading the lists of all sources, and deciding from them what each mirror wants where."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from imgmove.engine.pool import TaskGroup
from imgmove.errors import ImgmoveError, MalformedContent, NotFound, UsageError
from imgmove.mirror.config import Mirror, Pattern, names_image
from imgmove.mirror.naming import renamed
from imgmove.mirror.work import Item, placed
from imgmove.model.location import LayoutLocation, RegistryLocation, RegistryPrefix
from imgmove.model.reference import Reference, check_tag
from imgmove.ports import Destination, TagLister
from imgmove.stages.session import Session

_MOST_TAGS = 200_000
"""Of one repository, as many as fit into the memory that a pass may take."""


@dataclass
class Listing:
    """What is known of one repository of one mirror.

    Attributes:
        source: the repository.
        destination: where its images go; for an error before that is known, the mirror's own.
        items: the images that were chosen.
        verdicts: why each other tag was not, by its name at the destination, where tags may be pruned.
        misnamed: tags whose new names are none, with the reason.
        absent: tags that the file names, and that are not there.
        error: why the list could not be read.
    """

    mirror: Mirror
    source: RegistryLocation | None = None
    destination: RegistryLocation | LayoutLocation | None = None
    items: list[Item] = field(default_factory=list)
    verdicts: Mapping[str, str] = field(default_factory=dict)
    misnamed: list[tuple[str, ImgmoveError]] = field(default_factory=list)
    absent: Sequence[str] = ()
    error: ImgmoveError | None = None


class Survey:
    """Reads all lists side by side."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._group = TaskGroup(session.pool)
        self._opening = threading.Lock()
        self._crashes: list[BaseException] = []

    def read(self, mirrors: Sequence[Mirror]) -> list[Listing]:
        """The listings, in the order of the mirrors.

        A mirror whose source can't be listed has one with the error.

        Raises:
            Interrupted: the run was cancelled.
        """
        found: list[list[Listing]] = [[] for _ in mirrors]
        for mirror, into in zip(mirrors, found, strict=True):
            self._begin(mirror, into)
        self._group.wait()
        if self._crashes:
            raise self._crashes[0]
        listings = [item for into in found for item in sorted(into, key=_order)]
        _refuse_clashes(listings)
        return listings

    def _begin(self, mirror: Mirror, into: list[Listing]) -> None:
        if isinstance(mirror.source, Pattern):
            listing = Listing(mirror)
            self._spawn(listing, into, partial(self._expand, mirror, mirror.source, into))
        elif names_image(mirror.source):
            listing = Listing(mirror)
            self._spawn(listing, into, partial(self._take_image, listing, mirror.source, into))
        else:
            self._add(mirror, mirror.source, into)

    def _add(self, mirror: Mirror, source: RegistryLocation, into: list[Listing]) -> None:
        repository = replace(source, reference=replace(source.reference, tag="", digest=None), has_tag=False)
        listing = Listing(mirror, repository)
        into.append(listing)
        self._spawn(listing, into, partial(self._list, listing, repository))

    def _spawn(self, listing: Listing, into: list[Listing], task: Callable[[], None]) -> None:
        def failed(error: BaseException) -> None:
            if not isinstance(error, ImgmoveError):
                self._crashes.append(error)
                return
            listing.error = error.on("source")
            if listing not in into:
                into.append(listing)

        self._group.spawn(task, failed)

    def _expand(self, mirror: Mirror, pattern: Pattern, into: list[Listing]) -> None:
        what = f"listing {pattern.host}"
        registries = self._session.endpoints.registries_behind(pattern.carrier)
        names = self._session.run.persist(what, lambda: list(registries.repositories(pattern.host, pattern.prefix)))
        fitting = [name for name in names if pattern.fits(name)]
        if not fitting:
            raise NotFound(f"no repository of {pattern.host} fits {pattern.glob}")
        for name in fitting:
            self._add(mirror, RegistryLocation(Reference(pattern.host, name), pattern.carrier, has_tag=False), into)

    def _take_image(self, listing: Listing, location: RegistryLocation, into: list[Listing]) -> None:
        reference, mirror = location.reference, listing.mirror
        listing.source = replace(location, reference=replace(reference, tag="", digest=None), has_tag=False)
        listing.destination = destination_for(mirror, reference.repository)
        tag = reference.tag if location.has_tag else ""
        if isinstance(mirror.destination, RegistryLocation) and mirror.destination.has_tag:
            name = mirror.destination.reference.tag
        else:
            name = named(listing.destination, mirror, reference.repository, tag) if tag else ""
        listing.items = [Item(reference.identifier, name)]
        into.append(listing)

    def _list(self, listing: Listing, location: RegistryLocation) -> None:
        with self._opening:
            source = self._session.endpoints.source(self._session.endpoints.looked_up(location))
        repository = location.reference.repository
        listing.destination = destination_for(listing.mirror, repository)
        if not isinstance(source, TagLister):
            raise UsageError(f"{location.reference.name} does not list its tags")
        tags = self._tags(source, location.reference.name, may_be_empty=isinstance(listing.mirror.source, Pattern))
        if tags:
            self._choose(listing, repository, tags)

    def _tags(self, lister: TagLister, name: str, *, may_be_empty: bool) -> Sequence[str]:
        what = f"listing {name}"
        try:
            tags = self._session.run.persist(what, lambda: _limited(lister.tags(), what))
        except NotFound:
            # Catalogues keep repositories that have lost all of their tags, or never had one.
            if not may_be_empty:
                raise
            return ()
        if not tags and not may_be_empty:
            raise NotFound(f"{name} has no tags")
        return tags

    def _choose(self, listing: Listing, repository: str, tags: Sequence[str]) -> None:
        mirror, destination = listing.mirror, listing.destination
        assert destination is not None
        if str(destination) == str(listing.source) and (mirror.prune is not None or not mirror.renamings):
            # What was not chosen would be pruned from the source itself.
            raise UsageError(f"{destination} would be mirrored onto itself")
        verdicts: dict[str, str] = {}
        taken: dict[str, str] = {}
        for tag, reason in mirror.selection.judge(tags).items():
            try:
                name = named(destination, mirror, repository, tag)
            except UsageError as error:
                if not reason:
                    listing.misnamed.append((tag, error))
                continue
            if reason:
                if mirror.prune is not None:
                    verdicts[name] = reason
                continue
            if (other := taken.setdefault(name, tag)) != tag:
                raise UsageError(f"{repository}:{other} and :{tag} would both become {placed(destination, name)}")
            listing.items.append(Item(tag, name))
        listing.verdicts = verdicts
        listing.absent = sorted(mirror.selection.named.difference(tags))


def destination_for(mirror: Mirror, repository: str) -> RegistryLocation | LayoutLocation:
    """Where the images of a source's repository go.

    Raises:
        UsageError: it would have to be called what no repository can be called.
    """
    destination = mirror.destination
    if isinstance(destination, RegistryPrefix):
        return destination.join(renamed(mirror.renamings, "repository", repository))
    if isinstance(destination, RegistryLocation):
        return replace(destination, reference=replace(destination.reference, tag=""), has_tag=False)
    return destination


def opened(session: Session, location: RegistryLocation | LayoutLocation) -> Destination:
    """Opens the destination of a mirror.

    Raises:
        ImgmoveError: it can't be written.
    """
    endpoints = session.endpoints
    destination = endpoints.destination(endpoints.shaped(location))
    # Only engines fetch for themselves, and no engine is a mirror's destination.
    assert isinstance(destination, Destination)
    return destination


def named(destination: RegistryLocation | LayoutLocation, mirror: Mirror, repository: str, tag: str) -> str:
    """What a tag is called at the destination: a tag in a registry, ``REPO:TAG`` in a layout.

    Raises:
        UsageError: a rule renames it to what is no tag.
    """
    name = renamed(mirror.renamings, "tag", tag)
    check_tag(name)
    if isinstance(destination, LayoutLocation):
        return f"{renamed(mirror.renamings, 'repository', repository)}:{name}"
    return name


def _limited(tags: Iterator[str], what: str) -> list[str]:
    found: list[str] = []
    for tag in tags:
        found.append(tag)
        if len(found) > _MOST_TAGS:
            raise MalformedContent(f"{what}: more than {_MOST_TAGS} tags")
    return list(dict.fromkeys(found))


def _order(listing: Listing) -> str:
    return str(listing.source) if listing.source is not None else ""


def _refuse_clashes(listings: Sequence[Listing]) -> None:
    """Two images for one name would take turns with every pass, so the later mirror of the two is not done."""
    taken: dict[tuple[str, str], str] = {}
    for listing in listings:
        if listing.source is None or listing.destination is None or listing.error is not None:
            continue
        place, repository = str(listing.destination), str(listing.source)
        for item in listing.items:
            origin = f"{repository}:{item.image}"
            other = taken.setdefault((place, item.name), origin) if item.name else origin
            if other != origin:
                clash = placed(listing.destination, item.name)
                listing.error = UsageError(f"{other} and {origin} would both become {clash}")
                listing.items = []
                break
