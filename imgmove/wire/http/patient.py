"""Connections on which a body may take as long as it needs, while it gets on.

A socket's timeout counts for the whole of what it is given to send. On a slow line that many uploads share, a block
takes longer than anybody should wait for a server that stands still; so blocks are sent piece by piece here, as far as
the system takes them, and only a time without any progress counts.
"""

from __future__ import annotations

import functools
import socket
from typing import Any

_AT_ONCE = 64 << 10
_UNSENT = 128 << 10
"""Bytes that may wait in the system for their turn on the line. Without this limit they would be megabytes, and a slow
line would take minutes before the system takes any more (tcp(7), TCP_NOTSENT_LOWAT)."""


@functools.cache
def pool_classes(stall: float) -> dict[str, Any]:
    """urllib3's pools by scheme, with such connections.

    Args:
        stall: seconds without progress after which sending fails.
    """
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class Patient(HTTPConnection):
        """What both kinds share."""

        def connect(self) -> None:
            """Connects; only that is as impatient as urllib3 was told to be."""
            super().connect()
            self.sock.settimeout(stall)
            if (option := getattr(socket, "TCP_NOTSENT_LOWAT", None)) is not None:
                self.sock.setsockopt(socket.IPPROTO_TCP, option, _UNSENT)

        def send(self, data: Any) -> None:
            """Sends all of it."""
            if self.sock is None or not isinstance(data, bytes) or len(data) <= _AT_ONCE:
                super().send(data)
                return
            # TLS takes what it is given as a whole, so it is not given more than a piece.
            left = memoryview(data)
            while left:
                left = left[self.sock.send(left[:_AT_ONCE] if self.is_secret else left) :]

        is_secret = False

    class PatientSecret(Patient, HTTPSConnection):
        """Over TLS."""

        is_secret = True

    class Plain(HTTPConnectionPool):
        ConnectionCls = Patient

    class Secret(HTTPSConnectionPool):
        ConnectionCls = PatientSecret

    return {"http": Plain, "https": Secret}
