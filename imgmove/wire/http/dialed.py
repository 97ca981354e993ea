"""HTTP over connections that somebody else makes, such as a host that reaches a registry which we don't."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

_KNOWN = frozenset({"host", "port", "timeout", "source_address", "blocksize", "socket_options"})

Dial = Callable[[str, int], Any]
"""Connects to a host and port; what it gives has the methods of a socket."""


def pool_classes(dial: Dial) -> dict[str, Any]:
    """urllib3's pools by scheme, whose connections are made by ``dial``."""
    return {scheme: functools.partial(pool, dial=dial) for scheme, pool in _pool_classes().items()}


@functools.cache
def _pool_classes() -> dict[str, Any]:
    from urllib3.connection import HTTPConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.util.ssltransport import SSLTransport

    class Connection(HTTPConnection):
        """A connection that was dialed."""

        def __init__(self, *words: Any, dial: Dial, ssl_context: Any = None, **options: Any) -> None:
            # What else urllib3 says of TLS is in the context already.
            known = {name: value for name, value in options.items() if name in _KNOWN}
            super().__init__(*words, **known)
            self._dial = dial
            self._context = ssl_context

        def connect(self) -> None:
            """Dials, and speaks TLS with whoever answers where that is wanted."""
            stream = self._dial(self.host, self.port)
            try:
                # TLS inside another connection needs no socket of the system's.
                self.sock = SSLTransport(stream, self._context, self.host) if self._context is not None else stream
            except BaseException:
                stream.close()
                raise
            self.is_verified = self._context is not None

        @property
        def is_connected(self) -> bool:
            """Whether there is a connection; that it was closed meanwhile shows when it is used."""
            return self.sock is not None

    class Plain(HTTPConnectionPool):
        ConnectionCls = Connection

    class Secure(HTTPSConnectionPool):
        ConnectionCls = Connection  # type: ignore[assignment]

        def _validate_conn(self, conn: Any) -> None:
            if conn.sock is None:
                conn.connect()

    return {"http": Plain, "https": Secure}
