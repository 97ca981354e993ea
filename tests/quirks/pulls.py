"""Manifests, blobs and lists as other registries answer them."""

from __future__ import annotations

import io
import threading
import time
from dataclasses import replace

from imgmove.model.digest import Digest
from imgmove.ports import Reader
from imgmove.server.exchange import Handler, Refusal, Request, Response
from tests.quirks.definition import Quirks
from tests.quirks.kinds import kind_of

_READS = ("GET manifest", "HEAD manifest", "GET blob", "HEAD blob")
_DIGEST_HEADERS = ("ETag", "Docker-Content-Digest")
_DELIVERIES = (200, 206)


def other_digest_header(handler: Handler, quirks: Quirks) -> Handler:
    """Leaves out ``Docker-Content-Digest``, or lies in it."""

    def rewrite(request: Request) -> Response:
        response = handler(request)
        if "Docker-Content-Digest" not in response.headers or kind_of(request.method, request.path) not in _READS:
            return response
        headers = {name: value for name, value in response.headers.items() if name not in _DIGEST_HEADERS}
        if quirks.digest_header == "wrong":
            headers["Docker-Content-Digest"] = str(Digest.of(b"another content"))
        return replace(response, headers=headers)

    return rewrite


def no_head(handler: Handler, quirks: Quirks) -> Handler:
    """Does not understand HEAD."""

    def refuse(request: Request) -> Response:
        if request.method == "HEAD" and kind_of("HEAD", request.path) in _READS:
            return Refusal(405, "UNSUPPORTED", "a quirk of this test: no HEAD").response()
        return handler(request)

    return refuse


def denying_head(handler: Handler, quirks: Quirks) -> Handler:
    """Says 403 for a manifest that is not there."""

    def deny(request: Request) -> Response:
        response = handler(request)
        if kind_of(request.method, request.path) == "HEAD manifest" and response.status == 404:
            return Refusal(403, "DENIED", "a quirk of this test").response()
        return response

    return deny


def no_ranges(handler: Handler, quirks: Quirks) -> Handler:
    """Sends the whole, whatever range is asked for."""

    def ignore(request: Request) -> Response:
        headers = {name: value for name, value in request.headers.items() if name != "range"}
        response = handler(replace(request, headers=headers))
        kept = {name: value for name, value in response.headers.items() if name != "Accept-Ranges"}
        return replace(response, headers=kept)

    return ignore


def other_length(handler: Handler, quirks: Quirks) -> Handler:
    """Announces another length of a blob than the one that comes."""

    def lie(request: Request) -> Response:
        response = handler(request)
        if kind_of("GET", request.path) != "GET blob" or response.status != 200 or response.size is None:
            return response
        return replace(response, size=max(response.size + quirks.length_error, 0))

    return lie


def redirected_blobs(handler: Handler, quirks: Quirks) -> Handler:
    """Sends those who fetch a blob elsewhere."""

    def redirect(request: Request) -> Response:
        if kind_of(request.method, request.path) != "GET blob":
            return handler(request)
        response = handler(request)
        if response.status not in _DELIVERIES:
            return response
        if response.body is not None:
            response.body.close()
        origin = "" if quirks.redirect_to == "loop" else quirks.redirect_to.rstrip("/")
        return Response(307, {"Location": f"{origin}{request.path}?signature=x%2Fy"})

    return redirect


def swapped_content(handler: Handler, quirks: Quirks) -> Handler:
    """Sends other content than what was asked for."""

    def swap(request: Request) -> Response:
        response = handler(request)
        digest = response.headers.get("Docker-Content-Digest", "")
        content = quirks.swapped.get(digest)
        if content is None or response.status not in _DELIVERIES:
            return response
        first = _first(response)
        return replace(response, body=io.BytesIO(content[first:]), size=len(content) - first)

    return swap


def flipped_bits(handler: Handler, quirks: Quirks) -> Handler:
    """Turns over one bit of every blob, wherever a range begins."""

    def flip(request: Request) -> Response:
        response = handler(request)
        if kind_of(request.method, request.path) != "GET blob" or response.status not in _DELIVERIES:
            return response
        if response.body is None or quirks.flipped is None:
            return response
        return replace(response, body=_FlippingReader(response.body, quirks.flipped - _first(response)))

    return flip


