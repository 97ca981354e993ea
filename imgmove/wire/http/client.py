"""Requests over pooled connections, with raw bodies both ways and nothing that we did not ask for.

A session of requests would add credentials from ``~/.netrc``, follow redirects with our headers, unpack bodies, keep
cookies and read proxies from the environment. So only what lies below it is used: headers are what the caller gave,
bodies are what the server sent, and proxies and certificates come from settings.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from imgmove.errors import MalformedContent, NetworkError, ServerRefused, Truncated
from imgmove.model.connection import ProxyRules, TlsFiles
from imgmove.model.number import read_decimal
from imgmove.ports import Reader
from imgmove.streams import BLOCK
from imgmove.version import __version__
from imgmove.wire.http.dialed import Dial
from imgmove.wire.http.errors import ConnectionBroke, shown, translated
from imgmove.wire.http.lanes import Key, Lane, Lanes

_MOST_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REPEATABLE = frozenset({"GET", "HEAD", "PUT"})
_CONNECT_SECONDS = 15.0
_MOST_DRAINED = 64 << 10


@dataclass(frozen=True)
class Body:
    """What a request carries.

    Attributes:
        reader: the bytes; read once.
        size: how many they are; None when only the end tells, which sends them in chunks.
    """

    reader: Reader
    size: int | None = None


@dataclass
class Response:
    """An answer whose body has not been read yet.

    Attributes:
        url: where it came from in the end.
        headers: by lower-case name.
    """

    status: int
    url: str
    headers: Mapping[str, str]
    _raw: Any = field(repr=False)
    _left: int | None = field(default=None, repr=False)
    _closed: Callable[[], None] | None = field(default=None, repr=False)

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes of the body.

        Raises:
            NetworkError: the connection broke, or ended before ``Content-Length``.
        """
        with translated(self.url):
            try:
                data: bytes = self._raw.read(None if size < 0 else size, decode_content=False)
            except ValueError as error:
                # Such as a chunk of less than nothing, which the standard library takes for a size.
                raise ConnectionError from error
        if self._left is not None:
            self._left -= len(data)
            if self._left > 0 and (size < 0 or (size and not data)):
                raise NetworkError(f"{shown(self.url)} closed the connection {self._left} bytes before the end")
        return data

    def close(self) -> None:
        """Gives the connection back for the next request, or ends it when too much of the body is left."""
        try:
            if self._left is not None and 0 < self._left <= _MOST_DRAINED:
                self._raw.read(self._left, decode_content=False)
        except Exception:  # noqa: BLE001, S110 - whatever breaks now concerns nobody any more
            pass
        if self._left is None or self._left > 0:
            self._raw.close()
        self._raw.release_conn()
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()


