"""A TCP proxy that breaks connections on purpose, paces them, and counts what goes through."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

_BLOCK = 16 << 10
_RESET = struct.pack("ii", 1, 0)

Way = Literal["down", "up"]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with each of the first ``count`` connections that carry so much.

    Attributes:
        kind: the connection is closed, reset or stands still; or one bit is flipped and all goes on; or it is closed
            once nothing has come for a moment, as servers do between requests.
        after: bytes of a connection before it happens.
        way: down to the client, or up to the server.
    """

    kind: Literal["close", "reset", "stall", "flip", "idle"]
    after: int = 0
    way: Way = "down"
    count: int = 1 << 30


class FaultProxy:
    """Stands between a client and a server on this machine.

    Attributes:
        down: bytes that were passed on to the client.
        up: bytes that were passed on to the server.
        happened: how many connections had the fault.
    """

    def __init__(self, target: str, fault: Fault | None = None, rate: float = 0.0) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._fault = fault
        self._rate = rate
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._free_at = 0.0
        self._watch: Callable[[], None] = lambda: None
        self.down = self.up = self.happened = 0
        self.host = ""

    def on_bytes(self, watch: Callable[[], None]) -> None:
        """Has something called after every piece that was passed on to the client."""
        self._watch = watch

    def heal(self) -> None:
        """Lets nothing go wrong from now on."""
        self._fault = None

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accepted, "127.0.0.1", 0))
        self.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        self._loop.run_forever()
        server.close()
        # What was accepted last begins, so that it can end.
        self._loop.run_until_complete(asyncio.sleep(0.05))
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        # Transports close a turn after they were told to.
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.close()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
        except (OSError, asyncio.CancelledError):
            writer.close()
            return
        ways: list[asyncio.Future[None]] = []
        # The end of the proxy is no error of a connection's, and a client may be gone before it is served.
        with contextlib.suppress(asyncio.CancelledError, OSError):
            client: socket.socket = writer.get_extra_info("socket")
            # What waits in the system's buffers would count as passed on, though the client may never read it.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BLOCK)
            writer.transport.set_write_buffer_limits(0)
            connection = _Connection(self, writer)
            ways.append(asyncio.ensure_future(connection.carry(reader, there_writer, "up")))
            ways.append(asyncio.ensure_future(connection.carry(there_reader, writer, "down")))
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        writer.close()
        there_writer.close()
        await asyncio.gather(*ways, return_exceptions=True)

    def take_fault(self) -> Fault | None:
        """The fault, when it is to happen once more."""
        fault = self._fault
        if fault is None or self.happened >= fault.count:
            return None
        self.happened += 1
        return fault

    def planned(self, way: Way) -> Fault | None:
        """What will happen to a connection on this way, unless it ends before."""
        fault = self._fault
        return fault if fault is not None and fault.way == way and self.happened < fault.count else None

    async def pace(self, size: int) -> None:
        """Waits until so many bytes may go down."""
        if self._rate:
            now = self._loop.time()
            self._free_at = max(self._free_at, now) + size / self._rate
            await asyncio.sleep(self._free_at - now)

    def passed(self, way: Way, size: int) -> None:
        """Counts."""
        if way == "down":
            self.down += size
            self._watch()
        else:
            self.up += size


class _Connection:
    def __init__(self, proxy: FaultProxy, client: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = client
        self._is_faulty = False
        self._last: Way = "up"

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        """Carries one way until it ends, or until it is time for the fault."""
        passed = 0
        while data := await self._read(reader, way, passed):
            fault = None if self._is_faulty else self._proxy.planned(way)
            if fault is not None and fault.kind != "idle" and passed + len(data) > fault.after:
                before, data = data[: fault.after - passed], data[fault.after - passed :]
                await self._pass(writer, way, before)
                passed += len(before)
                data = await self._disturbed(data)
            self._last = way
            await self._pass(writer, way, data)
            passed += len(data)

    async def _read(self, reader: asyncio.StreamReader, way: Way, passed: int) -> bytes:
        fault = self._proxy.planned(way)
        if fault is None or fault.kind != "idle" or not passed:
            return await reader.read(_BLOCK)
        while True:
            try:
                return await asyncio.wait_for(reader.read(_BLOCK), 0.03)
            except TimeoutError:
                # Whoever sends something and waits for the answer is not idle.
                if self._last == "down":
                    self._proxy.take_fault()
                    return b""

    async def _disturbed(self, data: bytes) -> bytes:
        fault = self._proxy.take_fault()
        self._is_faulty = True
        if fault is None:
            return data
        match fault.kind:
            case "flip":
                return bytes([data[0] ^ 1]) + data[1:]
            case "stall":
                await asyncio.sleep(3600)
            case "reset":
                self._client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self._client.transport.abort()
        raise ConnectionError

    async def _pass(self, writer: asyncio.StreamWriter, way: Way, data: bytes) -> None:
        if not data:
            return
        if way == "down":
            await self._proxy.pace(len(data))
        writer.write(data)
        await writer.drain()
        self._proxy.passed(way, len(data))
