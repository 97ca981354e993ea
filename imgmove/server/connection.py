"""One client's connection: its requests one after another, their limits, and how answers are sent."""

from __future__ import annotations

import io
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol
from urllib.parse import unquote

from imgmove.errors import ImgmoveError, Truncated
from imgmove.model.number import read_decimal
from imgmove.server.body import BLOCK, ChunkedBody, KnownBody
from imgmove.server.exchange import Exchange, Handler, Hangup, Refusal, Request, Response

_MOST_DISCARDED = 1 << 20
_LINGER_SECONDS = 2.0
_TLS_HANDSHAKE = b"\x16"


class AccessLog(Protocol):
    """Hears of every request just before the last bytes of its answer go out; must be quick and must not raise."""

    def __call__(self, exchange: Exchange, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may cost.

    Attributes:
        connections: served at once; further ones wait in the system's queue.
        idle_seconds: that a connection may be between requests while others wait for its place.
        head_seconds: within which the next request's head must be here; idle connections end after it.
        stall_seconds: without a byte moving in a body, either way, before the connection ends.
    """

    connections: int = 512
    idle_seconds: float = 2.0
    head_seconds: float = 75.0
    stall_seconds: float = 60.0


class ConnectionOwner(Protocol):
    """What a connection needs of its server."""

    handler: Handler
    log: AccessLog
    tls: ssl.SSLContext | None
    limits: Limits
    is_stopping: bool

    def opened(self, connection: Connection) -> None:
        """Notes a connection, so that it can be cut."""
        ...

    def closed(self, connection: Connection) -> None:
        """Forgets a connection."""
        ...


class _TimedInput(io.RawIOBase):
    """What comes from the client, within a deadline for heads and a stall limit for bodies."""

    def __init__(self, connection: socket.socket, stall_seconds: float) -> None:
        self._connection = connection
        self._stall_seconds = stall_seconds
        self.deadline: float | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        seconds = self._stall_seconds
        if self.deadline is not None:
            seconds = self.deadline - time.monotonic()
            if seconds <= 0:
                raise TimeoutError
        self._connection.settimeout(seconds)
        return self._connection.recv_into(buffer)


class Connection(BaseHTTPRequestHandler):
    """One client's connection: its requests, one after another."""

    protocol_version = "HTTP/1.1"
    server: ConnectionOwner  # type: ignore[assignment] # all that a connection needs of it
    connection: socket.socket
    rfile: io.BufferedReader

    def setup(self) -> None:
        self.is_busy = False
        self._started = time.monotonic()
        self.connection = self.request
        self.server.opened(self)

    def finish(self) -> None:
        self.server.closed(self)
        if self.connection is not self.request:
            self.connection.close()

    def handle(self) -> None:
        limits = self.server.limits
        try:
            self.connection.settimeout(limits.head_seconds)
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.server.tls:
                # Here and not where connections are accepted, lest one slow handshake hold up all.
                self.connection = self.server.tls.wrap_socket(
                    self.request, server_side=True, do_handshake_on_connect=False
                )
                self.connection.do_handshake()
            self._input = _TimedInput(self.connection, limits.stall_seconds)
            self.rfile = io.BufferedReader(self._input, BLOCK)
            super().handle()
        except (OSError, Hangup):
            # The client went away, stalled, or was to be left; whatever it sent was given up where it was read.
            self.close_connection = True

    @property
    def idle_seconds(self) -> float:
        """How long it has been without the whole first line of a request."""
        return 0.0 if self.is_busy else time.monotonic() - self._started

    def cut(self) -> None:
        """Ends the connection from another thread."""
        with suppress(OSError):  # it may have ended by itself
            self.connection.shutdown(socket.SHUT_RDWR)

    def handle_one_request(self) -> None:
        self._started = time.monotonic()
        self._input.deadline = self._started + self.server.limits.head_seconds
        self.command, self.path, self.is_busy = "", "", False
        if self.server.is_stopping:
            self.close_connection = True
            return
        if self.rfile.peek(1)[:1] == _TLS_HANDSHAKE:
            # A client that tries TLS first would wait for ever for what is no line; docker then falls back to HTTP.
            self.connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            self.close_connection = True
            return
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline:
            self.close_connection = True
            return
        self.is_busy = True
        self._started = time.monotonic()
        if len(self.raw_requestline) > 65536:
            self.request_version = ""
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
        elif self.parse_request():
            self._input.deadline = None
            self._answer()

    def handle_expect_100(self) -> bool:
        # The go-ahead waits until somebody reads: a refused upload is refused before it is sent.
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - as in the library
        """What the library says of requests that it can't parse, in the registry's own form."""
        self.close_connection = True
        reason = message or HTTPStatus(code).phrase
        refusal = Refusal(code, "UNSUPPORTED", reason)
        self._send(refusal.response(), KnownBody(self.rfile, 0, _nothing))

    def _answer(self) -> None:
        try:
            body = self._body()
        except Refusal as refusal:
            self.close_connection = True
            self._send(refusal.response(), KnownBody(self.rfile, 0, _nothing))
            return
        try:
            response = self.server.handler(self._request(body))
        except Refusal as refusal:
            response = refusal.response()
        except Truncated:
            self._record(0, body, 0)
            raise Hangup from None
        except Hangup:
            self._record(0, body, 0)
            raise
        except ImgmoveError as error:
            response = Refusal(500, "UNKNOWN", error.message).response()
        self._settle(body)
        self._send(response, body)
        if self.close_connection and not body.is_finished:
            self._linger()

    def _request(self, body: KnownBody | ChunkedBody) -> Request:
        path, _, query = self.path.partition("?")
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            key = name.lower()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        return Request(
            method=self.command,
            path=unquote(path),
            query=query,
            headers=headers,
            body=body,
            client=str(self.client_address[0]),
            is_secure=self.server.tls is not None,
        )

    def _body(self) -> KnownBody | ChunkedBody:
        go_ahead = self._go_ahead if self.headers.get("Expect", "").lower() == "100-continue" else _nothing
        sizes = self.headers.get_all("Content-Length", [])
        coding = ",".join(self.headers.get_all("Transfer-Encoding", []))
        if self.headers.defects:
            # What lies behind a line that is no header is left out here, and may be read by another server on the way.
            raise Refusal(400, "UNSUPPORTED", "the headers can't be read")
        if coding:
            if sizes:
                # Two lengths for one body is how requests are smuggled past a proxy (RFC 9112, 6.3).
                raise Refusal(400, "UNSUPPORTED", "Content-Length beside Transfer-Encoding")
            if coding.strip().lower() != "chunked":
                raise Refusal(501, "UNSUPPORTED", f"transfer coding {coding!r:.40} is not known")
            return ChunkedBody(self.rfile, go_ahead)
        size = read_decimal(sizes[0].strip()) if len(sizes) == 1 else None if sizes else 0
        if size is None:
            raise Refusal(400, "SIZE_INVALID", "Content-Length is not one number")
        return KnownBody(self.rfile, size, go_ahead)

    def _go_ahead(self) -> None:
        self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _settle(self, body: KnownBody | ChunkedBody) -> None:
        """Decides whether the connection can serve another request after a body that nobody read to its end."""
        awaits = self.headers.get("Expect", "").lower() == "100-continue" and not body.received
        if body.is_finished:
            return
        if awaits or body.size is None or body.size - body.received > _MOST_DISCARDED:
            self.close_connection = True
            return
        try:
            while body.read(BLOCK):
                pass
        except Truncated:
            raise Hangup from None

    def _send(self, response: Response, body: KnownBody | ChunkedBody) -> None:
        """Sends the answer; the log hears of it before the last bytes go, so that a client finds its own entry."""
        if response.size is None or self.server.is_stopping:
            self.close_connection = True
        self.connection.settimeout(self.server.limits.stall_seconds)
        pending, sent = self._head(response), 0
        try:
            for block in self._blocks(response):
                sent += len(block)
                pending += block
                if sent != response.size:
                    self.connection.sendall(pending)
                    pending = b""
        except (ImgmoveError, Hangup):
            self._record(response.status, body, sent)
            self.connection.sendall(pending)
            raise Hangup from None
        if response.size not in (sent, None) and sent:
            self.close_connection = True
        self._record(response.status, body, sent)
        self.connection.sendall(pending)

    def _blocks(self, response: Response) -> Iterator[bytes]:
        reader = response.body
        if reader is None:
            return
        try:
            if self.command != "HEAD" and response.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
                while block := reader.read(BLOCK):
                    yield block
        finally:
            reader.close()

    def _head(self, response: Response) -> bytes:
        try:
            reason = HTTPStatus(response.status).phrase
        except ValueError:
            reason = "Unknown"
        headers = {"Date": self.date_time_string(), **response.headers}
        if response.size is not None and response.status != HTTPStatus.NO_CONTENT:
            headers.setdefault("Content-Length", str(response.size))
        if self.close_connection:
            headers["Connection"] = "close"
        lines = [f"HTTP/1.1 {response.status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
        # What a client sent may come back in a header; it must not become a header of its own.
        lines = [line.replace("\r", " ").replace("\n", " ") for line in lines]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def _record(self, status: int, body: KnownBody | ChunkedBody, sent: int) -> None:
        path, _, query = self.path.partition("?")
        self.server.log(
            Exchange(
                client=str(self.client_address[0]),
                method=self.command,
                path=unquote(path),
                query=query,
                status=status,
                received=body.received,
                sent=sent,
                seconds=time.monotonic() - self._started,
            )
        )

    def _linger(self) -> None:
        """Reads on for a moment, because closing with unread bytes resets the connection and loses the answer."""
        self.is_busy, self._started = False, time.monotonic()
        self._input.deadline = self._started + _LINGER_SECONDS
        self.connection.shutdown(socket.SHUT_WR)
        while self.rfile.read1(BLOCK):
            pass


def _nothing() -> None:
    """What a body does at its first read when nobody waits for a go-ahead."""
