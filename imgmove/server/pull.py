"""Answers to those who fetch (OCI distribution spec, *Pull*)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from imgmove.errors import NotFound
from imgmove.model.descriptor import Descriptor
from imgmove.ports import Reader
from imgmove.server.exchange import Refusal, Request, Response
from imgmove.server.grammar import is_digest, is_tag, parse_digest
from imgmove.server.repositories import Repositories, find_repository

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Pull:
    """GET and HEAD of manifests and blobs."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories

    def manifest(self, request: Request, name: str, reference: str) -> Response:
        """A manifest by tag or digest, in the very bytes that were pushed."""
        repository = find_repository(self._repositories, name)
        if is_digest(reference):
            parse_digest(reference)
        elif not is_tag(reference):
            raise _unknown(reference)
        try:
            descriptor = repository.resolve(reference)
            headers = {"Content-Type": descriptor.media_type, **_identity(descriptor)}
            if _has_already(request, descriptor):
                return Response(304, headers)
            return _whole(request, descriptor, headers, lambda: repository.open(descriptor))
        except NotFound:
            raise _unknown(reference) from None

    def blob(self, request: Request, name: str, digest: str) -> Response:
        """A blob, or one range of it."""
        repository = find_repository(self._repositories, name)
        descriptor = repository.find_blob(parse_digest(digest))
        if descriptor is None:
            raise Refusal(404, "BLOB_UNKNOWN", f"no blob {digest} in {name}")
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **_identity(descriptor)}
        if _has_already(request, descriptor):
            return Response(304, headers)
        part = _range(request, descriptor)
        if part is None:
            return _whole(request, descriptor, headers, lambda: repository.open(descriptor))
        headers["Content-Range"] = f"bytes {part.first}-{part.last}/{descriptor.size}"
        if request.method == "HEAD":
            return Response(206, headers, None, part.size)
        return Response(206, headers, _Limited(repository.open(descriptor, part.first), part.size), part.size)


@dataclass(frozen=True, slots=True)
class _Part:
    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1


class _Limited:
    """The first ``size`` bytes of a reader."""

    def __init__(self, reader: Reader, size: int) -> None:
        self._reader = reader
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        if not self._left:
            return b""
        data = self._reader.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._reader.close()


def _identity(descriptor: Descriptor) -> dict[str, str]:
    return {"Docker-Content-Digest": str(descriptor.digest), "ETag": _etag(descriptor)}


def _etag(descriptor: Descriptor) -> str:
    return f'"{descriptor.digest}"'


def _has_already(request: Request, descriptor: Descriptor) -> bool:
    known = request.headers.get("if-none-match", "")
    return _etag(descriptor) in known or known.strip() == "*"


def _whole(
    request: Request, descriptor: Descriptor, headers: dict[str, str], open_content: Callable[[], Reader]
) -> Response:
    if request.method == "HEAD":
        return Response(200, headers, None, descriptor.size)
    return Response(200, headers, open_content(), descriptor.size)


def _range(request: Request, descriptor: Descriptor) -> _Part | None:
    """The range that is asked for; None for the whole (RFC 9110, *Range Requests*).

    What is no single range of bytes is ignored, as that RFC allows.

    Raises:
        Refusal: 416, the range begins behind the end.
    """
    found = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if not found or request.headers.get("if-range", _etag(descriptor)) != _etag(descriptor):
        return None
    first, last = found.groups()
    end = descriptor.size - 1
    if first:
        part = _Part(int(first), min(int(last), end) if last else end)
        if last and int(last) < int(first):
            return None
    elif last:
        part = _Part(max(descriptor.size - int(last), 0), end)
    else:
        return None
    if part.size <= 0:
        unsatisfied = {"Content-Range": f"bytes */{descriptor.size}"}
        raise Refusal(416, "SIZE_INVALID", f"the blob has {descriptor.size} bytes", unsatisfied)
    return part


def _unknown(reference: str) -> Refusal:
    return Refusal(404, "MANIFEST_UNKNOWN", f"no manifest {reference!r:.200}")
