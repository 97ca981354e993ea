"""Lists that come in pages (OCI distribution spec, *Listing Tags*; distribution project, *Catalog*)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from imgmove.endpoints.registry.host import CATALOG, RegistryHost
from imgmove.errors import MalformedContent, ServerRefused
from imgmove.model.manifest import read_json_object
from imgmove.ports import read_all
from imgmove.wire.auth import Scope
from imgmove.wire.http import Response, check_status
from imgmove.wire.http.client import led_to, origin

PAGE = 1000
"""Entries to ask for at a time; ECR refuses more."""

_LARGEST_PAGE = 8 << 20
_MOST_PAGES = 100_000
_MOST_NAMES = 500_000
"""As many as fit into the memory that a command may take; no repository is known to have a tenth of them."""
_LONGEST_NAME = 1024
"""Characters; no name that can be asked for has half as many."""
_LONGEST_LINK = 4096
_NEXT = re.compile(r'<([^<>]*)>\s*;[^,<]*\brel\s*=\s*"?next"?', re.IGNORECASE)


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
    place = f"/v2/_catalog?n={PAGE}"
    for name in names(host, place, (CATALOG,), "repositories", f"listing {host.name}"):
        if not prefix or name == prefix or name.startswith(f"{prefix}/"):
            yield name


def names(host: RegistryHost, place: str, scopes: Sequence[Scope], key: str, what: str) -> Iterator[str]:
    """The texts under a key of all pages.

    Raises:
        ServerRefused: they never end.
        MalformedContent: a page is no such list.
    """
    count = 0
    for document in pages(host, place, scopes, what):
        found = texts(document, key)
        count += len(found)
        if count > _MOST_NAMES:
            raise ServerRefused(f"{what}: {host.name} lists more than {_MOST_NAMES} names")
        yield from found


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
    if not isinstance(value, list) or not all(isinstance(item, str) and len(item) <= _LONGEST_NAME for item in value):
        raise MalformedContent(f"a registry's list of {key} is no list of names")
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
        return read_json_object(content, most=_LARGEST_PAGE)
    except MalformedContent as error:
        raise MalformedContent(f"{what}: {error.message}") from None


def _next(response: Response) -> str:
    match = _NEXT.search(response.headers.get("link", "")[:_LONGEST_LINK])
    return led_to(response.url, match.group(1)) if match else ""
