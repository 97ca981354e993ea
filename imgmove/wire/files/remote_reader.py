"""Content on its way from another host: as much asked for ahead as is worth it, and no more."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgmove.wire.files.remote_flows import WIDE_FROM
from imgmove.wire.files.remote_lanes import SpreadFile
from imgmove.wire.ssh.sftp import READ, Sftp
from imgmove.wire.ssh.sftp_session import Answer

if TYPE_CHECKING:
    from imgmove.wire.files.remote import RemoteFiles

_FIRST = 4
"""Requests to begin with."""

_FOREVER = 1 << 62
_LEAST = 512
"""Bytes to ask for at least."""


class RemoteReader:
    """A file that is read ahead, from where it stands to where it is to end. For one thread.

    Args:
        files: the host.
        size: bytes that are wanted; None for all that there are.
    """

    def __init__(self, files: RemoteFiles, path: str, offset: int, size: int | None) -> None:
        self._files = files
        self._path = path
        self._file = SpreadFile(files.lanes, path, READ)
        self._start = self._asked = offset
        self._end = offset + size if size is not None else _FOREVER
        self._under_way: deque[_Request] = deque()
        self._ready = b""
        self._depth = _FIRST
        self._largest = _FOREVER
        self._is_open = False

    def begin(self) -> None:
        """Opens the file, asks for its beginning and learns where it ends."""
        lane, handle = self._file.first()
        self._files.flows.began()
        self._is_open = True
        size = lane.ask_size(handle)
        self._ask()
        self._end = min(self._end, lane.size(size, self._path))

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        if size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        if not self._ready and size:
            self._ask()
            if not self._under_way:
                return b""
            self._ready = self._next()
            self._depth += 1
            self._ask()
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def close(self) -> None:
        """Gives back what it holds; safe to call twice."""
        self._file.close()
        if self._is_open:
            self._is_open = False
            self._files.flows.ended()

    def _ask(self) -> None:
        """Asks for what lies ahead; the more, the longer somebody goes on reading."""
        share = self._files.flows.share()
        while self._asked < self._end and len(self._under_way) < self._depth:
            is_wide = self._asked - self._start >= WIDE_FROM
            lane, handle = self._file.quietest() if is_wide else self._file.first()
            size = min(lane.largest, self._largest, self._end - self._asked)
            if self._under_way and (len(self._under_way) + 1) * size > share:
                self._depth = len(self._under_way)
                return
            self._under_way.append(_Request(lane, self._asked, size, lane.read(handle, self._asked, size)))
            self._file.began(lane, size)
            self._asked += size

    def _next(self) -> bytes:
        """What comes next; all that was asked for, or as much as there is."""
        request = self._under_way.popleft()
        data = request.lane.content(request.answer, request.size, self._path)
        self._file.ended(request.lane, request.size)
        end = min(self._end, request.offset + request.size)
        parts, position = [data], request.offset + len(data)
        while data and position < end:
            # The host gave less than was asked for, which is its right; asking for the rest takes a way there and back.
            self._largest = max(_LEAST, min(self._largest, len(data)))
            lane, handle = self._file.first()
            data = lane.content(lane.read(handle, position, end - position), end - position, self._path)
            parts.append(data)
            position += len(data)
        if not data:
            # The file has become shorter, so nothing of what lies behind it can be had.
            self._under_way.clear()
            self._end = self._asked = position
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class _Request:
    """Bytes that were asked for."""

    lane: Sftp
    offset: int
    size: int
    answer: Answer
