"""Locks on a host that is reached over SFTP, which has none: files that only one can make.

Each says who holds it, and is written to again and again as long as it is held. One that nobody writes to any more was
left by somebody who was killed, and is taken over with a note.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable

from imgmove.errors import AccessDenied, ImgmoveError, NetworkError, NotFound
from imgmove.model.number import read_decimal
from imgmove.wire.ssh.sftp import CREATE, EXCLUSIVE, READ, WRITE, Sftp
from imgmove.wire.ssh.sftp_session import SftpFailure

LOCK_ENDING = ".lock"

_BEAT = 5.0
STALE = 20.0
"""Seconds without a sign of life after which a lock counts as left; several beats."""
_SHORTEST_WAIT, _LONGEST_WAIT = 0.02, 0.5
_LARGEST = 200
_ATTEMPTS = 3
_MOST_REFUSALS = 8


class RemoteLocks:
    """The locks of one process on one host.

    Args:
        lane: gives a session.
        owner: this machine and process, as ``HOST PID``.
        note: told when a lock is taken over.
        stale: seconds without a sign of life after which a lock counts as left.
    """

    def __init__(self, lane: Callable[[], Sftp], owner: str, note: Callable[[str], None], stale: float = STALE) -> None:
        self._stale = stale
        self._lane = lane
        self._owner = owner
        self._note = note
        self._held: dict[str, str] = {}
        self._guards: dict[str, float] = {}
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._has_thread = False

    def take(self, path: str) -> bool:
        """Waits until nobody else has the lock, and takes it.

        Returns:
            Whether it was left by somebody who was killed.

        Raises:
            NetworkError: the command has ended.
            ImgmoveError: no lock can be made there.
        """
        mine = f"{self._owner} {os.urandom(8).hex()}"
        self._wait_for_own(path, mine)
        try:
            return self._taken(path, mine)
        except BaseException:
            self._forget(path)
            raise

    def _taken(self, path: str, mine: str) -> bool:
        was_left, refusals, pause = False, 0, _SHORTEST_WAIT
        seen, since = "", 0.0
        while (refusal := self._refusal(path, mine)) is not None:
            content = self._read(path)
            if content is None:
                # It went away just now, or the host refuses for another reason, and goes on to.
                refusals += 1
                if refusals == _MOST_REFUSALS:
                    raise refusal
            elif mine in content:
                # The connection broke before we heard that it was made.
                break
            else:
                refusals = 0
                if not since or content != seen:
                    seen, since = content, time.monotonic()
                # One without content is about to be filled, or whoever made it was killed before.
                is_dead = self._is_dead(content) or time.monotonic() - since > self._stale
                if is_dead and self._removed(path, content):
                    was_left = True
                    continue
            self._pause(pause)
            pause = min(2 * pause, _LONGEST_WAIT)
        return was_left

    @property
    def are_held(self) -> bool:
        """Whether one of them is."""
        return bool(self._held)

    def give_back(self, path: str) -> None:
        """Lets the next one have it. Where the host can't be reached, the lock will count as left."""
        if (mine := self._held.get(path)) is not None:
            with contextlib.suppress(ImgmoveError):
                self._remove(path, mine)
            self._forget(path)

    def _remove(self, path: str, mine: str) -> None:
        for attempt in range(_ATTEMPTS):
            lane = self._lane()
            with contextlib.suppress(NetworkError):
                # After one whose answer was lost it may be gone, and what lies there be somebody else's.
                if not attempt or mine in (self._read(path) or ""):
                    lane.remove(path)
                return

    def close(self) -> None:
        """Gives back whatever is still held."""
        for path in list(self._held):
            self.give_back(path)
        self._closing.set()

    def _pause(self, seconds: float) -> None:
        if self._closing.wait(seconds):
            raise NetworkError("the command has ended")

    def _wait_for_own(self, path: str, mine: str) -> None:
        """Waits for other threads, which no file is needed for."""
        with self._changed:
            while path in self._held:
                self._changed.wait()
            self._held[path] = mine
            if not self._has_thread:
                self._has_thread = True
                threading.Thread(target=self._beat, name="imgmove-locks", daemon=True).start()

    def _forget(self, path: str) -> None:
        with self._changed:
            self._held.pop(path, None)
            self._changed.notify_all()

    def _refusal(self, path: str, mine: str) -> SftpFailure | None:
        """Why a lock can't be made, as a rule because it is there; None when it was made."""
        lane = self._lane()
        try:
            handle = lane.open(path, WRITE | CREATE | EXCLUSIVE)
        except AccessDenied:
            raise AccessDenied(f"{lane.name}: {os.path.dirname(path) or '.'}: permission denied") from None
        except SftpFailure as error:
            return error
        try:
            self._fill(lane, handle, path, mine, 0)
        except SftpFailure:
            # Without content it would be in the way of others until it counts as left.
            lane.remove(path)
            raise
        return None

    def _fill(self, lane: Sftp, handle: bytes, path: str, mine: str, beat: int) -> None:
        try:
            lane.finish(lane.write(handle, 0, f"{mine} {beat:08d}\n".encode()), path)
        finally:
            lane.close(handle)

    def _read(self, path: str) -> str | None:
        lane = self._lane()
        try:
            handle = lane.open(path, READ)
        except NotFound:
            return None
        try:
            return lane.content(lane.read(handle, 0, _LARGEST), _LARGEST, path).decode("utf-8", "replace")
        finally:
            lane.close(handle)

    def _is_dead(self, content: str) -> bool:
        """Whether a lock's owner was a process of this machine that has ended."""
        host, _, rest = content.partition(" ")
        pid = read_decimal(rest.partition(" ")[0])
        if host != self._owner.partition(" ")[0] or not pid:
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            return False
        # A thread of ours that gave it up without being heard, as when the connection broke.
        return pid == os.getpid() and not any(mine in content for mine in self._held.values())

    def _removed(self, path: str, content: str) -> bool:
        """Takes away a lock that was left. Only one does at a time, as it might be the next one's by now."""
        guard = f"{path.removesuffix(LOCK_ENDING)}.taking{LOCK_ENDING}"
        if (refusal := self._refusal(guard, self._owner)) is not None:
            self._wait_for_guard(guard, refusal)
            return False
        lane = self._lane()
        try:
            found = self._read(path)
            if found is None or found.rsplit(" ", 1)[0] != content.rsplit(" ", 1)[0]:
                return False
            lane.remove(path)
        finally:
            with contextlib.suppress(ImgmoveError):
                lane.remove(guard)
            self._guards.pop(guard, None)
        who = " ".join(content.split()[:2]) or "somebody"
        self._note(f"{lane.name}: {path} was left by {who}, which is gone; taken over")
        return True

    def _wait_for_guard(self, guard: str, refusal: SftpFailure) -> None:
        """Leaves others the time to take a lock away; who was killed meanwhile has no use for it."""
        if time.monotonic() - self._guards.setdefault(guard, time.monotonic()) > self._stale:
            del self._guards[guard]
            try:
                self._lane().remove(guard)
            except NotFound:
                raise refusal from None

    def _beat(self) -> None:
        beat = 0
        while not self._closing.wait(_BEAT):
            with self._changed:
                held = dict(self._held)
            beat += 1
            for path, mine in held.items():
                with contextlib.suppress(ImgmoveError):
                    content = self._read(path)
                    if content is not None and mine in content and path in self._held:
                        lane = self._lane()
                        self._fill(lane, lane.open(path, WRITE), path, mine, beat)
