"""A TCP link that counts what goes through it, and breaks when it is told."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable


class CountedLink:
    """Listens on a loopback port and passes everything on to another one.

    Attributes:
        bytes: that went either way.
        cut_after: once so many more bytes went through, ``then`` is called, once; None for never.
        then: cuts all connections, unless it is given something else to do.
        cuts: how often that happened.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.bytes = 0
        self.cut_after: int | None = None
        self.then: Callable[[], object] = self.cut
        self.cuts = 0
        self._sockets: list[socket.socket] = []
        self._frozen: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Ends everything."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Breaks all connections."""
        with self._lock:
            found, self._sockets = self._sockets, []
        for each in found:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def freeze(self) -> None:
        """Lets nothing through any more on the connections that there are, without ending them."""
        with self._lock:
            self._frozen.update(self._sockets)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                with self._lock:
                    self._sockets += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                if one in self._frozen:
                    return
                other.sendall(data)
                if self._is_enough(len(data)):
                    self.then()
        with contextlib.suppress(OSError):
            if one not in self._frozen:
                other.shutdown(socket.SHUT_WR)

    def _is_enough(self, count: int) -> bool:
        with self._lock:
            self.bytes += count
            if self.cut_after is None:
                return False
            self.cut_after -= count
            if self.cut_after > 0:
                return False
            self.cut_after = None
            self.cuts += 1
            return True
