"""Lists that come in pages (OCI distribution spec, *Listing Tags*; distribution project, *Catalog*)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from urllib.parse import urljoin

from imgmove.endpoints.registry.host import CATALOG, RegistryHost
from imgmove.errors import MalformedContent, ServerRefused
from imgmove.ports import read_all
from imgmove.wire.auth import Scope
from imgmove.wire.http import Response, check_status
from imgmove.wire.http.client import origin

PAGE = 1000
"""Entries to ask for at a time; ECR refuses more."""

_LARGEST_PAGE = 32 << 20
_MOST_PAGES = 100_000
_NEXT = re.compile(r'<([^>]*)>\s*;[^,]*\brel\s*=\s*"?next"?', re.IGNORECASE)


def pages(host: RegistryHost, place: str, scopes: Sequence[Scope], what: str) -> Iterator[dict[str, object]]:
    """The documents of all pages.

    Raises:
        ServerRefused: the pages never end, or lead to another server.
        MalformedContent: one is no JSON object.
    """
    seen: set[str] = set()
    for _ in range(_MOST_PAGES):
        if place in seen:
            raise ServerRefused(f"{what}: {host.name} sends the same page again and again")
        seen.add(place)
        response = check_status(host.send("GET", place, scopes), 200, what=what)
        yield read_document(response, what)
        following = _next(response)
        if not following:
            return
        if origin(following) != origin(host.url("/")):
            raise ServerRefused(f"{what}: {host.name} sends the next page to another server")
        place = following
    raise ServerRefused(f"{what}: the list of {host.name} never ends")


def list_repositories(host: RegistryHost, prefix: str) -> Iterator[str]:
    """The repositories at or below a prefix."""
    for document in pages(host, f"/v2/_catalog?n={PAGE}", (CATALOG,), f"listing {host.name}"):
        for name in texts(document, "repositories"):
            if not prefix or name == prefix or name.startswith(f"{prefix}/"):
                yield name


def tags_place(repository: str) -> str:
    """Where a repository's tags are listed."""
    return f"/v2/{repository}/tags/list?n={PAGE}"


def texts(document: dict[str, object], key: str) -> list[str]:
    """A list of texts in a document; null is an empty one.

    Raises:
        MalformedContent: it is something else.
    """
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise MalformedContent(f"a registry's list of {key} is no list of texts")
    return value


def read_document(response: Response, what: str) -> dict[str, object]:
    """A JSON object of moderate size."""
    try:
        content = read_all(response, _LARGEST_PAGE)
    finally:
        response.close()
    if len(content) > _LARGEST_PAGE:
        raise MalformedContent(f"{what}: a page of more than {_LARGEST_PAGE >> 20} MiB")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise MalformedContent(f"{what}: the answer is not valid JSON") from None
    if not isinstance(document, dict):
        raise MalformedContent(f"{what}: the answer is not a JSON object")
    return document


def _next(response: Response) -> str:
    match = _NEXT.search(response.headers.get("link", ""))
    return urljoin(response.url, match.group(1)) if match else ""
