"""Engines as sources: the archives that they save, as a stream, and a helpful word when there is no such image."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Protocol

from imgmove.errors import NotFound
from imgmove.ports import Reader

_MOST_NAMES = 3


class SavingEngine(Protocol):
    """An engine that hands its images out as archives."""

    @property
    def label(self) -> str: ...

    @property
    def keeps_manifests(self) -> bool:
        """Whether manifests and layers come out of it as they came in."""
        ...

    def names(self) -> Sequence[str]:
        """All names of images."""
        ...

    def save(self, names: Sequence[str]) -> Reader:
        """An archive of images, as it comes.

        Raises:
            NotFound: there is no such image.
        """
        ...


def saved(engine: SavingEngine, name: str) -> Reader:
    """The archive of an image.

    Raises:
        NotFound: there is none of that name; the nearest names are given.
    """
    try:
        return engine.save([name])
    except NotFound:
        raise no_such_image(engine.label, name, engine.names()) from None


def no_such_image(label: str, name: str, names: Sequence[str]) -> NotFound:
    """The error for a name that an engine doesn't have."""
    repository = name.rpartition(":")[0] or name
    same = [known for known in names if repository and known.rpartition(":")[0].endswith(repository)]
    near = dict.fromkeys([*same, *difflib.get_close_matches(name, names, n=_MOST_NAMES, cutoff=0.5)])
    hint = f"there is {', '.join(list(near)[:_MOST_NAMES])}" if near else ""
    return NotFound(f"{label} has no image {name}", hint=hint)
