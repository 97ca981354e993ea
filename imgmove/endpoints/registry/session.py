"""One upload at a registry: requests to a place that changes with every answer (distribution spec, *Pushing Blobs*)."""

from __future__ import annotations

import re

from imgmove.endpoints.registry.host import RegistryHost
from imgmove.errors import ImgmoveError, NetworkError, ServerError, ServerRefused
from imgmove.model.descriptor import Descriptor
from imgmove.model.number import read_decimal
from imgmove.wire.auth import Scope
from imgmove.wire.http import Body, Response, check_status, error_of

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
        if least := read_decimal(response.headers.get("oci-chunk-min-length")):
            self._least_chunk = min(least, _LARGEST_CHUNK)

    def ask(self) -> int | None:
        """How many bytes the registry has; None when it has forgotten the session or does not say."""
        if not self._location:
            return None
        try:
            response = self._host.send("GET", self._location, self._scopes)
        except ServerRefused:
            return None
        if response.status in (408, 429) or response.status >= 500:
            check_status(response, 204, what=self._what)
        response.close()
        if response.status not in (200, 202, 204):
            self.lose()
            return None
        match = re.fullmatch(r"(?:bytes=)?0-(\d{1,18})", response.headers.get("range", ""))
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
        self._check(response, body.size)
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
        self._check(response, body.size if body else 0)
        check_status(response, 201, 202, 204, what=self._what)
        response.close()
        self._location = ""

    def _check(self, response: Response, size: int | None) -> None:
        """Tells what another try may change.

        Raises:
            TooLarge: something on the way refuses requests of this size; all that follow will be smaller.
            UploadLost: the registry has forgotten the upload, or is at another place in it.
        """
        if response.status == 413 and (size is None or size > _SMALLEST_CHUNK):
            response.close()
            self.lose()
            self._host.largest_request = min(CHUNK, max(_SMALLEST_CHUNK, (size or 2 * CHUNK) // 2))
            raise TooLarge(f"{self._what}: something on the way refuses requests of {size or 'that many'} bytes")
        if response.status in (404, 416):
            if response.status == 404:
                self.lose()
            raise UploadLost(error_of(response, self._what).message)

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

    is_lesson = True


class UploadLost(NetworkError):
    """The registry does not know an upload any more, or where it was."""
