"""How a host's files are reached: over one session, and over several where one's window would hold a long way back."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter

from imgmove.errors import ImgmoveError, NetworkError
from imgmove.wire.ssh import NoSession, Sftp, SshConnection
from imgmove.wire.ssh.sftp import CREATE
from imgmove.wire.ssh.sftp_session import Answer

FAR = 0.004
"""Seconds of round trip from which one session's window holds a transfer back."""

_MOST = 6
"""Sessions at a time; sshd allows ten, and others need some."""

_ASIDE = _MOST
"""The number of the session for what takes long."""

_MOST_FAILURES = 2 * _MOST


class Lanes:
    """The SFTP sessions of one connection, begun anew when they break. Safe for many threads.

    Args:
        far: seconds of round trip from which there are several.
    """

    def __init__(self, connection: SshConnection, far: float = FAR) -> None:
        self._connection = connection
        self._far = far
        self._most = _MOST
        self._is_far = False
        self._failures = 0
        self._further: dict[int, Sftp] = {}
        self._opening: set[int] = set()
        self._first: Sftp | None = None
        self._guard = threading.RLock()
        self.is_closed = False

    def first(self) -> Sftp:
        """The session that is always there.

        Raises:
            ImgmoveError: there is none to be had.
        """
        with self._guard:
            self._check_open()
            if self._first is None or self._first.is_broken:
                self._first = Sftp(self._connection)
                self._is_far = self._first.round_trip > self._far
            return self._first

    def further(self) -> list[Sftp]:
        """Those that there are beside the first; nobody waits for more to come."""
        if not self._is_far:
            return []
        with self._guard:
            for number in range(1, self._most):
                lane = self._further.get(number)
                if (lane is None or lane.is_broken) and number not in self._opening and not self.is_closed:
                    self._further.pop(number, None)
                    self._opening.add(number)
                    threading.Thread(target=self._open, args=(number,), name="imgmove-lane", daemon=True).start()
            return [lane for number, lane in self._further.items() if number != _ASIDE and not lane.is_broken]

    def aside(self) -> Sftp | None:
        """A session for what takes long, as a host answers one request after the other; None where there is none."""
        with self._guard:
            lane = self._further.get(_ASIDE)
            if self.is_closed or _ASIDE in self._opening or (lane is not None and not lane.is_broken):
                return lane
            self._opening.add(_ASIDE)
        self._open(_ASIDE)
        return self._further.get(_ASIDE)

    def close(self) -> None:
        """Ends all."""
        with self._guard:
            self.is_closed = True
            for lane in (*self._further.values(), *([self._first] if self._first else [])):
                lane.end()

    def _open(self, number: int) -> None:
        lane = None
        try:
            lane = Sftp(self._connection, patience=0)
        except NoSession:
            # The host takes no more; those that there are will do.
            self._most = min(self._most, number)
        except ImgmoveError:
            # Whoever uses the first session hears of it; this is tried again, and not for ever.
            self._failures += 1
            self._most = self._most if self._failures < _MOST_FAILURES else 1
        with self._guard:
            self._opening.discard(number)
            if lane is not None and self.is_closed:
                lane.end()
            elif lane is not None:
                self._further[number] = lane

    def _check_open(self) -> None:
        if self.is_closed:
            raise NetworkError("the command has ended")


class SpreadFile:
    """One file that is open on the first session, and on all others as soon as they are worth it. For one thread.

    Args:
        flags: how it is opened (`imgmove.wire.ssh.sftp.READ` and so on). It is made once at most: what is gone when it is
            opened again, over another connection, was given its final name.

    Attributes:
        is_made: whether it was opened already.
    """

    def __init__(self, lanes: Lanes, path: str, flags: int) -> None:
        self._lanes = lanes
        self._path = path
        self._flags = flags
        self.is_made = False
        self._handles: dict[Sftp, bytes] = {}
        self._asked: dict[Sftp, Answer] = {}
        self._busy: Counter[Sftp] = Counter()

    def first(self) -> tuple[Sftp, bytes]:
        """The first session, and the file's handle there.

        Raises:
            ImgmoveError: it can't be opened.
        """
        lane = self._lanes.first()
        if lane not in self._handles:
            self._forget_broken()
            self._handles[lane] = lane.open(self._path, self._flags & ~CREATE if self.is_made else self._flags)
            self.is_made = True
        return lane, self._handles[lane]

    def quietest(self) -> tuple[Sftp, bytes]:
        """The session that has least to do, and the file's handle there.

        Raises:
            ImgmoveError: as `first`.
        """
        best = self.first()
        for lane in self._lanes.further():
            if (handle := self._further(lane)) is not None and self._busy[lane] < self._busy[best[0]]:
                best = lane, handle
        return best

    def began(self, lane: Sftp, size: int) -> None:
        """So many bytes are on their way over a session."""
        self._busy[lane] += size

    def ended(self, lane: Sftp, size: int) -> None:
        """They aren't any more."""
        self._busy[lane] -= size

    def close(self) -> None:
        """Closes it everywhere."""
        for lane, answer in self._asked.items():
            with contextlib.suppress(ImgmoveError):
                self._handles[lane] = lane.handle(answer, self._path)
        for lane, handle in self._handles.items():
            with contextlib.suppress(ImgmoveError):
                lane.close(handle)
        self._asked.clear()
        self._handles.clear()

    def _further(self, lane: Sftp) -> bytes | None:
        """The handle on a further session; None as long as it has not come, which nobody waits for."""
        if lane in self._handles:
            return self._handles[lane]
        with contextlib.suppress(ImgmoveError):
            if lane not in self._asked:
                self._asked[lane] = lane.ask_open(self._path, self._flags & ~CREATE)
            elif self._asked[lane].done():
                # One that can't be opened there stays among those that were asked for.
                self._handles[lane] = lane.handle(self._asked[lane], self._path)
                del self._asked[lane]
                return self._handles[lane]
        return None

    def _forget_broken(self) -> None:
        for found in (self._handles, self._asked):
            for lane in [lane for lane in found if lane.is_broken]:
                del found[lane]
