"""Moving from a pipe: content comes once, in its own order, and is sent on as it comes.

Nothing can be planned here. A blob whose digest the pipe tells is asked about and skipped or sent on; one that only
its hash can name is sent, converted where that was asked for, as an upload that is committed when the hash is known,
or cancelled when the destination turns out to have it. What it all means shows when the manifests are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from imgmove.engine.ahead import ReadAhead
from imgmove.engine.blobs import SidedReader, on_destination
from imgmove.engine.convert import Conversions, Recipe, converted_type, is_convertible
from imgmove.engine.graph import Tree, grow, read_content, read_node
from imgmove.engine.run import Run
from imgmove.errors import ImgmoveError, SizeMismatch, UsageError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest, Node
from imgmove.ports import (
    Arrival,
    BlobFinished,
    BlobMounter,
    BlobStarted,
    Compression,
    Destination,
    Knowledge,
    NamedImage,
    Outline,
    OutlinedDestination,
    PipeTaker,
    Reader,
    ReferrerLister,
    SequentialDestination,
    SequentialSource,
)
from imgmove.streams import BytesReader, ContentCheck, HashingReader, PeekReader, VerifyingReader, drain

Result = TypeVar("Result")

_TAR_BLOCK = 512
_LAYERS = {
    "none": media_types.OCI_LAYER,
    "gzip": media_types.OCI_LAYER_GZIP,
    "zstd": media_types.OCI_LAYER_ZSTD,
}


@dataclass(frozen=True)
class Piping:
    """Where a pipe's content goes and what happens to it on the way.

    Attributes:
        names: the names that an image of the pipe gets at the destination; None leaves the image out.
        conversions: as for a plan; ``made_up`` goes for layers that come without a manifest.
        referrers: whether signatures and the like come along.
    """

    destination: Destination
    names: Callable[[NamedImage], Sequence[str] | None]
    run: Run
    conversions: Conversions | None = None
    knowledge: Knowledge | None = None
    referrers: bool = True


@dataclass(frozen=True, slots=True)
class Piped:
    """An image that came out of a pipe: as it was there, and as it is at the destination."""

    image: NamedImage
    descriptor: Descriptor
    names: tuple[str, ...]


def move_pipe(source: SequentialSource, piping: Piping) -> Sequence[Piped]:
    """Sends everything that comes out of a pipe to one destination.

    Returns:
        The images, in the pipe's order.

    Raises:
        UsageError: the destination is a pipe too, and content has to be read before it has a digest.
        ImgmoveError: anything else that went wrong; names are put last, so nothing incomplete shows.
    """
    destination = piping.destination
    if isinstance(destination, OutlinedDestination):
        destination.begin(Outline((), (), (), is_whole=False))
    mover = _PipeMover(source, piping)
    for arrival in _sided(source.arrivals):
        piping.run.check()
        mover.take(arrival)
    done = mover.put_images()
    if isinstance(destination, OutlinedDestination):
        on_destination(destination.finish)
    return done


@dataclass
class _PipeMover:
    source: SequentialSource
    piping: Piping
    arrived: dict[Digest, Descriptor] = field(default_factory=dict)
    became: dict[Digest, Descriptor] = field(default_factory=dict)

    # --- blobs, as they come

    def take(self, arrival: Arrival) -> None:
        if arrival.digest in self.arrived or arrival.digest in self.became:
            self._check_again(arrival)
            return
        if self._is_there(arrival, self._known_result(arrival)):
            return
        peek = PeekReader(self.piping.run.watched(SidedReader(arrival.reader), arrival.key), _TAR_BLOCK)
        recipe = self._recipe(arrival, peek.start)
        if recipe is None and self._is_there(arrival, _named(arrival)):
            return
        if isinstance(self.piping.destination, SequentialDestination) and (recipe or arrival.digest is None):
            raise UsageError(
                "these layers get their digests only when they have been read, which is too late for another pipe",
                hint="write one side to a file",
            )
        self._send(arrival, peek, recipe)

    def _check_again(self, arrival: Arrival) -> None:
        """Reads another copy of what came before: readers that keep the last of two would get this one."""
        named = _named(arrival)
        if named is not None:
            drain(SidedReader(VerifyingReader(SidedReader(arrival.reader), ContentCheck(named))))

    def _is_there(self, arrival: Arrival, descriptor: Descriptor | None) -> bool:
        if descriptor is None or not self._destination_has(descriptor):
            return False
        self._settled(arrival, descriptor, arrival.diff_id)
        self._tell_finished(descriptor, "present")
        return True

    def _known_result(self, arrival: Arrival) -> Descriptor | None:
        """What a converted arrival became in an earlier run, if that is known before it has been read."""
        after, plain = self._wanted_compression(arrival), arrival.diff_id or arrival.digest
        if after is None or plain is None or self.piping.knowledge is None:
            return None
        return self.piping.knowledge.converted(plain, Recipe("none", after, self._level).name)

    def _send(self, arrival: Arrival, peek: PeekReader, recipe: Recipe | None) -> None:
        named = _named(arrival)
        plain: Reader = SidedReader(VerifyingReader(peek, ContentCheck(named))) if named else HashingReader(peek)
        # Reading and hashing what comes goes on in a thread of its own while the compressor works.
        taken = ReadAhead(plain) if recipe else plain
        stored = HashingReader(self._converted(taken, recipe)) if recipe else plain
        self.piping.run.observer.on(BlobStarted(arrival.key, arrival.key[:12], None if recipe else arrival.size))

        def described() -> Descriptor:
            if named is not None and recipe is None:
                return named
            assert isinstance(stored, HashingReader)
            kind = _LAYERS.get(recipe.after if recipe else arrival.compression, media_types.OCTET_STREAM)
            return Descriptor(kind, stored.digest, stored.size)

        # A pipe can't be read again: without a descriptor the destination takes pieces that it can send again.
        is_piped_on = isinstance(self.piping.destination, SequentialDestination)
        try:
            descriptor = self._upload(stored, described, named if is_piped_on else None)
        finally:
            if recipe:
                taken.close()
        is_plain = recipe is None and media_types.layer_compression(descriptor.media_type) == "none"
        source_digest = arrival.digest or (plain.digest if isinstance(plain, HashingReader) else None)
        diff_id = source_digest if is_plain or (recipe and recipe.before == "none") else None
        if recipe and source_digest and self.piping.knowledge:
            self.piping.knowledge.learned_conversion(source_digest, recipe.name, descriptor)
        self._settled(arrival, descriptor, diff_id)
        self.piping.run.observer.on(BlobFinished(arrival.key, descriptor.digest.short, descriptor.size, "sent"))

    def _upload(self, reader: Reader, described: Callable[[], Descriptor], begin: Descriptor | None) -> Descriptor:
        run, destination = self.piping.run, self.piping.destination
        if begin is None and isinstance(destination, PipeTaker):
            writer = on_destination(destination.put_from_pipe)
        else:
            writer = on_destination(lambda: destination.put_blob(begin))

        def write() -> None:
            writer.resume()
            writer.write(reader)

        try:
            on_destination(lambda: run.persist("sending from the pipe", write))
            descriptor = described()
            if begin is None and self._destination_has(descriptor):
                writer.abort()
            else:
                on_destination(lambda: run.persist("committing", lambda: writer.commit(descriptor)))
        except BaseException:
            writer.abort()
            raise
        return descriptor

    def _settled(self, arrival: Arrival, descriptor: Descriptor, diff_id: Digest | None) -> None:
        self.arrived[descriptor.digest] = descriptor
        if arrival.digest is None:
            self.source.became(arrival.key, descriptor, diff_id)
        elif descriptor.digest != arrival.digest:
            self.became[arrival.digest] = descriptor
        destination, knowledge = self.piping.destination, self.piping.knowledge
        if knowledge is not None and isinstance(destination, BlobMounter):
            knowledge.saw_blob(destination.registry, destination.repository, descriptor.digest)

    # --- conversion

    @property
    def _level(self) -> int | None:
        return self.piping.conversions.level if self.piping.conversions else None

    def _wanted_compression(self, arrival: Arrival) -> Compression | None:
        conversions = self.piping.conversions
        if conversions is None:
            return None
        return conversions.compression or (conversions.made_up if arrival.digest is None else None)

    def _recipe(self, arrival: Arrival, start: bytes) -> Recipe | None:
        """How to convert an arrival, judged by its first bytes, as no manifest has come to say what it is."""
        after = self._wanted_compression(arrival)
        if after is None:
            return None
        assert self.piping.conversions is not None
        before = arrival.compression
        # What has no digest yet is a layer for sure; anything may have one.
        if before == "none" and arrival.digest is not None and not _is_tar(start):
            return None
        is_asked_for = self.piping.conversions.compression is not None or before == "none"
        if before == after or before not in _LAYERS or not is_asked_for:
            return None
        return Recipe(before, after, self._level)  # type: ignore[arg-type]

    def _converted(self, reader: Reader, recipe: Recipe) -> Reader:
        assert self.piping.conversions is not None
        codec = self.piping.conversions.codec
        if recipe.before != "none":
            reader = SidedReader(codec.decompressing(reader, recipe.before))
        return reader if recipe.after == "none" else codec.compressing(reader, recipe.after, recipe.level)

    # --- manifests, when all has come

    def put_images(self) -> Sequence[Piped]:
        done: list[Piped] = []
        for image in _sided(self.source.images):
            names = self.piping.names(image)
            if names is None:
                continue
            tree = self._grown(image, tuple(names))
            referrers = self._referrers(tree)
            root = self._put_tree(tree, () if referrers else tree.names)
            for referrer in referrers:
                self._put_tree(referrer, referrer.names)
            if referrers and tree.names:
                self._put(root, tree.names)
            done.append(Piped(image, root.descriptor, tree.names))
        return done

    def _grown(self, image: NamedImage, names: tuple[str, ...]) -> Tree:
        nodes: dict[Digest, Node] = {}
        waiting = [image.descriptor]
        while waiting:
            descriptor = waiting.pop()
            if descriptor.digest not in nodes:
                node = _from_source(lambda: read_node(self.source, descriptor))  # noqa: B023 - called at once
                nodes[descriptor.digest] = node
                waiting.extend(child for child in node.children if child.is_manifest)
        return grow(image.descriptor, names, nodes)

    def _referrers(self, tree: Tree) -> Sequence[Tree]:
        source, found = self.source, {}
        if self.piping.referrers and isinstance(source, ReferrerLister):
            waiting = [node.descriptor.digest for node in tree.nodes]
            while waiting:
                subject = waiting.pop(0)
                for referrer in source.referrers(subject):
                    if referrer.descriptor.digest not in found:
                        found[referrer.descriptor.digest] = self._grown(referrer, referrer.names)
                        waiting.append(referrer.descriptor.digest)
        return list(found.values())

    def _put_tree(self, tree: Tree, names: Sequence[str]) -> Node:
        for blob in tree.blobs:
            self._ensure(blob)
        became = dict(self.became)
        for node in tree.nodes:
            made = self._rebuilt(node, became)
            self._put(made, (names or (str(made.descriptor.digest),)) if node is tree.nodes[-1] else ())
        return made

    def _rebuilt(self, node: Node, became: dict[Digest, Descriptor]) -> Node:
        conversions = self.piping.conversions
        if conversions is None:
            return node
        if isinstance(node, Manifest):
            if not is_convertible(node) and any(child.digest in became for child in node.children):
                raise UsageError(
                    f"manifest {node.descriptor.digest.short} is no image but holds a file that was converted",
                    hint="write the pipe to a file first",
                )
            for layer in node.layers:
                if layer.digest in became:
                    compression = media_types.layer_compression(became[layer.digest].media_type) or "none"
                    kind = converted_type(layer.media_type, compression)  # type: ignore[arg-type]
                    became[layer.digest] = replace(became[layer.digest], media_type=kind)
        made = conversions.rebuild(node, became)
        if made is not node:
            became[node.descriptor.digest] = made.descriptor
        return made

    def _ensure(self, blob: Descriptor) -> None:
        """Sees to it that a blob is at the destination: it came, or the source kept it, or it was there before."""
        came = self.arrived.get(blob.digest)
        if came is not None and came.size != blob.size:
            raise SizeMismatch(
                f"{blob.digest.short} has {came.size} bytes, not the {blob.size} that its descriptor says"
            ).on("source")
        if came is not None or blob.digest in self.became:
            return
        if self._destination_has(blob):
            self._tell_finished(blob, "present")
        else:
            content = _from_source(lambda: read_content(self.source, blob, blob.size))
            self.piping.run.observer.on(BlobStarted(str(blob.digest), blob.digest.short, blob.size))
            self._upload(BytesReader(content), lambda: blob, blob)
            self._tell_finished(blob, "sent")
        self.arrived[blob.digest] = blob

    def _put(self, node: Node, names: Sequence[str]) -> None:
        run, destination = self.piping.run, self.piping.destination

        def put() -> None:
            destination.put_manifest(node.content, node.media_type, names, algorithm=node.algorithm)

        on_destination(lambda: run.persist(f"putting manifest {node.descriptor.digest.short}", put))

    # --- asking and telling

    def _destination_has(self, descriptor: Descriptor) -> bool:
        run, destination = self.piping.run, self.piping.destination
        return on_destination(
            lambda: run.persist(f"asking for {descriptor.digest.short}", lambda: destination.has(descriptor))
        )

    def _tell_finished(self, descriptor: Descriptor, how: Literal["sent", "present"]) -> None:
        key = str(descriptor.digest)
        self.piping.run.observer.on(BlobFinished(key, descriptor.digest.short, descriptor.size, how))


def _named(arrival: Arrival) -> Descriptor | None:
    """What the pipe says that comes; None when only the hash of the bytes will tell."""
    if arrival.digest is None or arrival.size is None:
        return None
    return Descriptor(media_types.OCTET_STREAM, arrival.digest, arrival.size)


def _is_tar(start: bytes) -> bool:
    return start[257:262] == b"ustar" or start == bytes(_TAR_BLOCK)


def _from_source(call: Callable[[], Result]) -> Result:
    try:
        return call()
    except ImgmoveError as error:
        raise error.on("source") from error.__cause__


def _sided(items: Callable[[], Iterable[Result]]) -> Iterator[Result]:
    try:
        yield from items()
    except ImgmoveError as error:
        raise error.on("source") from error.__cause__
