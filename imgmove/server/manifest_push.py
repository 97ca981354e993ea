"""Answers to those who push manifests (OCI distribution spec, *Pushing Manifests*)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence

from imgmove.errors import MalformedContent
from imgmove.model import media_types
from imgmove.model.digest import Digest
from imgmove.model.manifest import Node, parse_manifest
from imgmove.ports import Destination, read_all
from imgmove.server.exchange import Refusal, Request, Response
from imgmove.server.grammar import is_digest, is_tag, parse_digest
from imgmove.server.repositories import Repositories, writable_repository
from imgmove.server.rules import Rules

_ORDINARY = 256 << 10
_MOST_LARGE = 2
"""Manifests over `_ORDINARY` bytes that are taken in at a time: reading one takes several times its size in memory."""


class ManifestPush:
    """PUT of manifests, by tag or digest."""

    def __init__(self, repositories: Repositories, rules: Rules) -> None:
        self._repositories = repositories
        self._rules = rules
        self._turns = threading.BoundedSemaphore(_MOST_LARGE)

    def put(self, request: Request, name: str, reference: str) -> Response:
        """Stores a manifest as it is, once its children are here and its digest is the one that was named."""
        destination = writable_repository(self._repositories, name)
        tags = _tags(request, reference)
        size = request.body.size
        with contextlib.nullcontext() if size is not None and size <= _ORDINARY else self._turns:
            return self._put(request, name, reference, destination, tags)

    def _put(
        self, request: Request, name: str, reference: str, destination: Destination, tags: Sequence[str]
    ) -> Response:
        content = self._content(request)
        node = _parse(content, request.headers.get("content-type", ""))
        digest = parse_digest(reference) if is_digest(reference) else Digest.of(content)
        if Digest.of(content, digest.algorithm) != digest:
            raise Refusal(400, "DIGEST_INVALID", f"the manifest's digest is not {digest}")
        if self._rules.checks_children:
            _check_children(destination, node)
        destination.put_manifest(content, node.media_type, tags, algorithm=digest.algorithm)
        headers = {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": str(digest)}
        if node.subject is not None:
            headers["OCI-Subject"] = str(node.subject.digest)
        if request.parameters("tag"):
            headers["OCI-Tag"] = ", ".join(tags)
        return Response(201, headers)

    def _content(self, request: Request) -> bytes:
        most = self._rules.largest_manifest
        if request.body.size is not None and request.body.size > most:
            raise _too_large(most)
        content = read_all(request.body, most)
        if len(content) > most:
            raise _too_large(most)
        return content


def _tags(request: Request, reference: str) -> Sequence[str]:
    """The tag in the path, or those that the query adds to a digest."""
    tags = request.parameters("tag") if is_digest(reference) else [reference]
    for tag in tags:
        if not is_tag(tag):
            raise Refusal(400, "TAG_INVALID", f"{tag!r:.140} is no tag")
    return tags


def _parse(content: bytes, told: str) -> Node:
    told = told.partition(";")[0].strip()
    try:
        node = parse_manifest(content, told)
    except MalformedContent as error:
        raise Refusal(400, "MANIFEST_INVALID", error.message) from None
    if media_types.is_manifest(told) and told != node.media_type:
        raise Refusal(400, "MANIFEST_INVALID", f"the Content-Type is {told}, the manifest's own is {node.media_type}")
    return node


def _check_children(destination: Destination, node: Node) -> None:
    # Foreign layers need not be there (OCI image spec, Non-Distributable Layers).
    missing = [child for child in node.children if not child.is_foreign and not destination.has(child)]
    if missing:
        digests = ", ".join(str(child.digest) for child in missing[:5])
        raise Refusal(400, "MANIFEST_BLOB_UNKNOWN", f"not in the repository: {digests}")


def _too_large(most: int) -> Refusal:
    return Refusal(413, "SIZE_INVALID", f"a manifest may have {most} bytes at most")
