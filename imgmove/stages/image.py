"""The one image that a person means, read as far as its manifest and config; most stages begin so."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

from imgmove.engine.choose import check_platform, choose_one, flattened, preferred
from imgmove.engine.graph import ManifestAllowance, read_content, read_node, resolved
from imgmove.errors import ImgmoveError
from imgmove.model.descriptor import Descriptor
from imgmove.model.location import Location, PipeLocation
from imgmove.model.manifest import LARGEST_CONFIG, Manifest, Node
from imgmove.model.platform import Platform
from imgmove.ports import Source
from imgmove.stages.naming import find_origins
from imgmove.stages.session import Session

Answer = TypeVar("Answer")

_DEFAULT_PLATFORM = Platform("linux", "amd64")


class SourceImage:
    """An image at its source, asked with patience. An archive out of a pipe is put into a temporary file first.

    Attributes:
        source: what holds it.
        label: the image as a location.
        root: what its name stands for.

    Raises (all methods too):
        NotFound: there is none.
        UsageError: there are several, and none is named.
        ImgmoveError: it can't be read; the error says that this was at the source.
    """

    def __init__(self, session: Session, location: Location) -> None:
        self._session = session
        self._allowance = ManifestAllowance()
        location = session.endpoints.looked_up(location)
        if isinstance(location, PipeLocation):
            location = session.endpoints.spooled(location)
        # Several are several names of one image.
        origin = find_origins(session.endpoints, location, every=False)[0]
        source = origin.source
        assert isinstance(source, Source)
        self.source = source
        self.label = origin.label
        self.root = self.ask(f"resolving {origin.label}", lambda: resolved(source, origin.name))

    @cached_property
    def node(self) -> Node:
        """The index or manifest that the name stands for."""
        return self.read(self.root)

    def read(self, descriptor: Descriptor) -> Node:
        """A manifest or index of it."""
        what = f"reading {descriptor.digest.short}"
        self.ask(what, lambda: self._allowance.spend(descriptor))
        return self.ask(what, lambda: read_node(self.source, descriptor))

    def content(self, descriptor: Descriptor) -> bytes:
        """A config."""
        what = f"reading {descriptor.digest.short}"
        return self.ask(what, lambda: read_content(self.source, descriptor, LARGEST_CONFIG))

    def chosen(self, platform: Platform | None) -> Manifest | None:
        """The manifest for a platform; by default linux/amd64's, else the first.

        Raises:
            NotFound: there is none for the platform.

        Returns:
            None where an index has nothing that runs.
        """
        node = self.node
        if isinstance(node, Manifest):
            if platform is not None:
                check_platform(node, (platform,), self.content)
            return node
        index = flattened(node, self.read)
        child = choose_one(index, platform) if platform else preferred(index, _DEFAULT_PLATFORM)
        found = self.read(child) if child is not None and child.is_manifest else None
        return found if isinstance(found, Manifest) else None

    def ask(self, what: str, question: Callable[[], Answer]) -> Answer:
        """Asks the source something, as often as patience lasts."""
        try:
            return self._session.run.persist(what, question)
        except ImgmoveError as error:
            raise error.on("source") from error.__cause__
