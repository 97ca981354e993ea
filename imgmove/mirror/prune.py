"""Removing tags that no longer match, behind guards that would rather remove nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from imgmove.engine.pool import TaskGroup
from imgmove.errors import ImgmoveError, NotFound, ServerRefused, UsageError
from imgmove.mirror.config import Mirror
from imgmove.mirror.naming import PreviousName
from imgmove.mirror.select import is_digest_tag
from imgmove.mirror.survey import Listing, opened
from imgmove.mirror.work import Record, placed
from imgmove.model.location import LayoutLocation, RegistryLocation, RegistryPrefix
from imgmove.ports import Deleter, Destination, ImageLister, TagLister
from imgmove.stages.session import Session


class Pruner:
    """Prunes the destinations of one pass.

    Args:
        everything: all mirrors of the file, among them those that this pass did not look at.
        note: takes what a person should know about a mirror.
        fail: takes why a mirror's destination could not be pruned.
    """

    def __init__(
        self,
        session: Session,
        everything: Sequence[Mirror],
        note: Callable[[str, str], None],
        fail: Callable[[str, ImgmoveError], None],
    ) -> None:
        self._session = session
        self._everything = everything
        self._note = note
        self._fail = fail
        self._crashes: list[BaseException] = []

    def prune(self, listings: Sequence[Listing], *, dry_run: bool) -> list[Record]:
        """Removes what no longer matches; nothing at all when any list could not be read or was empty.

        Raises:
            Interrupted: the run was cancelled.
        """
        pruning = [listing for listing in listings if listing.mirror.prune is not None]
        if not pruning:
            return []
        if any(listing.error is not None for listing in listings):
            for name in dict.fromkeys(listing.mirror.name for listing in pruning):
                self._note(name, "nothing was pruned, because not every source could be listed")
            return []
        records: list[list[Record]] = []
        group = TaskGroup(self._session.pool)
        for place, together in _by_destination(listings).items():
            if any(listing.mirror.prune is not None for listing in together) and self._is_all(place, together):
                into: list[Record] = []
                records.append(into)
                task = partial(self._prune_one, together, into, dry_run=dry_run)
                group.spawn(task, partial(self._failed, together))
        group.wait()
        if self._crashes:
            raise self._crashes[0]
        return [record for into in records for record in into]

    def _failed(self, together: Sequence[Listing], error: BaseException) -> None:
        if isinstance(error, ImgmoveError):
            self._fail(together[0].mirror.name, error.on("destination"))
        else:
            self._crashes.append(error)

    def _is_all(self, place: str, together: Sequence[Listing]) -> bool:
        """Whether nobody brings images to a destination whose wish is not known: it would be taken for old."""
        looked_at = {listing.mirror.name for listing in together}
        for mirror in self._everything:
            if mirror.name not in looked_at and _may_write(mirror, together[0]):
                self._note(together[0].mirror.name, f"{place} was not pruned, because {mirror.name} writes there too")
                return False
        for listing in together:
            if listing.mirror.prune is None and not listing.mirror.is_one_image:
                # What it brought earlier is to stay.
                why = f"{listing.mirror.name} writes there too and does not prune"
                self._note(together[0].mirror.name, f"{place} was not pruned, because {why}")
                return False
        if not all(listing.items for listing in together):
            self._note(together[0].mirror.name, f"{place} was not pruned, because nothing at the source matches")
            return False
        return True

    def _prune_one(self, together: Sequence[Listing], into: list[Record], *, dry_run: bool) -> None:
        location = together[0].destination
        assert location is not None
        destination = opened(self._session, location)
        what = f"listing {location}"
        present = self._session.run.persist(what, lambda: _present(destination, together))
        wanted = {item.name for listing in together for item in listing.items}
        kept = [listing.mirror.keep_previous for listing in together if listing.mirror.keep_previous is not None]
        surplus = [name for name in present if name not in wanted and not _is_kept(name, kept)]
        most = min(listing.mirror.prune.max_delete for listing in together if listing.mirror.prune is not None)
        if len(surplus) > most:
            raise UsageError(
                f"{location}: {len(surplus)} tags would be pruned, more than max_delete allows ({most}), so none was",
                hint="raise max_delete if they are to go",
            )
        verdicts = _verdicts(together)
        for name in surplus:
            reason = verdicts.get(name, "it is no longer at the source")
            record = Record(together[0].mirror.name, "", placed(location, name), "prune", "planned", reason)
            into.append(record)
            if not dry_run:
                self._remove(destination, name, record)

    def _remove(self, destination: Destination, name: str, record: Record) -> None:
        try:
            if not isinstance(destination, Deleter):
                raise ServerRefused(f"nothing can be deleted from {record.destination}")
            delete = partial(destination.delete_name, name)
            self._session.run.persist(f"deleting {record.destination}", delete)
        except NotFound:
            pass
        except ImgmoveError as error:
            record.fail(error.on("destination"))
            return
        record.status = "done"


def _by_destination(listings: Sequence[Listing]) -> Mapping[str, list[Listing]]:
    """Listings that go to one repository; in a layout each repository is by itself."""
    found: dict[str, list[Listing]] = {}
    for listing in listings:
        place = str(listing.destination)
        if isinstance(listing.destination, LayoutLocation):
            place = f"{place} {'/'.join(sorted(_repositories([listing])))}"
        found.setdefault(place, []).append(listing)
    return found


def _repositories(together: Sequence[Listing]) -> set[str]:
    """The names that repositories have in a layout."""
    return {item.name.rpartition(":")[0] for listing in together for item in listing.items}


def _present(destination: Destination, together: Sequence[Listing]) -> list[str]:
    try:
        return _names(destination, together)
    except NotFound:
        # Nothing was ever written there.
        return []


def _names(destination: Destination, together: Sequence[Listing]) -> list[str]:
    if isinstance(destination, ImageLister):
        own = _repositories(together)
        names = [name for image in destination.images() for name in image.names]
        return [name for name in names if name.rpartition(":")[0] in own]
    if not isinstance(destination, TagLister):
        raise UsageError(f"{together[0].destination} does not list its tags, so it can't be pruned")
    return list(destination.tags())


def _is_kept(name: str, rules: Sequence[PreviousName]) -> bool:
    tag = name.rpartition(":")[2]
    return is_digest_tag(tag) or any(rule.fits(tag) for rule in rules)


def _verdicts(together: Sequence[Listing]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for listing in together:
        found.update(listing.verdicts)
    return found


def _may_write(mirror: Mirror, listing: Listing) -> bool:
    """Whether a mirror that was not looked at may bring images to a listing's destination."""
    place, target = listing.destination, mirror.destination
    if isinstance(place, LayoutLocation) or isinstance(target, LayoutLocation):
        return isinstance(place, LayoutLocation) and isinstance(target, LayoutLocation) and place.path == target.path
    assert isinstance(place, RegistryLocation)
    if isinstance(target, RegistryPrefix):
        below = f"{target.path}/" if target.path else ""
        return place.reference.host == target.host and place.reference.repository.startswith(below)
    return place.reference.name == target.reference.name
