"""A slow link to a server on this machine: a TCP proxy that delays what passes, and paces every connection.

usage: python -m bench.latency_proxy PORT TARGET_PORT ONE_WAY_MS [MBIT_PER_CONNECTION]
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any

_BLOCK = 64 << 10
_LONGEST_QUEUE = 512


class SlowLink:
    """One direction of one connection: what is read is given on after the delay, no faster than the rate.

    Args:
        delay: seconds.
        rate: bytes a second; 0 for as fast as it goes.
    """

    def __init__(self, delay: float, rate: float) -> None:
        self._delay = delay
        self._rate = rate
        # A queue that is full keeps the sender waiting, as a real link's window does.
        self._waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_LONGEST_QUEUE)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carries bytes until the sender has no more, or the receiver is gone."""
        delivering = asyncio.create_task(self._deliver(writer))
        taking = asyncio.create_task(self._take(reader))
        # Nobody empties the queue of a receiver that is gone, and taking would wait for ever.
        await asyncio.wait((delivering, taking), return_when=asyncio.FIRST_COMPLETED)
        if delivering.done():
            taking.cancel()
        for way in (taking, delivering):
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await way

    async def _take(self, reader: asyncio.StreamReader) -> None:
        free_at = _now()
        # A sender that breaks off has no more either.
        with contextlib.suppress(OSError):
            while data := await reader.read(_BLOCK):
                if self._rate:
                    free_at = max(free_at, _now()) + len(data) / self._rate
                    await asyncio.sleep(max(0.0, free_at - _now()))
                await self._waiting.put((_now() + self._delay, data))
        await self._waiting.put((_now() + self._delay, b""))

    async def _deliver(self, writer: asyncio.StreamWriter) -> None:
        while True:
            due, data = await self._waiting.get()
            await asyncio.sleep(max(0.0, due - _now()))
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()


def _now() -> float:
    return asyncio.get_running_loop().time()


async def serve(port: int, target: int, delay: float, rate: float) -> None:
    """Listens until the process is told to end."""

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The handshake takes a round trip too, before anything can be sent.
        await asyncio.sleep(2 * delay)
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", target, limit=1 << 20)
        ways: list[Coroutine[Any, Any, None]] = [
            SlowLink(delay, rate).carry(reader, there_writer),
            SlowLink(delay, rate).carry(there_reader, writer),
        ]
        await asyncio.gather(*ways)
        for end in (writer, there_writer):
            end.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", port, limit=1 << 20)
    # Nothing has to be given back, and connections in the middle of a transfer would only complain.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os._exit, 0)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    words = sys.argv[1:]
    megabits = float(words[3]) if len(words) > 3 else 0.0
    asyncio.run(serve(int(words[0]), int(words[1]), float(words[2]) / 1000, megabits * 1e6 / 8))
