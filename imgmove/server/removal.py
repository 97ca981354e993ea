"""Answers to those who delete (OCI distribution spec, *Content Management*)."""

from __future__ import annotations

from imgmove.errors import NotFound
from imgmove.ports import Deleter
from imgmove.server.exchange import Refusal, Request, Response
from imgmove.server.grammar import is_digest, parse_digest
from imgmove.server.repositories import BlobDeleter, Repositories, find_repository


class Removal:
    """DELETE of tags, manifests and blobs, where the repository knows how to forget."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories

    def manifest(self, request: Request, name: str, reference: str) -> Response:  # noqa: ARG002 - routes are called alike
        """Forgets a tag, or a manifest with all its tags."""
        repository = find_repository(self._repositories, name)
        if not isinstance(repository, Deleter):
            raise _unsupported(name)
        try:
            if is_digest(reference):
                repository.delete_manifest(parse_digest(reference))
            else:
                repository.delete_name(reference)
        except NotFound as error:
            raise Refusal(404, "MANIFEST_UNKNOWN", error.message) from None
        return Response(202)

    def blob(self, request: Request, name: str, digest: str) -> Response:  # noqa: ARG002 - routes are called alike
        """Forgets a blob in this repository."""
        repository = find_repository(self._repositories, name)
        if not isinstance(repository, BlobDeleter):
            raise _unsupported(name)
        try:
            repository.delete_blob(parse_digest(digest))
        except NotFound as error:
            raise Refusal(404, "BLOB_UNKNOWN", error.message) from None
        return Response(202)


def _unsupported(name: str) -> Refusal:
    return Refusal(405, "UNSUPPORTED", f"nothing can be deleted in {name}")
