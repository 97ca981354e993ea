"""Requests and responses as plain values, so that what the registry says is written without HTTP machinery."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qs

from imgmove.ports import Reader


class Body(Reader, Protocol):
    """The body of a request, read while it arrives.

    Attributes:
        size: bytes that the client announced; None when it sends chunks.
        is_finished: whether everything was read.
    """

    @property
    def size(self) -> int | None: ...

    @property
    def is_finished(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        path: decoded, without the query.
        query: as it was sent, without the question mark.
        headers: by lower-case name; repeated ones joined with commas.
        client: the other side's address, for logs.
        is_secure: whether it came over TLS.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: Body
    client: str = ""
    is_secure: bool = False

    def parameters(self, name: str) -> Sequence[str]:
        """All values of a query parameter."""
        return parse_qs(self.query, keep_blank_values=True).get(name, [])

    def parameter(self, name: str) -> str | None:
        """The first value of a query parameter; None without one."""
        return next(iter(self.parameters(name)), None)


@dataclass(frozen=True, slots=True)
class Response:
    """One answer.

    Attributes:
        size: of the body in bytes; None when only its end will tell. For HEAD the body is not sent, its size is.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Reader | None = None
    size: int | None = 0

    @classmethod
    def of(cls, status: int, content: bytes = b"", headers: Mapping[str, str] | None = None) -> Response:
        """A response whose body is at hand."""
        return cls(status, headers or {}, io.BytesIO(content), len(content))

    @classmethod
    def json(cls, status: int, document: object, headers: Mapping[str, str] | None = None) -> Response:
        """A response with a JSON document; ``headers`` may say a more precise ``Content-Type``."""
        content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        return cls.of(status, content, {"Content-Type": "application/json"} | dict(headers or {}))


Handler = Callable[[Request], Response]
"""What answers requests. Wrapping one in another adds authentication, limits, or a test's mischief."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the access log tells about one request and its response.

    Attributes:
        status: 0 when the connection ended before there was an answer.
        received: bytes of the request's body.
        sent: bytes of the response's body.
    """

    client: str
    method: str
    path: str
    query: str
    status: int
    received: int
    sent: int
    seconds: float


class Refusal(Exception):
    """An answer that says no, with one of the distribution spec's error codes. Never leaves this room."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}

    def response(self) -> Response:
        """The spec's error document (*Error Codes*)."""
        errors = [{"code": self.code, "message": self.message}]
        return Response.json(self.status, {"errors": errors}, self.headers)


class Hangup(Exception):
    """Ends the connection at once, without an answer or in the midst of one."""
