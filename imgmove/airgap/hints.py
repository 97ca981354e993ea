"""Where the far side said that it holds blobs, so that a registry mounts them from one repository into another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.ports import Knowledge


class HintedKnowledge:
    """What earlier runs learned, after what a bundle says of the far side."""

    def __init__(self, known: Knowledge, repositories: Mapping[Digest, tuple[str, ...]]) -> None:
        self._known = known
        self._repositories = repositories

    def repositories_with(self, registry: str, digest: Digest) -> Sequence[str]:
        """Where a blob may be mounted from, the likeliest first."""
        hinted = self._repositories.get(digest, ())
        return [*hinted, *(name for name in self._known.repositories_with(registry, digest) if name not in hinted)]

    def saw_blob(self, registry: str, repository: str, digest: Digest) -> None:
        """Remembers it for later runs."""
        self._known.saw_blob(registry, repository, digest)

    def converted(self, digest: Digest, recipe: str) -> Descriptor | None:
        """Nothing in a bundle is converted, but the question is part of the port."""
        return self._known.converted(digest, recipe)

    def learned_conversion(self, digest: Digest, recipe: str, result: Descriptor) -> None:
        """As for `converted`."""
        self._known.learned_conversion(digest, recipe, result)
