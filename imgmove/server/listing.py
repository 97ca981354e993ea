"""Answers to those who look round (OCI distribution spec, *Content Discovery*)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.number import read_decimal
from imgmove.ports import ReferrerLister, TagLister
from imgmove.server.exchange import Refusal, Request, Response
from imgmove.server.grammar import parse_digest
from imgmove.server.repositories import Repositories, find_repository
from imgmove.server.rules import Rules


class Listing:
    """The tags of a repository, the repositories of the registry, and what refers to a manifest."""

    def __init__(self, repositories: Repositories, rules: Rules) -> None:
        self._repositories = repositories
        self._rules = rules

    def tags(self, request: Request, name: str) -> Response:
        """The tags of a repository in lexical order, page by page."""
        repository = find_repository(self._repositories, name)
        if not isinstance(repository, TagLister):
            raise Refusal(405, "UNSUPPORTED", f"the tags of {name} can't be listed")
        page, headers = self._page(request, sorted(set(repository.tags())))
        return Response.json(200, {"name": name, "tags": page}, headers)

    def catalog(self, request: Request) -> Response:
        """The names of all repositories, page by page (Docker's extension to the spec)."""
        page, headers = self._page(request, self._repositories.names())
        return Response.json(200, {"repositories": page}, headers)

    def referrers(self, request: Request, name: str, subject: str) -> Response:
        """An index of the manifests whose subject this is; an empty one when there are none.

        A repository that is not there has no referrers either: to 404 clients take to mean that the registry
        lacks the API, and would begin to keep a fallback tag.
        """
        digest = parse_digest(subject)
        repository = self._repositories.find(name)
        if repository is not None and not isinstance(repository, ReferrerLister):
            raise Refusal(404, "UNSUPPORTED", f"the referrers of {name} can't be listed")
        images = repository.referrers(digest) if repository is not None else []
        # Under cosign's tags lies what names no subject itself: it is listed among the tags.
        found = {str(image.descriptor.digest): image.descriptor for image in images if not image.names}
        headers = {"Content-Type": media_types.OCI_INDEX}
        wanted = request.parameter("artifactType")
        if wanted:
            found = {key: descriptor for key, descriptor in found.items() if descriptor.artifact_type == wanted}
            headers["OCI-Filters-Applied"] = "artifactType"
        page, link = self._page(request, sorted(found))
        return Response.of(200, _index([found[key] for key in page]), headers | link)

    def _page(self, request: Request, entries: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """The entries after ``last``, at most ``n`` of them, and a link to the following (RFC 5988)."""
        size = self._size(request)
        last = request.parameter("last")
        left = [entry for entry in entries if last is None or entry > last]
        page = left[:size]
        if len(left) <= size or not page:
            return page, {}
        others = [("artifactType", value) for value in request.parameters("artifactType")]
        query = urlencode([("n", str(size)), ("last", page[-1]), *others])
        return page, {"Link": f'<{quote(request.path)}?{query}>; rel="next"'}

    def _size(self, request: Request) -> int:
        text = request.parameter("n")
        if text is None or text == "":
            return self._rules.largest_page
        size = read_decimal(text)
        if size is None:
            raise Refusal(400, "PAGINATION_NUMBER_INVALID", f"n must be a number, not {text!r:.40}")
        return min(size, self._rules.largest_page)


def _index(descriptors: Sequence[Descriptor]) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_INDEX,
        "manifests": [descriptor.to_json() for descriptor in descriptors],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
