"""Putting a file's content on the disk while more of it comes, so that little is left to wait for at its end."""

from __future__ import annotations

import threading
from collections.abc import Callable

EVERY = 32 << 20
"""Bytes after which it is worth the disk's time."""


class EarlySync:
    """Syncs a file again and again, in a thread of its own. Safe for many threads.

    Args:
        sync: puts on the disk what was written so far, and waits for it.
    """

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._guard = threading.Lock()
        self._unsynced = 0
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def wrote(self, size: int) -> None:
        """So many bytes more were written."""
        with self._guard:
            self._unsynced += size
            is_busy = self._thread is not None and self._thread.is_alive()
            if self._unsynced >= EVERY and not is_busy:
                self._unsynced = 0
                self._thread = threading.Thread(target=self._work, name="imgmove-sync", daemon=True)
                self._thread.start()

    def finish(self) -> None:
        """Waits for what is under way.

        Raises:
            BaseException: a sync failed; the system tells that once, so whoever syncs next would hear nothing of it.
        """
        with self._guard:
            thread = self._thread
        if thread is not None:
            thread.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            self._sync()
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits
            self._error = self._error or error