def _first(response: Response) -> int:
    text = response.headers.get("Content-Range", "bytes 0-").removeprefix("bytes ")
    return int(text.partition("-")[0])


class _FlippingReader:
    def __init__(self, reader: Reader, offset: int) -> None:
        self._reader = reader
        self._offset = offset

    def read(self, size: int = -1, /) -> bytes:
        data = bytearray(self._reader.read(size))
        if 0 <= self._offset < len(data):
            data[self._offset] ^= 1
        self._offset -= len(data)
        return bytes(data)

    def close(self) -> None:
        self._reader.close()


def no_referrers(handler: Handler, quirks: Quirks) -> Handler:
    """Answers the referrers API with a status, and does as a registry without it when that is 404."""

    def refuse(request: Request) -> Response:
        if kind_of("GET", request.path) == "GET referrers":
            headers = {"WWW-Authenticate": 'Basic realm="quirk"'} if quirks.referrers == 401 else {}
            return Refusal(quirks.referrers or 404, "UNSUPPORTED", "a quirk of this test", headers).response()
        response = handler(request)
        if quirks.referrers != 404 or "OCI-Subject" not in response.headers:
            return response
        return replace(response, headers={k: v for k, v in response.headers.items() if k != "OCI-Subject"})

    return refuse


def no_tag_delete(handler: Handler, quirks: Quirks) -> Handler:
    """Deletes manifests by digest only."""

    def refuse(request: Request) -> Response:
        if kind_of(request.method, request.path) == "DELETE manifest" and ":" not in request.path.rpartition("/")[2]:
            status = quirks.tag_delete or 405
            code = "DIGEST_INVALID" if status == 400 else "UNSUPPORTED"
            return Refusal(status, code, "a quirk of this test").response()
        return handler(request)

    return refuse


def small_pages(handler: Handler, quirks: Quirks) -> Handler:
    """Refuses to list many entries at once."""

    def refuse(request: Request) -> Response:
        asked = request.parameter("n") or "0"
        if asked.isdigit() and int(asked) > quirks.refuses_pages_over:
            return Refusal(400, "PAGINATION_NUMBER_INVALID", "a quirk of this test: n is too large").response()
        return handler(request)

    return refuse


def no_catalog(handler: Handler, quirks: Quirks) -> Handler:
    """Does not list its repositories."""

    def refuse(request: Request) -> Response:
        if kind_of("GET", request.path) == "GET catalog":
            return Refusal(404, "UNSUPPORTED", "a quirk of this test: no catalog").response()
        return handler(request)

    return refuse


def only_sha256(handler: Handler, quirks: Quirks) -> Handler:
    """Does not understand other digests."""

    def refuse(request: Request) -> Response:
        named = [request.path.rpartition("/")[2], request.parameter("digest") or "", request.parameter("mount") or ""]
        if any(text.startswith(("sha512:", "sha384:")) for text in named):
            return Refusal(400, "DIGEST_INVALID", "a quirk of this test: only sha256").response()
        return handler(request)

    return refuse


def counted(handler: Handler, quirks: Quirks) -> Handler:
    """Tells with each answer about a manifest how many may still be fetched; only GET counts."""
    most = quirks.pulls_left or 0
    lock = threading.Lock()
    window = [time.monotonic(), most]

    def handle(request: Request) -> Response:
        response = handler(request)
        if kind_of(request.method, request.path) not in ("GET manifest", "HEAD manifest"):
            return response
        with lock:
            if quirks.window and time.monotonic() > window[0] + quirks.window:
                window[:] = [time.monotonic(), most]
            window[1] -= request.method == "GET"
            left = max(0, int(window[1]))
        if quirks.window:
            told = {
                "RateLimit-Limit": str(most),
                "RateLimit-Remaining": str(left),
                "RateLimit-Reset": str(quirks.window),
            }
        else:
            told = {"ratelimit-limit": f"{most};w=21600", "ratelimit-remaining": f"{left};w=21600"}
        return replace(response, headers={**response.headers, **told})

    return handle