class HttpClient:
    """Sends requests over connections that stay open; safe for many threads.

    Args:
        timeout: seconds without a byte after which a connection counts as stalled.
        proxies: which proxy leads where.
        tls_for: the certificates to trust and show, by ``HOST[:PORT]``.
        most_for: how many connections there may be at a time, by ``HOST[:PORT]``; None for any number.
        dial: makes the connections; None for the system's sockets.
    """

    def __init__(
        self,
        timeout: float = 60.0,
        proxies: ProxyRules | None = None,
        tls_for: Callable[[str], TlsFiles] = lambda _: TlsFiles(),
        most_for: Callable[[str], int | None] = lambda _: None,
        *,
        dial: Dial | None = None,
    ) -> None:
        self._timeout = timeout
        self._proxies = proxies or ProxyRules()
        self._tls_for = tls_for
        self._lock = threading.Lock()
        self._lanes = Lanes(most_for, stall=timeout, dial=dial)
        self._contexts: dict[TlsFiles, object] = {}

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: Body | bytes | None = None
    ) -> Response:
        """Sends one request and returns whatever the server answers, redirects of reads followed.

        ``Authorization`` never reaches another origin than the one in ``url``, and a redirect never leaves TLS.

        Raises:
            NetworkError: the server can't be reached, its certificate isn't trusted, or the connection broke.
            ServerRefused: it sends us in circles, or to a place where we don't go.
        """
        sent = {"User-Agent": f"imgmove/{__version__}", "Accept-Encoding": "identity", **(headers or {})}
        for _ in range(_MOST_REDIRECTS):
            response = self._once(method, url, sent, body)
            location = response.headers.get("location")
            if response.status not in _REDIRECTS or method not in ("GET", "HEAD") or not location:
                return response
            response.close()
            target = _redirected(url, location)
            if origin(target) != origin(url):
                sent = {name: value for name, value in sent.items() if name.lower() not in ("authorization", "cookie")}
            url = target
        raise ServerRefused(f"{shown(url)} redirects more than {_MOST_REDIRECTS} times")

    def close(self) -> None:
        """Closes all connections."""
        self._lanes.close()

    def _once(self, method: str, url: str, headers: Mapping[str, str], body: Body | bytes | None) -> Response:
        key = self._key(url)
        lane = self._lanes.take(key)
        try:
            return self._on(lane, method, url, headers, body)
        except ConnectionBroke:
            self._lanes.drop(lane)
            if lane.is_fresh or isinstance(body, Body) or method not in _REPEATABLE:
                raise
        except BaseException:
            self._lanes.drop(lane)
            raise
        # A server may close a connection that lay idle just when we use it again: no failure of this request's.
        self._lanes.forget_free(key)
        lane = self._lanes.take(key)
        try:
            return self._on(lane, method, url, headers, body)
        except BaseException:
            self._lanes.drop(lane)
            raise

    def _on(self, lane: Lane, method: str, url: str, headers: Mapping[str, str], body: Body | bytes | None) -> Response:
        proxy = self._proxies.proxy_for(url)
        with translated(url):
            timeout = (min(_CONNECT_SECONDS, self._timeout), self._timeout)
            raw = lane.send(method, url, _measured(headers, body), _payload(body), proxy=proxy, timeout=timeout)
        answered = {name.lower(): value for name, value in raw.headers.items()}
        try:
            left = None if method == "HEAD" or raw.status_code in (204, 304) else _length(answered, url)
        except MalformedContent:
            raw.close()
            raise
        if method == "HEAD":
            raw.raw.release_conn()
        return Response(raw.status_code, url, answered, raw.raw, left, lambda: self._lanes.give_back(lane))

    def _key(self, url: str) -> Key:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        context = self._context(self._tls_for(host)) if parts.scheme == "https" else None
        return parts.scheme, host, context

    def _context(self, files: TlsFiles) -> object:
        from certifi import where

        from imgmove.wire.tls import make_context

        with self._lock:
            if files not in self._contexts:
                self._contexts[files] = make_context(files, fallback_roots=where)
            return self._contexts[files]


def origin(url: str) -> tuple[str, str, int | None]:
    """What decides whether two URLs are of one server (RFC 6454)."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def led_to(url: str, location: str) -> str:
    """The whole address to which a server's answer leads.

    Raises:
        ServerRefused: it is none, or one that is not asked over HTTP.
    """
    try:
        target = urljoin(url, location)
        scheme, host, _ = origin(target)
    except ValueError:
        scheme, host, target = "", "", ""
    if scheme not in ("http", "https") or not host:
        raise ServerRefused(f"{shown(url)} leads to something that is no address")
    return target


def _redirected(url: str, location: str) -> str:
    target = led_to(url, location)
    if target.startswith("http:") and url.startswith("https:"):
        raise ServerRefused(f"{shown(url)} redirects to {shown(target)}, which is not safe")
    return target


def _length(headers: Mapping[str, str], url: str) -> int | None:
    text = headers.get("content-length")
    if text is None:
        return None
    length = read_decimal(text)
    if length is None:
        raise MalformedContent(f"{shown(url)} sends a Content-Length that is no number")
    return length


def _measured(headers: Mapping[str, str], body: Body | bytes | None) -> Mapping[str, str]:
    """The headers with the length of the body, where it is known."""
    size = body.size if isinstance(body, Body) else None if body is None else len(body)
    return headers if size is None else {**headers, "Content-Length": str(size)}


def _payload(body: Body | bytes | None) -> bytes | _Blocks | None:
    if body is None or isinstance(body, bytes):
        return body
    return _Blocks(body.reader) if body.size is None else _SizedBlocks(body.reader, body.size)


class _Blocks:
    """A body as large blocks; http.client would cut a file into pieces of a few KiB."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __iter__(self) -> Iterator[bytes]:
        while data := self._reader.read(BLOCK):
            yield data


class _SizedBlocks(_Blocks):
    def __init__(self, reader: Reader, size: int) -> None:
        super().__init__(reader)
        self._size = size

    def __iter__(self) -> Iterator[bytes]:
        left = self._size
        for data in super().__iter__():
            left -= len(data)
            if left < 0:
                break
            yield data
        if left:
            # Otherwise both sides would wait for the other.
            raise Truncated("a request's body is not as long as was said")
