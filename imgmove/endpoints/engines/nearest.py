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
    # The same elsewhere first, as podman's localhost/app:1 for app:1, then other tags of it.
    last = name.rpartition("/")[2]
    same = [known for known in names if known.rpartition("/")[2] == last]
    other = [known for known in names if _without_tag(known) == _without_tag(name)]
    near = dict.fromkeys([*same, *other, *difflib.get_close_matches(name, names, n=_MOST_NAMES, cutoff=0.5)])
    hint = f"there is {', '.join(list(near)[:_MOST_NAMES])}" if near else ""
    return NotFound(f"{label} has no image {name}", hint=hint)


def _without_tag(name: str) -> str:
    return name.rpartition("/")[2].partition(":")[0]
