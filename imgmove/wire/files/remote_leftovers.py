"""What runs leave in the folders of another host: files under temporary names, of which each run removes old ones."""

from __future__ import annotations

import contextlib
import os
import posixpath
import threading
import time
from collections.abc import Callable

from imgmove.errors import ImgmoveError, NotFound
from imgmove.wire.files.remote_lock import LOCK_ENDING
from imgmove.wire.files.writers import TEMPORARY, beside
from imgmove.wire.ssh import Sftp

_SENT = ".sent"
"""How temporary names end; not as local ones do, which whoever works on that host may sweep away."""

_PARTIAL = ".partial"
_DAY = 24 * 3600
_KEPT_DAYS = 7
_SWEEP_SECONDS = 1.0


class Leftovers:
    """The temporary files of one run, and those that earlier ones left. Safe for many threads.

    Args:
        lane: gives a session.
    """

    def __init__(self, lane: Callable[[], Sftp]) -> None:
        self._lane = lane
        self._guard = threading.Lock()
        self._begun: set[str] = set()
        self._swept: dict[str, threading.Thread] = {}

    def begin(self, path: str) -> str:
        """A name for a file of this run alone, which is removed at the end unless it was ended before."""
        temporary = beside(path, f"{os.getpid()}-{os.urandom(6).hex()}{_SENT}")
        with self._guard:
            self._begun.add(temporary)
        return temporary

    def ended(self, temporary: str) -> None:
        """A file has its final name, or is gone."""
        with self._guard:
            self._begun.discard(temporary)

    @property
    def are_there(self) -> bool:
        """Whether something was begun and not ended."""
        return bool(self._begun)

    def forget_others(self, path: str, key: str) -> None:
        """Removes what earlier runs began for the same path under other keys, unless somebody is at it."""
        folder, start = posixpath.split(beside(path, ""))
        try:
            names = {name for name, _ in self._lane().list(folder or ".")}
        except NotFound:
            return
        for name in names:
            other = name.removeprefix(start).removesuffix(_PARTIAL)
            is_for_path = name.startswith(start) and name.endswith(_PARTIAL) and "." not in other
            if is_for_path and other.partition("-")[0] != key and f"{name}{LOCK_ENDING}" not in names:
                self._remove(posixpath.join(folder, name))

    def sweep(self, folder: str) -> None:
        """Removes what killed runs left in a folder, the first time; nobody waits for it, nor for what goes wrong."""
        with self._guard:
            if folder not in self._swept:
                sweep = threading.Thread(target=self._sweep, args=(folder,), name="imgmove-sweep", daemon=True)
                self._swept[folder] = sweep
                sweep.start()

    def close(self) -> None:
        """Gives sweeps a moment to come to their ends, and removes all that was begun and not ended."""
        with self._guard:
            left, sweeps = list(self._begun), list(self._swept.values())
        for sweep in sweeps:
            sweep.join(_SWEEP_SECONDS)
        with contextlib.suppress(ImgmoveError):
            for temporary in left:
                self._remove(temporary)

    def _sweep(self, folder: str) -> None:
        with contextlib.suppress(ImgmoveError):
            for name, status in list(self._lane().list(folder or ".")):
                days = (time.time() - status.modified) / _DAY
                is_left = name.endswith(_SENT) and days > 1
                is_old = name.endswith((_PARTIAL, LOCK_ENDING)) and days > _KEPT_DAYS
                if name.startswith(TEMPORARY) and (is_left or is_old):
                    self._remove(posixpath.join(folder, name))

    def _remove(self, path: str) -> None:
        with contextlib.suppress(NotFound):
            self._lane().remove(path)
