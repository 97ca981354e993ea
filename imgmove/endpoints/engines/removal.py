"""Taking away the names that an image has in an engine on its way, or saying which one is left and how to remove it."""

from __future__ import annotations

import time
from typing import Protocol

from imgmove.errors import ImgmoveError, NotFound

_TRIES = 3
_PAUSE = 0.2


class Removing(Protocol):
    """An engine as far as names are taken away from it.

    Attributes:
        left: names that could not be taken away, with what a person should know of them.
    """

    left: dict[str, str]

    @property
    def label(self) -> str: ...

    def forget(self, temporary: str) -> None:
        """Removes a name, and the image if nothing else names it; fine when it isn't there."""
        ...

    def removing(self, name: str) -> str:
        """The command by which a person removes a name on the engine's machine."""
        ...


def remove(engine: Removing, name: str) -> None:
    """Has an engine forget a name, once more where the connection broke; notes down what can't be taken away.

    An image that arrived whole is no failure because of that.
    """
    engine.left.pop(name, None)
    for tries_left in reversed(range(_TRIES)):
        try:
            engine.forget(name)
        except NotFound:
            return
        except ImgmoveError as error:
            if error.is_transient and tries_left:
                time.sleep(_PAUSE)
                continue
            command = engine.removing(name)
            engine.left[name] = (
                f"{engine.label} may still have a temporary image ({error.message}): `{command}` removes it there,"
                " and so does a copy to it a day later"
            )
        return
