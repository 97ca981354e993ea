"""Ports that the other host listens on for us (remote forwarding)."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from imgmove.wire.ssh.errors import ConnectionBroke
from imgmove.wire.ssh.streams import RemoteStream

if TYPE_CHECKING:
    import paramiko

LOOPBACK = "127.0.0.1"
_TURN = 0.5
_MOST_WAITING = 64


class RemoteListener:
    """A port of the other host's loopback address. A context manager; for many threads.

    Attributes:
        port: the one that the host chose.
    """

    def __init__(self, transport: paramiko.Transport, port: int, name: str, closed: Callable[[int], None]) -> None:
        self.port = port
        self._transport = transport
        self._name = name
        self._on_close = closed
        self._waiting: queue.SimpleQueue[paramiko.Channel] = queue.SimpleQueue()
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def arrived(self, channel: paramiko.Channel) -> None:
        """Somebody connected; a host that sends crowds is not let fill the memory with them."""
        if self._waiting.qsize() < _MOST_WAITING:
            self._waiting.put(channel)
        else:
            channel.close()

    def accept(self, timeout: float) -> RemoteStream | None:
        """The next one who connected; None when nobody did in time.

        Raises:
            NetworkError: nobody can any more, since the connection to the host broke or this was closed.
        """
        end = time.monotonic() + timeout
        while True:
            if self._is_closed or not self._transport.is_active():
                raise ConnectionBroke(f"the connection to {self._name} broke")
            left = end - time.monotonic()
            with contextlib.suppress(queue.Empty):
                # In short turns, as nobody wakes us when the connection breaks.
                return RemoteStream(self._waiting.get(timeout=max(0.0, min(_TURN, left))), self._name)
            if left <= _TURN:
                return None

    def close(self) -> None:
        """Stops listening; what was accepted goes on. Safe to call twice."""
        if self._is_closed:
            return
        self._is_closed = True
        self._on_close(self.port)
        with contextlib.suppress(Exception):
            # paramiko's own way would forget the handler of all other listeners too.
            if self._transport.is_active():
                self._transport.global_request("cancel-tcpip-forward", (LOOPBACK, self.port), wait=True)
