"""Requests that fail, break off or stall."""

from __future__ import annotations

import threading
from dataclasses import replace

from imgmove.ports import Reader
from imgmove.server.exchange import Body, Handler, Hangup, Refusal, Request, Response
from tests.quirks.definition import Drop, Failure, Stall
from tests.quirks.kinds import is_kind


class Countdown:
    """Says yes ``count`` times, over all threads."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._lock = threading.Lock()

    def take(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left >= 0


def failing(handler: Handler, failure: Failure) -> Handler:
    """Fails the first requests of a kind."""
    left = Countdown(failure.count)

    def fail(request: Request) -> Response:
        if not is_kind(request.method, request.path, failure.kind) or not left.take():
            return handler(request)
        while failure.reads_body and request.body.read(1 << 16):
            pass
        headers = {"Retry-After": failure.retry_after} if failure.retry_after else {}
        code = failure.code or ("TOOMANYREQUESTS" if failure.status == 429 else "UNKNOWN")
        return Refusal(failure.status, code, "a quirk of this test", headers).response()

    return fail


def dropping(handler: Handler, drop: Drop) -> Handler:
    """Loses the connection of the first requests of a kind."""
    left = Countdown(drop.count)

    def lose(request: Request) -> Response:
        if not is_kind(request.method, request.path, drop.kind) or not left.take():
            return handler(request)
        if drop.direction == "upload":
            return handler(replace(request, body=_BrokenBody(request.body, drop.after)))
        response = handler(request)
        return replace(response, body=_BrokenReader(response.body, drop.after)) if response.body else response

    return lose


def stalling(handler: Handler, stall: Stall, stopped: threading.Event) -> Handler:
    """Makes the first requests of a kind wait in the midst of their answer."""
    left = Countdown(stall.count)

    def wait(request: Request) -> Response:
        if not is_kind(request.method, request.path, stall.kind) or not left.take():
            return handler(request)
        response = handler(request)
        if response.body is None:
            stopped.wait(stall.seconds)
            return response
        return replace(response, body=_StallingReader(response.body, stall, stopped))

    return wait


class _BrokenReader:
    """The first ``after`` bytes, and then no connection any more."""

    def __init__(self, reader: Reader, after: int) -> None:
        self._reader = reader
        self._left = after

    def read(self, size: int = -1, /) -> bytes:
        if self._left <= 0:
            raise Hangup
        data = self._reader.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._reader.close()


class _BrokenBody(_BrokenReader):
    """The same for what a client sends."""

    def __init__(self, body: Body, after: int) -> None:
        super().__init__(body, after)
        self._body = body

    @property
    def size(self) -> int | None:
        return self._body.size

    @property
    def is_finished(self) -> bool:
        return self._body.is_finished


class _StallingReader:
    """Everything, but with a pause."""

    def __init__(self, reader: Reader, stall: Stall, stopped: threading.Event) -> None:
        self._reader = reader
        self._stall = stall
        self._stopped = stopped
        self._left = stall.after
        self._has_waited = False

    def read(self, size: int = -1, /) -> bytes:
        if self._left > 0:
            data = self._reader.read(self._left if size < 0 else min(size, self._left))
            self._left -= len(data)
            return data
        if not self._has_waited:
            self._has_waited = True
            self._stopped.wait(self._stall.seconds)
        return self._reader.read(size)

    def close(self) -> None:
        self._reader.close()
