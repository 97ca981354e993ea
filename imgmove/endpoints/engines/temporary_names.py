"""The names that images have in an engine on their way: nobody else uses such, and they tell when they were made.

So a later run knows what an earlier one that was killed, or cut off, could not take away.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Protocol

from imgmove.errors import ImgmoveError, Interrupted

_START = "imgmove-"
_NAME = re.compile(r"(?:localhost|127\.0\.0\.1:[0-9]+)/imgmove-([0-9]{10})-[0-9a-f]{16}[:@]")
_LONGEST_RUN = 24 * 3600
"""Seconds after which nobody can still need such a name: it lasts no longer than the sending of one image."""


class Tidied(Protocol):
    """An engine as far as its names go."""

    def references(self, start: str, /) -> list[str]: ...

    def forget(self, name: str, /) -> None: ...


def temporary_repository() -> str:
    """A repository, without host and tag, that nobody has used before."""
    return f"{_START}{int(time.time())}-{secrets.token_hex(8)}"


def is_left_behind(reference: str) -> bool:
    """Whether a name is one that a run made which can't be going on any more."""
    found = _NAME.match(reference)
    return found is not None and time.time() - int(found.group(1)) > _LONGEST_RUN


def sweep(engine: Tidied) -> None:
    """Takes away what earlier runs left. What can't be taken away now is left to the next one."""
    try:
        for reference in engine.references(_START):
            if is_left_behind(reference):
                engine.forget(reference)
    except Interrupted:
        raise
    except ImgmoveError:
        return
