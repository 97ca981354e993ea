"""Uploading blobs: in one request where that works, resumed where the registry says how far it got."""

from __future__ import annotations

from collections.abc import Callable

from imgmove.endpoints.registry.host import RegistryHost
from imgmove.endpoints.registry.session import Session, UploadLost
from imgmove.errors import BeginningLost, NetworkError, ServerRefused
from imgmove.model.descriptor import Descriptor
from imgmove.ports import Reader
from imgmove.streams import BytesReader, drain
from imgmove.wire.http import Body

GARBLED = "DIGEST_INVALID"


class _Upload:
    """What all ways to upload share: how it ends.

    Args:
        is_there: asks whether the registry has a blob.
    """

    def __init__(self, host: RegistryHost, session: Session, is_there: Callable[[Descriptor], bool]) -> None:
        self._host = host
        self._session = session
        self._is_there = is_there
        self._is_done = False

    def commit(self, descriptor: Descriptor) -> None:
        """Completes the upload, unless that is done.

        Raises:
            BeginningLost: the registry has lost it.
        """
        if self._is_done:
            return
        if self._session.is_open:
            self._session.put(descriptor)
        elif not self._is_there(descriptor):
            # It is not the answer alone that got lost.
            raise BeginningLost(f"{self._host.name} lost the upload at its end")
        self._is_done = True

    def abort(self) -> None:
        """Cancels what was not completed."""
        if not self._is_done:
            self._session.cancel()


class BlobUpload(_Upload):
    """A blob whose digest is known and whose source can be read again: POST and one PUT, as a rule."""

    def __init__(
        self, host: RegistryHost, session: Session, is_there: Callable[[Descriptor], bool], descriptor: Descriptor
    ) -> None:
        super().__init__(host, session, is_there)
        self._descriptor = descriptor
        self._is_broken = False
        self._was_put = False
        self._was_garbled = False
        self._asked = -1

    def resume(self) -> int:
        """How much the registry has. A session that it forgot, or that stands still, is begun anew."""
        if self._session.is_open and self._is_broken:
            self._find_place()
        if not self._is_done and not self._session.is_open:
            self._begin_anew()
        self._is_broken = True
        return self._descriptor.size if self._is_done else self._session.offset

    def write(self, reader: Reader) -> None:
        """Sends everything that is left."""
        left = self._descriptor.size - self._session.offset
        if self._is_done or (self._session.offset and not left):
            drain(reader)
        elif self._host.largest_request is not None and left > self._host.largest_request:
            while chunk := read_chunk(reader, self._session.chunk):
                self._append(Body(BytesReader(chunk), len(chunk)))
        elif self._session.offset:
            self._append(Body(reader, left))
        else:
            self._put(Body(reader, left))

    def commit(self, descriptor: Descriptor) -> None:  # noqa: ARG002 - it is the one that was begun
        """Completes the upload, unless that is done."""
        if not self._is_done:
            self._put(None)

    def _find_place(self) -> None:
        confirmed = self._session.offset
        held = self._session.ask() if self._host.takes_pieces else None
        # Nothing may only mean that the registry has not noticed yet that the connection broke. ECR's answer can stick
        # at the first piece: the same place twice is no progress to build on.
        if not held or held == self._asked or not confirmed <= held <= self._descriptor.size:
            self._session.cancel()
        else:
            self._asked = self._session.offset = held

    def _begin_anew(self) -> None:
        if self._was_put and self._is_there(self._descriptor):
            # It was the answer alone that got lost.
            self._is_done = True
        else:
            self._session.begin()
            self._asked = -1
            self._was_put = False

    def _append(self, body: Body) -> None:
        try:
            self._session.patch(body)
        except ServerRefused as error:
            if not self._session.offset or self._host.largest_request is not None:
                raise
            self._host.takes_pieces = False
            self._session.cancel()
            raise OnePieceOnly(error.message) from error

    def _put(self, body: Body | None) -> None:
        self._was_put = True
        try:
            self._session.put(self._descriptor, body)
        except ServerRefused as error:
            if error.code != GARBLED or self._was_garbled:
                raise
            # Our own hash of what was sent is right, so something changed it on its way.
            self._was_garbled = True
            self._session.lose()
            raise UploadLost(error.message) from error
        self._is_done = True


class OnePieceOnly(NetworkError):
    """The registry takes a blob in one piece only; the next try sends it so."""

    is_lesson = True


class StreamedUpload(_Upload):
    """A blob that is made while it is sent: POST, one PATCH of unknown length, PUT.

    Args:
        is_piped: the content can't be made a second time.
    """

    def __init__(
        self,
        host: RegistryHost,
        session: Session,
        is_there: Callable[[Descriptor], bool],
        *,
        is_piped: bool = False,
    ) -> None:
        super().__init__(host, session, is_there)
        self._is_piped = is_piped

    def resume(self) -> int:
        """Begins anew each time.

        Raises:
            ServerRefused: that can't be done.
        """
        if self._is_piped and self._session.is_open:
            raise ServerRefused("an upload from a pipe broke", hint="write the pipe to a file first")
        self._session.cancel()
        self._session.begin()
        return 0

    def write(self, reader: Reader) -> None:
        """Sends everything, in pieces where something on the way refuses large requests."""
        if self._host.largest_request is None:
            self._session.patch(Body(reader))
        else:
            while chunk := read_chunk(reader, self._session.chunk):
                self._session.patch(Body(BytesReader(chunk), len(chunk)))


class PipedUpload(_Upload):
    """A blob that can't be read again: sent in pieces, each kept until the registry has it."""

    def __init__(self, host: RegistryHost, session: Session, is_there: Callable[[Descriptor], bool]) -> None:
        super().__init__(host, session, is_there)
        self._taken = 0
        self._unsent = b""
        self._unsent_from = 0
        self._is_broken = False

    def resume(self) -> int:
        """Goes on after all that was taken from the reader; what did not arrive is sent again.

        Raises:
            BeginningLost: the registry has lost what came before.
        """
        if not self._session.is_open:
            self._restart()
        elif self._is_broken:
            held = self._session.ask()
            if held is None or held > self._unsent_from + len(self._unsent):
                self._restart()
            else:
                # What was confirmed is there, whatever ECR says of its first piece later.
                held = max(held, self._unsent_from)
                self._unsent = self._unsent[held - self._unsent_from :]
                self._unsent_from = self._session.offset = held
        self._is_broken = True
        return self._taken

    def write(self, reader: Reader) -> None:
        """Sends what was not confirmed, then what comes."""
        self._flush()
        while chunk := read_chunk(reader, self._session.chunk):
            self._unsent = chunk
            self._taken += len(chunk)
            self._flush()

    def _flush(self) -> None:
        while self._unsent:
            piece = self._unsent[: self._session.chunk]
            self._session.patch(Body(BytesReader(piece), len(piece)))
            self._unsent = self._unsent[len(piece) :]
            self._unsent_from += len(piece)

    def _restart(self) -> None:
        if self._unsent_from:
            raise BeginningLost(
                f"{self._host.name} lost the upload, and a pipe can't be read again", hint="write it to a file first"
            )
        self._session.cancel()
        self._session.begin()


def read_chunk(reader: Reader, size: int) -> bytes:
    """Exactly ``size`` bytes, fewer only at the end."""
    parts: list[bytes] = []
    while size > 0 and (part := reader.read(size)):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
