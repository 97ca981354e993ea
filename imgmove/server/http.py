"""The HTTP server under the registry: listening, threads, and the end of it all.

It is the standard library's, because it measured best for what a registry does (see README, architecture): bodies
stream both ways without a copy of the whole, and the blocking readers of the ports need no hop between an event
loop and threads. What it lacks for duty in the open is added here: chunked bodies, limits, deadlines, a clean stop.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import socketserver
import ssl
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from imgmove.errors import ImgmoveError, LocalError
from imgmove.server.connection import AccessLog, Connection, Limits
from imgmove.server.exchange import Exchange, Handler

_STOP_POLL_SECONDS = 0.05
_NOBODY = ""


@dataclass(frozen=True, slots=True)
class Listener:
    """Where and how to listen.

    Attributes:
        port: 0 takes a free one.
        tls: serves HTTPS with it; None serves plain HTTP.
    """

    host: str = "127.0.0.1"
    port: int = 0
    tls: ssl.SSLContext | None = None
    limits: Limits = field(default_factory=Limits)


class HttpServer:
    """Serves a handler from its own threads, until stopped."""

    def __init__(self, handler: Handler, listener: Listener | None = None, log: AccessLog | None = None) -> None:
        """Binds the address, so that the port is known; nothing is answered before `start`.

        Raises:
            LocalError: the address can't be had.
        """
        self.listener = listener or Listener()
        try:
            self._server = _Server(handler, self.listener, log or _no_log)
        except OSError as error:
            where = f"{self.listener.host}:{self.listener.port}"
            hint = "port 0 takes a free one" if error.errno == errno.EADDRINUSE else ""
            raise LocalError(f"can't listen on {where}: {error.strerror or error}", hint=hint) from None
        self._thread: threading.Thread | None = None
        self._is_serving = False

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    @property
    def host(self) -> str:
        """``HOST:PORT``, as it stands in references."""
        name = self.listener.host
        return f"[{name}]:{self.port}" if ":" in name else f"{name}:{self.port}"

    def start(self) -> Self:
        """Begins to answer, in the background."""
        self._is_serving = True
        self._thread = threading.Thread(target=self.serve, name="imgmove-serve", daemon=True)
        self._thread.start()
        return self

    def serve(self) -> None:
        """Answers in this thread until another one calls `stop`."""
        self._is_serving = True
        self._server.serve_forever(_STOP_POLL_SECONDS)

    def stop(self, patience: float = 5.0) -> None:
        """Takes no more requests, lets running ones end for ``patience`` seconds, then cuts them; safe twice."""
        if self._is_serving:
            self._is_serving = False
            self._server.shutdown()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._server.server_close()
        self._server.end_connections(patience)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _no_log(exchange: Exchange, /) -> None:
    """The log of a server that keeps none."""


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, handler: Handler, listener: Listener, log: AccessLog) -> None:
        if ":" in listener.host:
            self.address_family = socket.AF_INET6
        self.handler = handler
        self.log = log
        self.tls = listener.tls
        self.limits = listener.limits
        self.is_stopping = False
        self._free = threading.BoundedSemaphore(listener.limits.connections)
        self._connections: set[Connection] = set()
        self._changed = threading.Condition()
        super().__init__((listener.host, listener.port), Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        while not self._free.acquire(timeout=_STOP_POLL_SECONDS):
            if self.is_stopping:
                self.shutdown_request(request)
                return
            self._make_room()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def _make_room(self) -> None:
        """Ends the connection that has been idle longest: whoever opens many and says nothing keeps nobody out."""
        with self._changed:
            idlest = max(self._connections, key=lambda connection: connection.idle_seconds, default=None)
            if idlest and idlest.idle_seconds > self.limits.idle_seconds:
                idlest.cut()

    def shutdown(self) -> None:
        self.is_stopping = True
        super().shutdown()

    def opened(self, connection: Connection) -> None:
        with self._changed:
            self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        with self._changed:
            self._connections.discard(connection)
            self._changed.notify_all()

    def end_connections(self, patience: float) -> None:
        self.is_stopping = True
        with self._changed:
            for connection in self._connections:
                if not connection.is_busy:
                    connection.cut()
            if not self._changed.wait_for(lambda: not self._connections, patience):
                for connection in self._connections:
                    connection.cut()
                self._changed.wait_for(lambda: not self._connections, patience)


class StreamServer:
    """Answers on connections that somebody else accepted, each in a thread of its own, until stopped."""

    tls = None

    def __init__(self, handler: Handler, limits: Limits | None = None, log: AccessLog | None = None) -> None:
        self.handler = handler
        self.limits = limits or Limits()
        self.log = log or _no_log
        self.is_stopping = False
        self._connections: set[Connection] = set()
        self._lock = threading.Lock()

    def take(self, stream: Any) -> None:
        """Answers what comes on a socket, or on a stream with a socket's words, and closes it."""
        threading.Thread(target=self._serve, args=(stream,), name="imgmove-serve", daemon=True).start()

    def stop(self) -> None:
        """Cuts all connections; safe to call twice."""
        self.is_stopping = True
        with self._lock:
            for connection in self._connections:
                connection.cut()

    def opened(self, connection: Connection) -> None:
        """Notes a connection, so that it can be cut."""
        with self._lock:
            self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        """Forgets a connection."""
        with self._lock:
            self._connections.discard(connection)

    def _serve(self, stream: Any) -> None:
        # The other side may break a connection at any moment, which is its own affair.
        with contextlib.suppress(ImgmoveError), contextlib.closing(stream):
            Connection(stream, (_NOBODY, 0), self)  # type: ignore[arg-type] # only its words are needed
