"""A helpful word when an engine has no such image."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from imgmove.errors import NotFound

_MOST_NAMES = 3


def no_such_image(label: str, name: str, names: Sequence[str]) -> NotFound:
    """The error for a name that an engine doesn't have."""
    # What goes by a digest helps nobody who types a tag.
    names = [known for known in names if "@" not in known and not known.startswith("sha256:")]
    repository = name.rpartition(":")[0] or name
    same = [known for known in names if repository and known.rpartition(":")[0].endswith(repository)]
    near = dict.fromkeys([*same, *difflib.get_close_matches(name, names, n=_MOST_NAMES, cutoff=0.5)])
    hint = f"there is {', '.join(list(near)[:_MOST_NAMES])}" if near else ""
    return NotFound(f"{label} has no image {name}", hint=hint)
