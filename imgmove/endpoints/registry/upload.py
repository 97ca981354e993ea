"""Uploading blobs (OCI distribution spec, *Pushing Blobs*), resumed where the registry says how far it got."""

from __future__ import annotations

import re

from imgmove.endpoints.registry.host import RegistryHost
from imgmove.errors import ImgmoveError, ServerError, ServerRefused
from imgmove.model.descriptor import Descriptor
from imgmove.ports import Reader
from imgmove.streams import BytesReader
from imgmove.wire.auth import Scope
from imgmove.wire.http import Body, Response, check_status

CHUNK = 8 << 20
"""Bytes of a piece that is kept until the registry has it."""

_OCTETS = {"Content-Type": "application/octet-stream"}
_LARGEST_CHUNK = 64 << 20
_SMALLEST_CHUNK = 256 << 10


class Session:
    """An upload at the registry: a location that changes with every answer, and how far it is.

    Attributes:
        offset: bytes that the registry confirmed.
    """

    def __init__(self, host: RegistryHost, repository: str, scopes: tuple[Scope, ...]) -> None:
        self._host = host
        self._path = f"/v2/{repository}/blobs/uploads/"
        self._what = f"uploading to {host.name}/{repository}"
        self._scopes = scopes
        self._location = ""
        self.offset = 0
        self._least_chunk = 0

    @property
    def chunk(self) -> int:
        """How large a piece may be, in bytes."""
        return max(self._host.largest_request or CHUNK, self._least_chunk)

    @property
    def is_open(self) -> bool:
        """Whether there is a session at the registry."""
        return bool(self._location)

    def begin(self) -> None:
        """Asks for a new session."""
        headers = {"Content-Length": "0"}
        self.adopt(self._host.send("POST", self._path, self._scopes, headers), 202)
        self.offset = 0

    def adopt(self, response: Response, *expected: int) -> None:
        """Goes on where an answer says."""
        check_status(response, *expected, what=self._what)
        response.close()
        location = response.headers.get("location")
        if location:
            self._location = self._host.following(response, location)
        elif not self._location:
            raise ServerRefused(f"{self._what}: {self._host.name} does not say where to")
        least = response.headers.get("oci-chunk-min-length", "")
        if least.isdigit():
            self._least_chunk = min(int(least), _LARGEST_CHUNK)

    def ask(self) -> int | None:
        """How many bytes the registry has; None when it has forgotten the session or does not say."""
        if not self._location:
            return None
        try:
            response = self._host.send("GET", self._location, self._scopes)
        except ServerRefused:
            return None
        response.close()
        if response.status not in (200, 202, 204):
            return None
        match = re.fullmatch(r"(?:bytes=)?0-(\d+)", response.headers.get("range", ""))
        location = response.headers.get("location")
        if location:
            self._location = self._host.following(response, location)
        if not match:
            return None
        # "0-0" is what registries say of an empty upload, though it would mean one byte.
        return int(match.group(1)) + 1 if match.group(1) != "0" else 0

    def patch(self, body: Body) -> None:
        """Sends a piece, or everything that is left."""
        headers = dict(_OCTETS)
        if body.size is not None:
            headers["Content-Range"] = f"{self.offset}-{self.offset + body.size - 1}"
        response = self._host.send("PATCH", self._location, self._scopes, headers, body)
        self._check_size(response, body.size)
        # ECR answers 201.
        self.adopt(response, 202, 201, 204)
        if body.size is not None:
            self.offset += body.size

    def put(self, descriptor: Descriptor, body: Body | None = None) -> None:
        """Completes the upload, perhaps with all of its content."""
        mark = "&" if "?" in self._location else "?"
        url = f"{self._location}{mark}digest={descriptor.digest}"
        headers = dict(_OCTETS) if body else {"Content-Length": "0"}
        response = self._host.send("PUT", url, self._scopes, headers, body)
        self._check_size(response, body.size if body else None)
        check_status(response, 201, 202, 204, what=self._what)
        response.close()
        self._location = ""

    def _check_size(self, response: Response, size: int | None) -> None:
        """Makes smaller pieces of everything that follows, once a request was too large for something on the way."""
        if response.status != 413 or not size or size <= _SMALLEST_CHUNK:
            return
        response.close()
        self.lose()
        self._host.largest_request = min(CHUNK, max(_SMALLEST_CHUNK, size // 2))
        raise TooLarge(f"{self._what}: something on the way refuses requests of {size} bytes", delay=0.0)

    def cancel(self) -> None:
        """Forgets the session, if the registry lets us."""
        if not self._location:
            return
        location, self._location = self._location, ""
        try:
            self._host.send("DELETE", location, self._scopes).close()
        except ImgmoveError:
            # The registry forgets abandoned sessions by itself.
            return

    def lose(self) -> None:
        """The session can't be used any more."""
        self._location = ""
        self.offset = 0


class TooLarge(ServerError):
    """A request was too large; smaller ones may pass."""


class _Upload:
    """What all ways to upload share: how it ends."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._is_done = False

    def commit(self, descriptor: Descriptor) -> None:
        """Completes the upload, unless that is done."""
        if not self._is_done:
            self._session.put(descriptor)
            self._is_done = True

    def abort(self) -> None:
        """Cancels what was not completed."""
        if not self._is_done:
            self._session.cancel()


class BlobUpload(_Upload):
    """A blob whose digest is known and whose source can be read again: POST and one PUT, as a rule."""

    def __init__(self, host: RegistryHost, session: Session, descriptor: Descriptor) -> None:
        super().__init__(session)
        self._host = host
        self._descriptor = descriptor
        self._is_broken = False
        self._asked = -1

    def resume(self) -> int:
        """How much the registry has. A session that it forgot, or that stands still, is begun anew."""
        if not self._session.is_open:
            self._session.begin()
        elif self._is_broken:
            held = self._session.ask()
            # ECR's answer can stick at the first piece: the same place twice is no progress to build on.
            if held is None or held == self._asked or held > self._descriptor.size:
                self._session.cancel()
                self._session.begin()
                held = 0
            self._asked = held or -1
            self._session.offset = held
        self._is_broken = True
        return self._session.offset

    def write(self, reader: Reader) -> None:
        """Sends everything that is left."""
        left = self._descriptor.size - self._session.offset
        if self._host.largest_request is not None and left > self._host.largest_request:
            self._in_chunks(reader)
        elif self._session.offset:
            self._session.patch(Body(reader, left))
        else:
            self._session.put(self._descriptor, Body(reader, left))
            self._is_done = True

    def _in_chunks(self, reader: Reader) -> None:
        while chunk := read_chunk(reader, self._session.chunk):
            self._session.patch(Body(BytesReader(chunk), len(chunk)))


class StreamedUpload(_Upload):
    """A blob that is made while it is sent: POST, one PATCH of unknown length, PUT.

    Args:
        is_piped: the content can't be made a second time.
    """

    def __init__(self, session: Session, *, is_piped: bool = False) -> None:
        super().__init__(session)
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
        """Sends everything."""
        self._session.patch(Body(reader))


class PipedUpload(_Upload):
    """A blob that can't be read again: sent in pieces, each kept until the registry has it."""

    def __init__(self, host: RegistryHost, session: Session) -> None:
        super().__init__(session)
        self._host = host
        self._taken = 0
        self._unsent = b""
        self._unsent_from = 0
        self._is_broken = False

    def resume(self) -> int:
        """Goes on after all that was taken from the reader; what did not arrive is sent again.

        Raises:
            ServerRefused: the registry has lost what came before.
        """
        if not self._session.is_open:
            self._restart()
        elif self._is_broken:
            held = self._session.ask()
            if held is None or not self._unsent_from <= held <= self._unsent_from + len(self._unsent):
                self._restart()
            else:
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
            raise ServerRefused(
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
