"""The plainest client, so that tests see what the server really sends."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from typing import Any, Protocol
from urllib.parse import quote

from imgmove.model.digest import Digest


class Server(Protocol):
    """Anything that listens."""

    @property
    def host(self) -> str: ...


@dataclass(frozen=True)
class Answer:
    """One response, read to its end."""

    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the error document."""
        return str(self.document["errors"][0]["code"])


def call(
    server: Server,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request on a connection of its own; a body in parts is sent in chunks."""
    connection = HTTPConnection(server.host, timeout=20)
    try:
        is_chunked = body is not None and not isinstance(body, bytes)
        connection.request(method, path, body, dict(headers or {}), encode_chunked=is_chunked)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def begin_upload(server: Server, repository: str = "team/app", query: str = "") -> str:
    """The location of a fresh upload."""
    answer = call(server, "POST", f"/v2/{repository}/blobs/uploads/{query}")
    assert answer.status == 202, answer.body
    return answer.headers["Location"]


def finish_upload(server: Server, location: str, digest: Digest, body: bytes = b"") -> Answer:
    """The PUT that ends an upload."""
    joint = "&" if "?" in location else "?"
    return call(server, "PUT", f"{location}{joint}digest={quote(str(digest))}", body)
