"""Uploads as other registries handle them."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from imgmove.server.exchange import Handler, Refusal, Request, Response
from tests.quirks.definition import Quirks
from tests.quirks.kinds import kind_of


def other_locations(handler: Handler, quirks: Quirks) -> Handler:
    """Writes the ``Location`` of uploads in another way."""

    def rewrite(request: Request) -> Response:
        response = handler(request)
        path = response.headers.get("Location", "")
        if not kind_of("", path).endswith("upload"):
            return response
        return replace(response, headers={**response.headers, "Location": _location(request, path, quirks)})

    return rewrite


def _location(request: Request, path: str, quirks: Quirks) -> str:
    scheme = "https" if request.is_secure else "http"
    origin = f"{scheme}://{request.headers.get('host', '')}"
    match quirks.location:
        case "url":
            return origin + path
        case "query":
            return f"{path}?_state=a%2Fb%3D%3D&part=1"
        case "no-port":
            return f"{scheme}://{urlsplit(origin).hostname}{path}"
        case "relative":
            return posixpath.relpath(path, posixpath.dirname(request.path))
        case _:
            return path


def fewer_chunks(handler: Handler, quirks: Quirks) -> Handler:
    """Takes no PATCH, or only one an upload."""
    seen: set[str] = set()

    def restrict(request: Request) -> Response:
        if request.method != "PATCH":
            return handler(request)
        if quirks.chunks == "refused" or request.path in seen:
            return Refusal(405, "UNSUPPORTED", "a quirk of this test: no more chunks").response()
        seen.add(request.path)
        return handler(request)

    return restrict


def least_chunks(handler: Handler, quirks: Quirks) -> Handler:
    """Announces a least size for chunks, and insists on it for all but the last."""
    short: set[str] = set()

    def insist(request: Request) -> Response:
        if request.method == "PATCH" and request.path in short:
            return Refusal(400, "SIZE_INVALID", "a quirk of this test: the last chunk was too short").response()
        response = handler(request)
        if request.method == "PATCH" and request.body.size is not None and _length(request) < quirks.chunk_min_length:
            short.add(request.path)
        if request.method == "POST" and response.status == 202:
            return replace(response, headers=_with(response, "OCI-Chunk-Min-Length", str(quirks.chunk_min_length)))
        return response

    return insist


def odd_patches(handler: Handler, quirks: Quirks) -> Handler:
    """Answers a PATCH with another status, or with the range of the first one."""
    ranges: dict[str, str] = {}
    lock = threading.Lock()

    def answer(request: Request) -> Response:
        response = handler(request)
        if kind_of("", request.path) != " upload" or "Range" not in response.headers:
            return response
        if request.method == "PATCH" and response.status == 202:
            response = replace(response, status=quirks.patch_status)
        if quirks.stuck_range and request.method in ("PATCH", "GET"):
            with lock:
                first = ranges.setdefault(request.path, response.headers["Range"])
            response = replace(response, headers=_with(response, "Range", first))
        return response

    return answer


def other_mounts(handler: Handler, quirks: Quirks) -> Handler:
    """Refuses mounts, or begins an upload instead."""

    def mount(request: Request) -> Response:
        if request.method != "POST" or request.parameter("mount") is None:
            return handler(request)
        if quirks.mount == "ignored":
            return handler(replace(request, query=""))
        if quirks.mount == "refused" or request.parameter("from") is None:
            return Refusal(400, "UNSUPPORTED", "a quirk of this test: no such mount").response()
        return handler(request)

    return mount


def size_limit(handler: Handler, quirks: Quirks) -> Handler:
    """Refuses long requests, as proxies do."""

    def limit(request: Request) -> Response:
        if _length(request) > quirks.largest_request:
            return Refusal(413, "SIZE_INVALID", "a quirk of this test: the request is too long").response()
        return handler(request)

    return limit


def _length(request: Request) -> int:
    return request.body.size or 0


def _with(response: Response, name: str, value: str) -> Mapping[str, str]:
    return {**response.headers, name: value}
