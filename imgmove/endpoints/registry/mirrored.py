"""A repository that can be read from several places, as registries.conf names them: the first that has it serves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from imgmove.endpoints.registry.repository import RegistrySource
from imgmove.errors import AccessDenied, ImgmoveError, NetworkError, NotFound
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.ports import NamedImage, Reader

Answer = TypeVar("Answer")


class MirroredSource:
    """Mirrors and the registry itself, tried in this order. Content is verified by digest, wherever it comes from."""

    def __init__(self, sources: Sequence[RegistrySource]) -> None:
        self._sources = sources

    def resolve(self, name: str) -> Descriptor:
        """What the first place that knows the name says."""
        return self._first(lambda source: source.resolve(name))

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """From the first place that has it."""
        return self._first(lambda source: source.open(descriptor, offset))

    def tags(self) -> Iterator[str]:
        """The registry's own list: a mirror's may be old."""
        return self._sources[-1].tags()

    def referrers(self, subject: Digest) -> Sequence[NamedImage]:
        """What the first place that has the subject says."""
        return self._first(lambda source: source.referrers(subject))

    def close(self) -> None:
        """Connections belong to the hosts."""

    def _first(self, ask: Callable[[RegistrySource], Answer]) -> Answer:
        for source in self._sources[:-1]:
            with contextlib.suppress(NotFound, NetworkError, AccessDenied):
                return ask(source)
        try:
            return ask(self._sources[-1])
        except ImgmoveError as error:
            error.message += f" (nor do its {len(self._sources) - 1} mirrors)" if isinstance(error, NotFound) else ""
            raise
