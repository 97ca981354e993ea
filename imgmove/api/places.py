"""What every function of the API takes: places, written as on the command line, and a session that it may share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from imgmove.model.location import Location
from imgmove.model.location_grammar import parse_location
from imgmove.stages.session import Session

Place = str | Location
"""A location, or its text as on the command line."""

Places = Place | Sequence[Place]


@contextlib.contextmanager
def passing(given: Session | None) -> Iterator[Session]:
    """The session that was given, or one that ends with this."""
    if given is not None:
        yield given
        return
    with Session() as own:
        yield own


def located(place: Place) -> Location:
    """A place as a value.

    Raises:
        UsageError: it is no location.
    """
    return parse_location(place) if isinstance(place, str) else place


def several(places: Places) -> list[Location]:
    """One place or many as a list.

    Raises:
        UsageError: one is no location.
    """
    if isinstance(places, Sequence) and not isinstance(places, str):
        return [located(place) for place in places]
    return [located(places)]
