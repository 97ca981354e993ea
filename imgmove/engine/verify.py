"""Proving that content is whole: walking the graph again and hashing everything that it reaches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from imgmove.engine.blobs import SidedReader
from imgmove.engine.graph import DEEPEST_INDEX, MOST_REFERRERS, ManifestAllowance, open_content, read_node
from imgmove.engine.pool import Pool, TaskGroup
from imgmove.errors import ContentError, ImgmoveError, MalformedContent, NotFound, Side
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Index, Node
from imgmove.ports import BlobFinished, BlobStarted, BytesMoved, ContentHasher, NamedImage, ReferrerLister, Source
from imgmove.streams import ContentCheck, VerifyingReader, drain

_QUESTIONS = 3
"""So many commands hash side by side on another host, which allows ten sessions as a rule."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something reachable that is missing or wrong."""

    descriptor: Descriptor
    error: ImgmoveError


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found below some root.

    Attributes:
        nodes: all manifests and indexes that could be read.
        blobs: all configs and layers that the manifests name, foreign ones left out.
        referrers: those roots among the nodes that refer to others.
        faults: what is missing or wrong; empty when all is well.
    """

    root: Descriptor
    nodes: tuple[Node, ...]
    blobs: tuple[Descriptor, ...]
    referrers: tuple[NamedImage, ...]
    faults: tuple[Fault, ...]

    @property
    def bytes(self) -> int:
        """How much was hashed."""
        return sum(len(node.content) for node in self.nodes) + sum(blob.size for blob in self.blobs)

    def raise_first(self) -> None:
        """Raises the first fault's error, saying how many there are.

        Raises:
            ContentError, NotFound: content is wrong or missing.
        """
        if not self.faults:
            return
        error = self.faults[0].error
        if len(self.faults) > 1:
            error.message += f" (and {len(self.faults) - 1} more)"
        raise error


def verify(
    source: Source,
    root: Descriptor,
    pool: Pool,
    *,
    with_referrers: bool,
    side: Side = "source",
    has: Callable[[Descriptor], bool] | None = None,
) -> Verified:
    """Reads and hashes everything reachable from a root.

    Args:
        with_referrers: whether signatures and the like are reached too.
        side: the side to blame in errors.
        has: asked of each blob instead of reading it; manifests are read all the same.

    Raises:
        Interrupted: the run was cancelled.
        ImgmoveError: something other than missing or wrong content, such as a broken connection.
    """
    walk = _Walk(source, pool, with_referrers=with_referrers, side=side, has=has)
    walk.visit(root, 0)
    walk.group.wait()
    walk.hash_all()
    if walk.error is not None:
        raise walk.error
    return Verified(
        root, tuple(walk.nodes.values()), tuple(walk.blobs.values()), tuple(walk.referrers.values()), tuple(walk.faults)
    )


@dataclass
class _Walk:
    source: Source
    pool: Pool
    with_referrers: bool = field(kw_only=True)
    side: Side = field(kw_only=True)
    has: Callable[[Descriptor], bool] | None = field(kw_only=True)
    nodes: dict[Digest, Node] = field(default_factory=dict)
    blobs: dict[Digest, Descriptor] = field(default_factory=dict)
    referrers: dict[Digest, NamedImage] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    allowance: ManifestAllowance = field(default_factory=ManifestAllowance)
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self.group = TaskGroup(self.pool)
        self._seen: set[Digest] = set()
        self._lock = threading.Lock()

    def visit(self, descriptor: Descriptor, depth: int) -> None:
        if depth > DEEPEST_INDEX:
            error = MalformedContent(f"indexes and referrers lead to one another more than {DEEPEST_INDEX} deep")
            self._failed(descriptor, error)
            return
        if self._is_new(descriptor.digest):
            self._spawn(descriptor, partial(self._read, descriptor, depth))
            if self.with_referrers and isinstance(self.source, ReferrerLister):
                self._spawn(descriptor, partial(self._ask, self.source, descriptor.digest, depth))

    def hash_all(self) -> None:
        """Proves the blobs that the place may hash itself, the largest first; it gets many with one question."""
        source = self.source
        if self.error is not None or self.has is not None or not isinstance(source, ContentHasher):
            return
        blobs = sorted(self.blobs.values(), key=lambda blob: -blob.size)
        for start in range(_QUESTIONS):
            if share := blobs[start::_QUESTIONS]:
                self._spawn(share[0], partial(self._hash_there, source, share))
        self.group.wait()

    def _spawn(self, descriptor: Descriptor, task: Callable[[], None]) -> None:
        self.group.spawn(task, partial(self._failed, descriptor), urgency=descriptor.size)

    def _failed(self, descriptor: Descriptor, error: BaseException) -> None:
        if isinstance(error, ContentError | NotFound):
            self.faults.append(Fault(descriptor, _sided(error.alone(), self.side)))
        elif self.error is None:
            self.error = _sided(error, self.side) if isinstance(error, ImgmoveError) else error

    def _is_new(self, digest: Digest) -> bool:
        with self._lock:
            if digest in self._seen:
                return False
            self._seen.add(digest)
            return True

    def _read(self, descriptor: Descriptor, depth: int) -> None:
        self.allowance.spend(descriptor)
        node = self.pool.run.persist(
            f"reading manifest {descriptor.digest.short}", lambda: read_node(self.source, descriptor)
        )
        self.nodes[descriptor.digest] = node
        for child in node.children:
            if child.is_manifest and isinstance(node, Index):
                self.visit(child, depth + 1)
            elif not child.is_foreign and self._is_new(child.digest):
                self.blobs[child.digest] = child
                if self.has is not None:
                    self._spawn(child, partial(self._look, child))
                elif not isinstance(self.source, ContentHasher):
                    self._spawn(child, partial(self._hash, child))

    def _ask(self, source: ReferrerLister, subject: Digest, depth: int) -> None:
        found = self.pool.run.persist(f"asking what refers to {subject.short}", lambda: source.referrers(subject))
        for referrer in found:
            self.referrers.setdefault(referrer.descriptor.digest, referrer)
            if len(self.referrers) > MOST_REFERRERS:
                raise MalformedContent(f"more than {MOST_REFERRERS} manifests refer to one another")
            self.visit(referrer.descriptor, depth + 1)

    def _look(self, blob: Descriptor) -> None:
        assert self.has is not None
        has = self.has
        if not self.pool.run.persist(f"asking for {blob.digest.short}", lambda: has(blob)):
            raise NotFound(f"blob {blob.digest} is not there, or not of its size")

    def _hash_there(self, source: ContentHasher, blobs: Sequence[Descriptor]) -> None:
        run = self.pool.run
        left = {blob.digest: blob for blob in blobs}

        def attempt() -> None:
            for blob, found in source.hashes(list(left.values())):
                run.check()
                # One that is wrong is read all the same: the words for what is wrong with it are found there.
                if found == blob.digest and left.pop(blob.digest, None) is not None:
                    key = str(blob.digest)
                    run.observer.on(BlobStarted(key, blob.digest.short, blob.size))
                    run.observer.on(BytesMoved(key, blob.size))
                    run.observer.on(BlobFinished(key, blob.digest.short, blob.size, "present"))

        run.persist(f"hashing {len(left)} blobs where they lie", attempt, lambda: -len(left))
        for blob in left.values():
            self._spawn(blob, partial(self._hash, blob))

    def _hash(self, blob: Descriptor) -> None:
        run, key = self.pool.run, str(blob.digest)
        check = ContentCheck(blob)
        run.observer.on(BlobStarted(key, blob.digest.short, blob.size))

        def attempt() -> None:
            start = check.rewind(check.position)
            reader = run.watched(SidedReader(open_content(self.source, blob, start), self.side), key)
            try:
                drain(VerifyingReader(reader, check))
            finally:
                reader.close()

        run.persist(f"reading {blob.digest.short}", attempt, lambda: check.position)
        run.observer.on(BlobFinished(key, blob.digest.short, blob.size, "present"))


def differences(one: Verified, other: Verified) -> Sequence[str]:
    """What two roots do not share, a line each; none when they reach the same content.

    Where the roots have one digest and both are whole, all below is the same; only referrers can differ.
    """
    lines: list[str] = []
    if one.root.digest != other.root.digest:
        lines.append(f"the image is {one.root.digest} here and {other.root.digest} there")
    for kind, ours, theirs in (
        ("manifest", _digests(one.nodes), _digests(other.nodes)),
        ("blob", {blob.digest for blob in one.blobs}, {blob.digest for blob in other.blobs}),
    ):
        lines += [f"{kind} {digest} is only in the first" for digest in sorted(ours - theirs)]
        lines += [f"{kind} {digest} is only in the second" for digest in sorted(theirs - ours)]
    return lines


def _digests(nodes: Sequence[Node]) -> set[Digest]:
    return {node.descriptor.digest for node in nodes}


def _sided(error: ImgmoveError, side: Side) -> ImgmoveError:
    return error.on(side)
