"""What every function of the API takes: places, written as on the command line, and a session that it may share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from imgmove.model.location import Location, PathLocation, path_text
from imgmove.model.location_grammar import parse_location
from imgmove.stages.session import Session

FilePath = str | os.PathLike[str]
"""A path, or where the command line takes locations too, the text of one."""

Place = FilePath | Location
"""A location, or its text as on the command line; or a path as a value."""

Places = Place | Sequence[Place]


@contextlib.contextmanager
def passing(given: Session | None) -> Iterator[Session]:
    """A part of the session that was given, or a whole one; it ends with this."""
    with given.for_one_command() if given is not None else Session() as own:
        yield own


def located(place: Place) -> Location:
    """A place as a value.

    Raises:
        UsageError: it is no location.
    """
    if isinstance(place, os.PathLike):
        return PathLocation(path_text(os.fspath(place)))
    return parse_location(place) if isinstance(place, str) else place


def several(places: Places) -> list[Location]:
    """One place or many as a list.

    Raises:
        UsageError: one is no location.
    """
    if isinstance(places, Sequence) and not isinstance(places, str):
        return [located(place) for place in places]
    return [located(places)]
