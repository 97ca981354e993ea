"""What an engine was given whole comes, though the connection broke before it could say so."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from imgmove.errors import ImgmoveError

_PATIENCE = 30.0
_SLOWEST = 10_000_000
"""Bytes a second that an engine unpacks at least."""
_TURN = 0.2


def comes(is_there: Callable[[], bool], size: int) -> bool:
    """Waits a while for something that would come when nobody looks any more, under a name that nobody takes away.

    Args:
        size: bytes that the engine was given.
    """
    end = time.monotonic() + _PATIENCE + size / _SLOWEST
    # Where nobody can be asked, or everything was interrupted, there is nothing to wait for.
    with contextlib.suppress(ImgmoveError):
        while time.monotonic() < end:
            if is_there():
                return True
            time.sleep(_TURN)
    return False
