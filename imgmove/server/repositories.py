"""What a registry serves: repositories, made of the same ports that images are copied between.

A repository is a `Source`; whether its tags can be listed, its referrers asked for, things pushed or deleted is
seen from the further ports that it implements (`TagLister`, `ReferrerLister`, `Destination`, `Deleter`,
`BlobMounter`), so that a layout, an archive or another registry is served by what it can do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.ports import Destination, Source
from imgmove.server.exchange import Refusal


class Repository(Source, Protocol):
    """A source that also finds blobs by their digest alone, which is all that a request names."""

    def find_blob(self, digest: Digest) -> Descriptor | None:
        """The blob with its true size; None when it is not in this repository."""
        ...


class Repositories(Protocol):
    """All that one registry holds. Safe to call from many threads."""

    def names(self) -> Sequence[str]:
        """The repositories there are, sorted."""
        ...

    def find(self, name: str) -> Repository | None:
        """The repository of this name; None when there is none."""
        ...


@runtime_checkable
class RepositoryMaker(Protocol):
    """Repositories that come to be when something is pushed to them."""

    def make(self, name: str) -> Destination:
        """The repository of this name, which may have been there before.

        It appears among `Repositories.names` once it holds something.
        """
        ...


@runtime_checkable
class BlobDeleter(Protocol):
    """A repository that can forget a blob."""

    def delete_blob(self, digest: Digest) -> None:
        """Forgets it, here alone.

        Raises:
            NotFound: it is not here.
        """
        ...


def find_repository(repositories: Repositories, name: str) -> Repository:
    """The repository of this name.

    Raises:
        Refusal: NAME_UNKNOWN.
    """
    repository = repositories.find(name)
    if repository is None:
        raise Refusal(404, "NAME_UNKNOWN", f"no repository {name}")
    return repository


def writable_repository(repositories: Repositories, name: str) -> Destination:
    """The repository of this name, made if that is possible.

    Raises:
        Refusal: UNSUPPORTED, nothing can be pushed to it.
    """
    repository: object = repositories.find(name)
    if isinstance(repository, Destination):
        return repository
    if repository is None and isinstance(repositories, RepositoryMaker):
        return repositories.make(name)
    raise Refusal(405, "UNSUPPORTED", f"nothing can be pushed to {name}")
