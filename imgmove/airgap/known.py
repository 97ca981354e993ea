"""What the far side is known to hold, out of receipts, inventories, requests and older bundles."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from imgmove.airgap.documents import LARGEST, MOST_REPOSITORIES, Acceptor, Holdings, Request, unseal
from imgmove.errors import LocalError, MalformedContent, UsageError
from imgmove.model.digest import Digest
from imgmove.model.location import BundleLocation, PathLocation, PipeLocation
from imgmove.model.location_grammar import parse_path_location
from imgmove.stages.session import Session
from imgmove.wire.files import LocalFiles


@dataclass
class FarSide:
    """What need not be carried.

    Attributes:
        held: blobs with the repositories in which they are.
        request: when there is one, all but its blobs is there.
    """

    held: dict[Digest, set[str]] = field(default_factory=dict)
    request: Request | None = None

    def __call__(self, digest: Digest) -> tuple[str, ...] | None:
        """Where a blob is that need not be carried; None for one that has to be."""
        if digest in self.held:
            return tuple(sorted(self.held[digest])[:MOST_REPOSITORIES])
        if self.request is not None and all(digest not in image.blobs for image in self.request.images):
            return ()
        return None

    def add(self, digest: Digest, repositories: Sequence[str] = ()) -> None:
        """Notes a blob."""
        self.held.setdefault(digest, set()).update(repositories)


def read_far_side(
    session: Session, have: Sequence[str], since: Sequence[str], request: str, accepts: Acceptor | None
) -> FarSide:
    """Reads all that is known of the far side.

    Args:
        have: files of inventories and receipts.
        since: older bundles, which are taken to have arrived.
        request: a file, or nothing.
        accepts: as for `unseal`; None to take documents without a signature.

    Raises:
        LocalError, UsageError, ContentError: a file is missing, something else, or was changed.
    """
    known = FarSide()
    for path in have:
        try:
            _, content = unseal(read_document(path), path, ("inventory", "receipt"), accepts)
        except UsageError as error:
            raise type(error)(error.message, hint=error.hint or "--since takes bundles") from None
        for blob in _holdings(content, path).blobs:
            known.add(blob.digest, blob.repositories)
    for path in since:
        index = session.endpoints.bundle([bundle_path(path)]).index
        for blob_descriptor in index.blobs:
            known.add(blob_descriptor.digest)
        for assumed in index.assumed:
            known.add(assumed.descriptor.digest, assumed.repositories)
    if request:
        _, content = unseal(read_document(request), request, ("request",), accepts)
        known.request = Request.from_json(content)
    return known


def bundle_path(file: str) -> str:
    """The path that a word where a bundle is expected stands for; ``-`` stays.

    Raises:
        UsageError: it is a location of another kind.
    """
    located = parse_path_location(file)
    if isinstance(located, PathLocation):
        return os.path.expanduser(file)
    if isinstance(located, BundleLocation | PipeLocation):
        return str(getattr(located, "path", file))
    raise UsageError(f"{file} is not a bundle's file")


def read_document(path: str) -> bytes:
    """A small file.

    Raises:
        LocalError: it can't be read.
    """
    files = LocalFiles()
    status = files.status(path)
    if status is None:
        raise LocalError(f"{path}: no such file")
    return files.read_at(path, 0, min(status.size, LARGEST) + 1)


def _holdings(content: object, path: str) -> Holdings:
    assert isinstance(content, dict)
    try:
        return Holdings.from_json(content)
    except MalformedContent as error:
        raise MalformedContent(f"{path}: {error.message}") from None
