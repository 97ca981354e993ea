"""Reading the graph: content of any kind, verified, and manifests as nodes."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from itertools import islice

from imgmove.errors import ImgmoveError, MalformedContent, NotFound, SizeMismatch
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import LARGEST_MANIFEST, Index, Node, parse_manifest, schema_1
from imgmove.model.media_types import SCHEMA1
from imgmove.ports import Destination, NamedImage, NameResolver, Opener, Reader, Source, TagLister, read_all
from imgmove.streams import BytesReader, ContentCheck

DEEPEST_INDEX = 16
"""How many indexes may stand in one another; nobody builds three, and a hostile chain must end somewhere."""

MOST_REFERRERS = 10_000
"""How many signatures and the like one image may have."""

_MOST_LOOKED_THROUGH = 1000
"""Tags; a page of them, as a rule."""

MOST_MANIFEST_BYTES = 8 << 20
"""Of all manifests of one image together, referrers too. Real ones take a hundredth of it; all are held in memory."""

MOST_TOGETHER_BYTES = 32 << 20
"""Of the manifests of all images in one plan, as far as an image has more of them than `MODEST_BYTES`."""

MODEST_BYTES = 1 << 20
"""What an image may have however many others there are; real ones have less."""


class ManifestsTogether:
    """What the manifests weigh that are held at one time, of one image or many; for many threads."""

    def __init__(self) -> None:
        self.taken = 0
        self.lock = threading.Lock()


class ManifestAllowance:
    """How much the manifests of one image may weigh; for many threads.

    Args:
        together: what all images weigh that are held with this one.
    """

    def __init__(self, together: ManifestsTogether | None = None) -> None:
        self._together = together or ManifestsTogether()
        self._taken = 0

    def spend(self, descriptor: Descriptor) -> None:
        """Takes off a manifest that is about to be read, whose size reading it will prove.

        Raises:
            MalformedContent: it would be too much. Images of ordinary sizes never hear that because of others.
        """
        together = self._together
        with together.lock:
            self._taken += descriptor.size
            together.taken += descriptor.size
            is_too_much = self._taken > MOST_MANIFEST_BYTES
            is_one_too_many = together.taken > MOST_TOGETHER_BYTES and self._taken > MODEST_BYTES
        if is_too_much:
            raise MalformedContent(f"the manifests of one image are over the limit of {MOST_MANIFEST_BYTES} bytes")
        if is_one_too_many:
            raise MalformedContent(
                f"the manifests of all images together are over the limit of {MOST_TOGETHER_BYTES} bytes",
                hint="move fewer of them at a time",
            )


@dataclass(frozen=True, slots=True)
class Tree:
    """Everything below one root, in the order in which a destination wants it.

    Attributes:
        root: as it was resolved.
        names: what the root is to be called; none for one that is reached by its digest alone.
        nodes: manifests and indexes, each once, children before parents, the root last.
        blobs: configs and layers, each once, in the order in which the manifests name them; foreign layers are not
            among them.
    """

    root: Descriptor
    names: tuple[str, ...]
    nodes: tuple[Node, ...]
    blobs: tuple[Descriptor, ...]


def resolved(source: Source, name: str) -> Descriptor:
    """What a name or digest stands for; whoever names a tag that is not there hears of those that are like it.

    Raises:
        NotFound: there is no such thing.
    """
    with suggesting(source, name):
        return source.resolve(name)


@contextmanager
def suggesting(place: object, name: str) -> Iterator[None]:
    """Where a tag turns out not to be there, tells those that are like it."""
    try:
        yield
    except NotFound as error:
        if not error.hint and ":" not in name and isinstance(place, TagLister):
            error.hint = _tags_like(place, name)
        raise


def open_content(source: Opener, descriptor: Descriptor, offset: int = 0) -> Reader:
    """Opens what a descriptor names; content that stands in the descriptor itself is taken from there."""
    if descriptor.data is not None and Digest.of(descriptor.data, descriptor.digest.algorithm) == descriptor.digest:
        return BytesReader(descriptor.data[offset:])
    return source.open(descriptor, offset)


def read_content(source: Opener, descriptor: Descriptor, most: int = LARGEST_MANIFEST) -> bytes:
    """The whole of a small blob or manifest, verified.

    Raises:
        ContentError: it is not what the descriptor says, or larger than ``most`` bytes.
        Truncated: it ends early.
    """
    if descriptor.size > most:
        raise SizeMismatch(f"{descriptor.digest} has {descriptor.size} bytes, over the limit of {most}")
    reader = open_content(source, descriptor)
    try:
        content = read_all(reader, descriptor.size)
    finally:
        reader.close()
    if len(content) < descriptor.size:
        raise SizeMismatch(
            f"{descriptor.digest} has {len(content)} bytes, not the {descriptor.size} that its descriptor says"
        )
    check = ContentCheck(descriptor)
    check.update(content)
    check.finish()
    return content


def read_node(source: Opener, descriptor: Descriptor) -> Node:
    """A manifest or index, verified and parsed.

    Raises:
        ContentError: it is not what its descriptor says, or can't be read as a manifest.
    """
    if descriptor.media_type in SCHEMA1:
        # Its digest is that of a part of it (without the signatures), so its content would seem to be wrong.
        raise schema_1()
    content = read_content(source, descriptor)
    try:
        return parse_manifest(content, descriptor.media_type, descriptor.digest.algorithm)
    except MalformedContent as error:
        raise type(error)(f"manifest {descriptor.digest.short}: {error.message}", hint=error.hint) from None


def grow(root: Descriptor, names: tuple[str, ...], nodes: Mapping[Digest, Node]) -> Tree:
    """Puts the nodes below a root in order. All of them must be in ``nodes``.

    Raises:
        MalformedContent: indexes stand in one another too deeply.
    """
    ordered: dict[Digest, Node] = {}
    blobs: dict[Digest, Descriptor] = {}

    def visit(descriptor: Descriptor, depth: int) -> None:
        if descriptor.digest in ordered:
            return
        if depth > DEEPEST_INDEX:
            raise MalformedContent(f"indexes stand in one another more than {DEEPEST_INDEX} deep")
        node = nodes[descriptor.digest]
        for child in node.children:
            if child.is_manifest and isinstance(node, Index):
                visit(child, depth + 1)
            elif not child.is_foreign:
                blobs.setdefault(child.digest, child)
        ordered[descriptor.digest] = node

    visit(root, 0)
    return Tree(root, names, tuple(ordered.values()), tuple(blobs.values()))


def blame(error: ImgmoveError, name: str) -> ImgmoveError:
    """The same error with the name of an image before its message, once; others may share the one that was given."""
    if not name or name in error.message:
        return error
    blamed = copy(error)
    # The side is told of what went wrong, not of the image.
    blamed.message = f"{name}: {error.side}: {error.message}" if error.side else f"{name}: {error.message}"
    blamed.side = None
    blamed.__cause__ = error.__cause__
    return blamed


def _tags_like(source: TagLister, name: str) -> str:
    try:
        tags = [tag for tag in islice(source.tags(), _MOST_LOOKED_THROUGH) if not tag.startswith("sha256-")]
    except NotFound:
        tags = []
    except ImgmoveError:
        return ""
    near = difflib.get_close_matches(name, tags, n=3) or (tags if len(tags) < 4 else [])
    if near:
        return f"there is {', '.join(near)}"
    return "no tag is like it" if tags else "there are no tags at all; is the repository's name right"


def holds(destination: Destination, referrer: NamedImage) -> bool:
    """Whether a destination has a referrer, under its name if it has one."""
    if referrer.names and isinstance(destination, NameResolver):
        found = [destination.find(name) for name in referrer.names]
        return all(item is not None and item.digest == referrer.descriptor.digest for item in found)
    return destination.has(referrer.descriptor)
