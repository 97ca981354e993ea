"""One file over HTTP, from its first byte to its last, over as many connections as it takes."""

from __future__ import annotations

import re

from imgmove.errors import NetworkError, ServerRefused
from imgmove.wire.http.client import HttpClient, Response
from imgmove.wire.http.errors import check_status, shown

_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(?:\d{1,18}|\*)")
_MOST_SKIPPED_AT_ONCE = 256 << 10


class Download:
    """A file as a `Reader`: when a connection breaks, that read raises, and the next one goes on where it broke.

    Attributes:
        url: the address as it may be shown, without a query or password.
        position: how many bytes were read.
        media_type: what the server says that it is; known after the first read.
    """

    def __init__(self, client: HttpClient, url: str) -> None:
        self._client = client
        self._asked = url
        self._response: Response | None = None
        self._version: tuple[str, ...] | None = None
        self._is_whole = False
        self.url = shown(url)
        self.position = 0
        self.media_type = ""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes.

        Raises:
            NetworkError: the connection broke; reading once more is worth a try.
            NotFound, AccessDenied, ServerRefused: the server doesn't give it, or gives another one by now.
        """
        if self._is_whole:
            return b""
        if self._response is None:
            self._response = self._opened()
        try:
            data = self._response.read(size)
        except NetworkError:
            self.close()
            raise
        self.position += len(data)
        self._is_whole = not data and size != 0
        return data

    def close(self) -> None:
        """Gives the connection back."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def _opened(self) -> Response:
        headers = {"Range": f"bytes={self.position}-"} if self.position else {}
        response = self._client.request("GET", self._asked, headers)
        check_status(response, 200, *((206,) if self.position else ()), what=f"downloading {self.url}")
        version = tuple(response.headers.get(name, "") for name in ("etag", "last-modified"))
        known, self._version = self._version or version, version
        if known != version:
            response.close()
            raise ServerRefused(f"{self.url} became another file while it was read")
        if response.status == 206:
            found = _RANGE.fullmatch(response.headers.get("content-range", ""))
            if found is None or int(found.group(1)) != self.position:
                response.close()
                raise ServerRefused(f"{self.url}: the server gives other bytes than those that were asked for")
        else:
            self.media_type = response.headers.get("content-type", "").partition(";")[0]
            self._skip(response)
        return response

    def _skip(self, response: Response) -> None:
        """Passes over what was read before, at a server that begins anew each time."""
        left = self.position
        while left and (data := response.read(min(left, _MOST_SKIPPED_AT_ONCE))):
            left -= len(data)
        if left:
            response.close()
            raise ServerRefused(f"{self.url} became another file while it was read")
