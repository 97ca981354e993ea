"""Content on its way to another host: several requests under way, each kept until the host says that it is done."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgmove.errors import ImgmoveError, NetworkError, NotFound, ServerRefused
from imgmove.wire.files.early_sync import EarlySync
from imgmove.wire.files.remote_flows import WIDE_FROM
from imgmove.wire.files.remote_lanes import SpreadFile
from imgmove.wire.files.remote_replacing import forget_replaced, replace
from imgmove.wire.ssh.sftp import CREATE, READ, WRITE, Sftp
from imgmove.wire.ssh.sftp_session import Answer, SftpFailure

if TYPE_CHECKING:
    from imgmove.wire.files.remote import RemoteFiles


@dataclass
class _Piece:
    """Bytes that were sent, and are kept until the host says that it has them."""

    offset: int
    data: memoryview
    lane: Sftp | None = None
    answer: Answer | None = None


class RemoteWriter:
    """A file under a temporary name. What the host did not confirm is sent again over the next connection.

    Args:
        path: its name when it is whole.
        temporary: its name until then.
        closed: called once, when it is done with.
        is_begun: whether it may be there already.

    Attributes:
        size: bytes from the start to the furthest one written.
    """

    def __init__(
        self, files: RemoteFiles, path: str, temporary: str, closed: Callable[[], None], *, is_begun: bool = False
    ) -> None:
        self._files = files
        self._path = path
        self._temporary = temporary
        self.size = 0
        self._on_close = closed
        self._lock = threading.RLock()
        self._file = SpreadFile(files.lanes, temporary, READ | WRITE | CREATE)
        self._pieces: deque[_Piece] = deque()
        self._flying = 0
        self._sent = 0
        self._is_all_sent = True
        self._used: set[Sftp] = set()
        self._is_open = True
        self._early = EarlySync(self._sync_aside)
        files.flows.began()
        try:
            lane = files.lanes.first()
            # Before the answer to it is there the file is opened, as the way may be long.
            status = lane.ask_status(temporary) if is_begun else None
            self._opened()
            if status is not None and (found := lane.found(status, temporary)) is not None:
                self.size = found.size
        except BaseException:
            files.flows.ended()
            raise

    def write_at(self, offset: int, data: bytes) -> None:
        """Sends ``data`` on its way; a failure may be told by a later call."""
        with self._lock:
            self._check_open()
            self._files.again(self._send_again)
            # Whatever else it is may be written to again while it is on its way.
            view = memoryview(bytes(data))
            largest = self._files.again(self._files.lanes.first).largest
            # In equal parts: where small ones alternate with large ones, some sessions would get all the large ones.
            size = -(-len(view) // -(-len(view) // largest)) if view else 0
            while view:
                while self._flying and self._flying + size > self._files.flows.share():
                    self._settle()
                piece = _Piece(offset, view[:size])
                # Among the pieces before it is sent: whatever happens, it is not forgotten.
                self._pieces.append(piece)
                self._flying += len(piece.data)
                offset += len(piece.data)
                self.size = max(self.size, offset)
                view = view[len(piece.data) :]
                with contextlib.suppress(NetworkError):
                    self._send(piece)
        self._early.wrote(len(data))

    def read_at(self, offset: int, size: int) -> bytes:
        """What was written there."""
        with self._lock:
            self._drain()
        return self._files.read_at(
            self._temporary if self._temporary.startswith("/") else f"~/{self._temporary}", offset, size
        )

    def truncate(self, size: int) -> None:
        """Cuts the file, or lengthens it with a hole."""

        def cut() -> None:
            self._drain()
            lane, handle = self._opened()
            lane.truncate(handle, size, self._path)

        with self._lock:
            self._files.again(cut)
            self.size = size

    def commit(self, path: str = "") -> None:
        """Makes the file appear under its name, or another one, with all bytes on the disk as far as the host can."""
        final = (path or self._path).removeprefix("~/")
        with self._lock:
            self._check_open()
            self._files.again(lambda: self._rename(final))
            self._close()

    def _rename(self, final: str) -> None:
        try:
            replace(self._synced(), self._temporary, final)
        except NotFound:
            # It may have been renamed by a request whose answer was lost, which is not sent before all is there.
            found = self._files.lanes.first().status(final)
            if self._pieces or found is None or found.size != self.size:
                raise
        forget_replaced(self._files.lanes.first(), final)

    def keep(self) -> None:
        """Leaves the file for a later run."""
        with self._lock:
            if not self._is_open:
                return
            try:
                self._drain()
            except ImgmoveError:
                # What lies there may have holes; its lock stays, and tells the next one.
                self._close(is_sure=False)
            else:
                self._close()

    def abort(self) -> None:
        """Removes what was not committed."""
        with self._lock:
            if not self._is_open:
                return
            self._pieces.clear()
            try:
                self._files.remove(self._temporary)
            except ImgmoveError:
                self._close(is_sure=False)
            else:
                self._close()

    def _send(self, piece: _Piece) -> None:
        piece.lane, piece.answer = None, None
        was_all_sent, self._is_all_sent = self._is_all_sent, False
        lane, handle = self._opened() if self._sent < WIDE_FROM else self._file.quietest()
        piece.answer = lane.write(handle, piece.offset, piece.data)
        piece.lane = lane
        self._file.began(lane, len(piece.data))
        self._sent += len(piece.data)
        self._used.add(lane)
        self._is_all_sent = was_all_sent

    def _send_again(self) -> None:
        if self._is_all_sent and not any(lane.is_broken for lane in self._used):
            return
        self._is_all_sent = False
        for piece in self._pieces:
            if piece.lane is None or piece.lane.is_broken:
                self._send(piece)
        self._used = {piece.lane for piece in self._pieces if piece.lane is not None}
        self._is_all_sent = True

    def _settle(self) -> None:
        """Waits for the oldest piece."""
        piece = self._pieces[0]
        if piece.answer is None or piece.lane is None:
            self._send(piece)
        assert piece.answer is not None
        assert piece.lane is not None
        try:
            piece.lane.finish(piece.answer, self._path)
        except SftpFailure as error:
            raise self._files.explained(self._path, error) from None
        self._file.ended(piece.lane, len(piece.data))
        self._pieces.popleft()
        self._flying -= len(piece.data)

    def _drain(self) -> None:
        self._send_again()
        while self._pieces:
            self._settle()

    def _synced(self) -> Sftp:
        """Puts all bytes on the disk as far as the host can; returns the session that did it."""
        self._send_again()
        lane, handle = self._opened()
        # Over one session nothing overtakes what was sent before it.
        is_in_order = all(piece.lane is lane for piece in self._pieces)
        early, size = (lane.sync(handle), lane.ask_size(handle)) if is_in_order else (None, None)
        self._drain()
        if lane.is_broken or size is None:
            lane, handle = self._opened()
            early, size = lane.sync(handle), lane.ask_size(handle)
        if early is not None:
            lane.finish(early, self._path)
        if (found := lane.size(size, self._path)) != self.size:
            raise ServerRefused(f"{self._files.name}: {self._path}: {found} of {self.size} bytes lie there")
        return lane

    def _sync_aside(self) -> None:
        """Has the host put on the disk what it has so far; what fails here fails again when the file is committed."""
        with contextlib.suppress(ImgmoveError):
            if (lane := self._files.lanes.aside()) is not None:
                handle = lane.open(self._temporary, READ | WRITE)
                if (answer := lane.sync(handle)) is not None:
                    lane.finish(answer, self._path)
                lane.close(handle)

    def _opened(self) -> tuple[Sftp, bytes]:
        try:
            return self._file.first()
        except NotFound:
            if self._file.is_made:
                raise
            raise ServerRefused(f"{self._files.name}: {self._path}: no such folder to write to") from None
        except SftpFailure as error:
            raise self._files.explained(self._path, error) from None

    def _check_open(self) -> None:
        if not self._is_open:
            raise ServerRefused(f"{self._path}: the file is closed already")

    def _close(self, *, is_sure: bool = True) -> None:
        self._is_open = False
        self._file.close()
        self._files.flows.ended()
        if is_sure:
            self._on_close()
