"""Connections that are kept open between requests: each is used by one thread at a time, and by any of them.

requests promises no thread safety, so a lane is a session of its own with one connection. Who needs one takes the
lane that was free last, whose connection is most likely still open.
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from imgmove.errors import NetworkError

if TYPE_CHECKING:
    import requests

Key = tuple[str, str, object]
"""Scheme, ``HOST[:PORT]`` and the TLS context of the server that a lane leads to."""


class Lane:
    """One session, for one request at a time.

    Attributes:
        is_fresh: no request has been answered on it yet.
    """

    def __init__(self, key: Key, session: requests.Session) -> None:
        self.key = key
        self.session = session
        self.is_fresh = True


class Lanes:
    """All lanes of one client."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: dict[Key, list[Lane]] = {}
        self._all: set[Lane] = set()
        self._is_closed = False

    def take(self, key: Key) -> Lane:
        """A lane to a server, new if none is free.

        Raises:
            NetworkError: the client is closed.
        """
        with self._lock:
            if self._is_closed:
                raise NetworkError("the command has ended")
            if free := self._free.get(key):
                return free.pop()
        lane = Lane(key, _new_session(key[2]))
        with self._lock:
            self._all.add(lane)
        return lane

    def give_back(self, lane: Lane) -> None:
        """Lets the next one have it."""
        lane.is_fresh = False
        with self._lock:
            if not self._is_closed:
                self._free.setdefault(lane.key, []).append(lane)

    def drop(self, lane: Lane) -> None:
        """Closes a lane on which something went wrong."""
        with self._lock:
            self._all.discard(lane)
        lane.session.close()

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
        for lane in lanes:
            lane.session.close()


def _new_session(context: object) -> requests.Session:
    from http.cookiejar import DefaultCookiePolicy

    import requests

    session = requests.Session()
    session.trust_env = False
    session.headers.clear()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = _adapter_class()(context)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


@functools.cache
def _adapter_class() -> Any:
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        """Connections with our own TLS context, onto which requests would otherwise load its bundle of authorities."""

        def __init__(self, context: object) -> None:
            self._context = context
            super().__init__(pool_connections=1, pool_maxsize=1)

        def cert_verify(self, conn: object, url: object, verify: object, cert: object) -> None:
            """Leaves certificates to the context."""

        def build_connection_pool_key_attributes(self, request: Any, *_: object) -> Any:
            parts = urlsplit(request.url)
            host = {"scheme": parts.scheme, "host": parts.hostname, "port": parts.port}
            return host, {"ssl_context": self._context} if parts.scheme == "https" else {}

    return Adapter
