"""Ports of other hosts that more connect to than are served."""

from __future__ import annotations

from typing import Any

from imgmove.wire.ssh.listener import RemoteListener


class Caller:
    """Somebody who connected."""

    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


def test_a_crowd_is_sent_away() -> None:
    transport: Any = None
    listener = RemoteListener(transport, 5000, "edge", lambda _: None)
    crowd: Any = [Caller() for _ in range(100)]
    for caller in crowd:
        listener.arrived(caller)
    assert [caller.is_closed for caller in crowd] == [False] * 64 + [True] * 36
