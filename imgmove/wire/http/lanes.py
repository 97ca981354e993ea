"""Connections that are kept open between requests: each is used by one thread at a time, and by any of them.

requests promises no thread safety, so a lane is an adapter of its own with one connection. Who needs one takes the
lane that was free last, whose connection is most likely still open.

A session of requests' own would stand above its adapter to add cookies, credentials, proxies and headers that nobody
asked for, and would cost as much time as all else about a request.

Where a server may have only so many connections, who comes when all are in use waits for one to be given back. Nobody
waits for ever: threads that each hold one connection and want another of the same server would never wake up.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from imgmove.errors import NetworkError
from imgmove.wire.http import dialed, patient
from imgmove.wire.http.dialed import Dial

if TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter

Key = tuple[str, str, object]
"""Scheme, ``HOST[:PORT]`` and the TLS context of the server that a lane leads to."""


class Lane:
    """One connection, for one request at a time.

    Attributes:
        is_fresh: no request has been answered on it yet.
    """

    def __init__(self, key: Key, stall: float, dial: Dial | None = None) -> None:
        self.key = key
        self.is_fresh = True
        self._adapter: HTTPAdapter = _adapter_class()(key[2], stall, dial)

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None,
        *,
        proxy: str | None,
        timeout: tuple[float, float],
    ) -> requests.Response:
        """Sends a request as it stands, and returns the answer with its body still to be read.

        Args:
            body: needs its length among the headers, or is sent in chunks.
            timeout: seconds for the connection, and for each wait for an answer.

        Raises:
            requests.RequestException: it could not be sent or was not answered.
        """
        from requests import PreparedRequest
        from requests.cookies import RequestsCookieJar
        from requests.structures import CaseInsensitiveDict
        from requests.utils import requote_uri

        request = PreparedRequest()
        request.method, request.url = method, requote_uri(url)
        request.headers = CaseInsensitiveDict(headers)
        request.body = body  # type: ignore[assignment]
        request._cookies = RequestsCookieJar()  # type: ignore[attr-defined]  # noqa: SLF001 - send looks at it
        proxies = {"http": proxy, "https": proxy} if proxy else None
        return self._adapter.send(request, stream=True, timeout=timeout, proxies=proxies)

    def close(self) -> None:
        """Closes the connection."""
        self._adapter.close()


class Lanes:
    """All lanes of one client.

    Args:
        most_for: how many lanes may lead to ``HOST[:PORT]``; None for any number.
        patience: seconds to wait for a lane to be given back.
        stall: seconds without progress after which sending fails.
        dial: makes the connections; None for the system's sockets.
    """

    def __init__(
        self,
        most_for: Callable[[str], int | None] = lambda _: None,
        patience: float = 600.0,
        stall: float = 60.0,
        dial: Dial | None = None,
    ) -> None:
        self._dial = dial
        self._stall = stall
        self._most_for = most_for
        self._patience = patience
        self._lock = threading.Lock()
        self._waiting: dict[Key, threading.Condition] = {}
        self._free: dict[Key, list[Lane]] = {}
        self._all: set[Lane] = set()
        self._counts: Counter[str] = Counter()
        self._is_closed = False

    def take(self, key: Key) -> Lane:
        """A lane to a server, new if none is free and there may be one more.

        Raises:
            NetworkError: the client is closed, or all lanes were in use for too long.
        """
        most = self._most_for(key[1])
        end = time.monotonic() + self._patience
        with self._lock:
            while True:
                if self._is_closed:
                    raise NetworkError("the command has ended")
                if free := self._free.get(key):
                    return free.pop()
                if most is None or self._counts[key[1]] < most:
                    break
                # Each server's own: waking all who wait, of whom one can go on, took a tenth of a busy pass.
                waiting = self._waiting.setdefault(key, threading.Condition(self._lock))
                if not waiting.wait(end - time.monotonic()):
                    raise NetworkError(f"all {most} connections to {key[1]} were busy for {self._patience:.0f} s")
            self._counts[key[1]] += 1
        try:
            lane = Lane(key, self._stall, self._dial)
        except BaseException:
            with self._lock:
                self._counts[key[1]] -= 1
                self._wake_all()
            raise
        with self._lock:
            self._all.add(lane)
        return lane

    def give_back(self, lane: Lane) -> None:
        """Lets the next one have it."""
        lane.is_fresh = False
        with self._lock:
            if not self._is_closed:
                self._free.setdefault(lane.key, []).append(lane)
                if (waiting := self._waiting.get(lane.key)) is not None:
                    waiting.notify()

    def drop(self, lane: Lane) -> None:
        """Closes a lane on which something went wrong."""
        with self._lock:
            if lane in self._all:
                self._all.discard(lane)
                self._counts[lane.key[1]] -= 1
                self._wake_all()
        lane.close()

    def forget_free(self, key: Key) -> None:
        """Closes the lanes to a server that nobody uses: one that closed a connection has closed others too."""
        with self._lock:
            idle = self._free.pop(key, [])
        for lane in idle:
            self.drop(lane)

    def close(self) -> None:
        """Closes all connections."""
        with self._lock:
            self._is_closed = True
            lanes, self._all, self._free = list(self._all), set(), {}
            self._wake_all()
        for lane in lanes:
            lane.close()

    def _wake_all(self) -> None:
        for waiting in self._waiting.values():
            waiting.notify_all()


@functools.cache
def _adapter_class() -> Any:
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        """Connections with our own TLS context, onto which requests would otherwise load its bundle of authorities."""

        def __init__(self, context: object, stall: float, dial: Dial | None) -> None:
            self._context = context
            self._pools = patient.pool_classes(stall) if dial is None else dialed.pool_classes(dial)
            self._pool: Any = None
            super().__init__(pool_connections=1, pool_maxsize=1)

        def init_poolmanager(self, *words: Any, **options: Any) -> None:
            super().init_poolmanager(*words, **options)
            self.poolmanager.pool_classes_by_scheme = self._pools

        def proxy_manager_for(self, *words: Any, **options: Any) -> Any:
            manager = super().proxy_manager_for(*words, **options)
            manager.pool_classes_by_scheme = self._pools
            return manager

        def get_connection_with_tls_context(self, request: Any, *arguments: Any, **named: Any) -> Any:
            """Finds the way to the server once: all requests of a lane go to the same."""
            if self._pool is None:
                self._pool = super().get_connection_with_tls_context(request, *arguments, **named)
            return self._pool

        def cert_verify(self, conn: object, url: object, verify: object, cert: object) -> None:
            """Leaves certificates to the context."""

        def build_connection_pool_key_attributes(self, request: Any, *_: object) -> Any:
            parts = urlsplit(request.url)
            host = {"scheme": parts.scheme, "host": parts.hostname, "port": parts.port}
            return host, {"ssl_context": self._context} if parts.scheme == "https" else {}

    return Adapter
