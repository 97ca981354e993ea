"""Making the plan: walks the graphs of all images at once, asking sources and destinations side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from imgmove.engine.choose import check_platform, choose_one, choose_several, flattened
from imgmove.engine.convert import Conversions, Recipe, is_convertible
from imgmove.engine.graph import DEEPEST_INDEX, MOST_REFERRERS, grow, holds, read_content, read_node
from imgmove.engine.plan import Choice, Fate, Move, Plan, PlannedBlob, PlannedImage, PlannedTree
from imgmove.engine.pool import Pool, TaskGroup
from imgmove.errors import ImgmoveError, MalformedContent, Side, UsageError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Index, Manifest, Node
from imgmove.model.platform import Platform
from imgmove.ports import (
    BlobMounter,
    Destination,
    InRegistry,
    Knowledge,
    ManifestMaker,
    NamedImage,
    NameResolver,
    PullingDestination,
    ReferrerLister,
)

Answer = TypeVar("Answer")

_LARGEST_CONFIG = 16 << 20


@dataclass
class _Survey:
    """What is found out about one move while its tasks run."""

    move: Move
    root: Descriptor | None = None
    found: dict[str, Descriptor | None] = field(default_factory=dict)
    questions: int = 0
    is_present: bool = False
    referrers: dict[Digest, NamedImage] = field(default_factory=dict)
    subjects: dict[Digest, set[Digest]] = field(default_factory=dict)
    visited: set[Digest] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    error: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error


@dataclass(frozen=True, slots=True)
class _Status:
    fate: Fate
    mount_from: str = ""
    result: Descriptor | None = None


def make_plan(
    moves: Sequence[Move],
    choice: Choice,
    pool: Pool,
    *,
    conversions: Conversions | None = None,
    knowledge: Knowledge | None = None,
) -> Plan:
    """Finds out what has to move.

    A move that can't be planned is in the plan with its error; the others are planned all the same. Every blob is
    asked about, because a manifest that is present proves nothing about its children.

    Raises:
        Interrupted: the run was cancelled.
    """
    return _Planner(choice, pool, conversions, knowledge).plan(moves)


class _Planner:
    def __init__(
        self, choice: Choice, pool: Pool, conversions: Conversions | None, knowledge: Knowledge | None
    ) -> None:
        self._choice = choice
        self._run = pool.run
        self._group = TaskGroup(pool)
        self._conversions = conversions
        self._knowledge = knowledge
        self._lock = threading.Lock()
        self._nodes: dict[Digest, Node] = {}
        self._reading: dict[Digest, threading.Lock] = {}
        self._statuses: dict[tuple[int, Digest, str], _Status | BaseException | None] = {}

    def plan(self, moves: Sequence[Move]) -> Plan:
        surveys = [_Survey(move) for move in moves]
        for survey in surveys:
            self._begin(survey)
        self._group.wait()
        images = [self._assemble(survey) for survey in surveys]
        return Plan(images, self._conversions)

    # --- the tasks: each asks one question and spawns those that follow from its answer

    def _spawn(self, survey: _Survey, task: Callable[[], None]) -> None:
        self._group.spawn(task, survey.fail)

    def _begin(self, survey: _Survey) -> None:
        names = survey.move.names if isinstance(survey.move.destination, NameResolver) and self._may_be_done else ()
        survey.questions = 1 + len(names)
        self._spawn(survey, partial(self._resolve, survey))
        for name in names:
            self._spawn(survey, partial(self._find, survey, name))

    @property
    def _may_be_done(self) -> bool:
        # An image that comes without a manifest has another digest before its conversion than after, so a name at
        # the destination never seems to prove anything about it.
        return not self._choice.recheck and (self._conversions is None or not self._conversions.is_asked_for)

    def _resolve(self, survey: _Survey) -> None:
        move = survey.move
        root: Descriptor = self._ask("source", f"resolving {move.label}", lambda: move.source.resolve(move.name))
        if isinstance(move.destination, PullingDestination):
            self._survey_holding(survey, move.destination, root)
            return
        if self._choice.platforms:
            root = self._choose(survey, root, self._choice.platforms)
        survey.root = root
        self._answered(survey)

    def _survey_holding(self, survey: _Survey, destination: PullingDestination, root: Descriptor) -> None:
        """Asks a destination that takes one platform of an image, and knows by itself what it lacks."""
        if len(self._choice.platforms) > 1:
            raise UsageError(f"{survey.move.label}: an engine takes one platform of an image, not several")
        if self._choice.platforms or root.is_index:
            platforms = self._choice.platforms or (
                self._ask("destination", "asking for the platform", destination.platform),
            )
            root = self._choose(survey, root, platforms)
        survey.root = root
        node = self._node(survey, root)
        if not isinstance(node, Manifest) or node.config is None or not is_convertible(node):
            raise UsageError(f"{survey.move.label} is no image that an engine could run").on("source")
        survey.visited.add(root.digest)
        config = self._content(survey, node.config)
        what = f"asking what it holds of {root.digest.short}"
        holding = self._ask("destination", what, lambda: destination.holding(node, config, survey.move.names))
        survey.is_present = holding.is_complete and self._may_be_done
        for child in node.children:
            recipe = self._recipe(node, child, is_made_up=self._is_made_up(survey.move, root.digest))
            key = _key(survey.move, child, recipe)
            self._statuses[key] = _Status("send" if child.digest in holding.missing else "present")

    def _find(self, survey: _Survey, name: str) -> None:
        destination = survey.move.destination
        assert isinstance(destination, NameResolver)
        survey.found[name] = self._ask("destination", f"asking for {name}", lambda: destination.find(name))
        self._answered(survey)

    def _answered(self, survey: _Survey) -> None:
        with self._lock:
            survey.questions -= 1
            if survey.questions:
                return
        root = survey.root
        assert root is not None
        # Tags are put last, so a tag that names the root proves that everything below it has been put.
        survey.is_present = bool(survey.found) and all(
            found is not None and found.digest == root.digest for found in survey.found.values()
        )
        if survey.is_present:
            self._want_referrers(survey, root.digest, 0)
        else:
            self._visit(survey, root, 0)

    def _choose(self, survey: _Survey, root: Descriptor, platforms: Sequence[Platform]) -> Descriptor:
        node = self._node(survey, root)
        if isinstance(node, Manifest):
            check_platform(node, platforms, partial(self._content, survey))
            return root
        index = flattened(node, partial(self._node, survey))
        if len(platforms) == 1:
            return choose_one(index, platforms[0])
        made = choose_several(index, platforms)
        if len(made.manifests) == len(index.manifests):
            return root
        survey.notes.append(f"{survey.move.label}: an index of some platforms has a digest of its own")
        with self._lock:
            self._nodes[made.descriptor.digest] = made
        return made.descriptor

    def _visit(self, survey: _Survey, descriptor: Descriptor, depth: int) -> None:
        with self._lock:
            if descriptor.digest in survey.visited:
                return
            survey.visited.add(descriptor.digest)
        if depth > DEEPEST_INDEX:
            raise MalformedContent(f"indexes and referrers lead to one another more than {DEEPEST_INDEX} deep")
        self._spawn(survey, partial(self._read, survey, descriptor, depth))
        self._want_referrers(survey, descriptor.digest, depth)

    def _read(self, survey: _Survey, descriptor: Descriptor, depth: int) -> None:
        node = self._node(survey, descriptor)
        is_made_up = self._is_made_up(survey.move, descriptor.digest)
        for child in node.children:
            if child.is_manifest and isinstance(node, Index):
                self._visit(survey, child, depth + 1)
            elif not child.is_foreign:
                self._want_status(survey, child, self._recipe(node, child, is_made_up=is_made_up))

    def _want_referrers(self, survey: _Survey, subject: Digest, depth: int) -> None:
        source = survey.move.source
        if self._choice.referrers and isinstance(source, ReferrerLister):
            self._spawn(survey, partial(self._list_referrers, survey, source, subject, depth))

    def _list_referrers(self, survey: _Survey, source: ReferrerLister, subject: Digest, depth: int) -> None:
        what = f"asking what refers to {subject.short}"
        for referrer in self._ask("source", what, lambda: source.referrers(subject)):
            digest = referrer.descriptor.digest
            with self._lock:
                known = survey.referrers.get(digest)
                names = tuple(dict.fromkeys((*(known.names if known else ()), *referrer.names)))
                survey.referrers[digest] = NamedImage(referrer.descriptor, names)
                survey.subjects.setdefault(digest, set()).add(subject)
                is_new = known is None
                if len(survey.referrers) > MOST_REFERRERS:
                    raise MalformedContent(f"more than {MOST_REFERRERS} manifests refer to {survey.move.label}")
            if is_new:
                self._spawn(survey, partial(self._consider_referrer, survey, referrer, depth + 1))

    def _consider_referrer(self, survey: _Survey, referrer: NamedImage, depth: int) -> None:
        if survey.is_present:
            destination = survey.move.destination
            assert isinstance(destination, Destination)
            what = f"asking for referrer {referrer.descriptor.digest.short}"
            if self._ask("destination", what, lambda: holds(destination, referrer)):
                with self._lock:
                    survey.referrers.pop(referrer.descriptor.digest, None)
                return
        self._visit(survey, referrer.descriptor, depth)

    def _want_status(self, survey: _Survey, blob: Descriptor, recipe: Recipe | None) -> None:
        key = _key(survey.move, blob, recipe)
        with self._lock:
            if key in self._statuses:
                return
            self._statuses[key] = None
        self._group.spawn(
            partial(self._check, survey, key, blob, recipe), lambda error: self._statuses.__setitem__(key, error)
        )

    def _check(self, survey: _Survey, key: tuple[int, Digest, str], blob: Descriptor, recipe: Recipe | None) -> None:
        destination = survey.move.destination
        assert isinstance(destination, Destination)
        expected = blob
        if recipe is not None:
            known = self._knowledge.converted(blob.digest, recipe.name) if self._knowledge else None
            if known is None:
                self._statuses[key] = _Status("send")
                return
            expected = known
        has = self._ask("destination", f"asking for {blob.digest.short}", lambda: destination.has(expected))
        if has:
            self._statuses[key] = _Status("present", result=expected)
        else:
            self._statuses[key] = self._send_or_mount(survey.move, expected, is_converted=recipe is not None)

    def _send_or_mount(self, move: Move, blob: Descriptor, *, is_converted: bool) -> _Status:
        destination, source = move.destination, move.source
        result = blob if is_converted else None
        if not isinstance(destination, BlobMounter):
            return _Status("send")
        if isinstance(source, InRegistry) and source.registry == destination.registry and not is_converted:
            return _Status("mount", source.repository)
        candidates = self._knowledge.repositories_with(destination.registry, blob.digest) if self._knowledge else ()
        for repository in candidates:
            if repository != destination.repository:
                return _Status("mount", repository, result)
        return _Status("send")

    # --- what the tasks share

    def _ask(self, side: Side, what: str, question: Callable[[], Answer]) -> Answer:
        try:
            return self._run.persist(what, question)
        except ImgmoveError as error:
            raise error.on(side) from error.__cause__

    def _content(self, survey: _Survey, descriptor: Descriptor) -> bytes:
        what = f"reading config {descriptor.digest.short}"
        return self._ask("source", what, lambda: read_content(survey.move.source, descriptor, _LARGEST_CONFIG))

    def _node(self, survey: _Survey, descriptor: Descriptor) -> Node:
        """Reads a node once, however many images share it."""
        with self._lock:
            if node := self._nodes.get(descriptor.digest):
                return node
            lock = self._reading.setdefault(descriptor.digest, threading.Lock())
        with lock:
            if node := self._nodes.get(descriptor.digest):
                return node
            what = f"reading manifest {descriptor.digest.short}"
            node = self._ask("source", what, lambda: read_node(survey.move.source, descriptor))
            self._nodes[descriptor.digest] = node
            return node

    def _is_made_up(self, move: Move, digest: Digest) -> bool:
        return isinstance(move.source, ManifestMaker) and move.source.is_made_up(digest)

    def _recipe(self, node: Node, child: Descriptor, *, is_made_up: bool) -> Recipe | None:
        if self._conversions is None or not isinstance(node, Manifest) or not is_convertible(node):
            return None
        return None if child == node.config else self._conversions.recipe(child, is_made_up=is_made_up)

    # --- from what was found out to the plan

    def _assemble(self, survey: _Survey) -> PlannedImage:
        try:
            return self._assembled(survey)
        except ImgmoveError as error:
            return PlannedImage(survey.move, survey.root, None, error=error)

    def _assembled(self, survey: _Survey) -> PlannedImage:
        if survey.error is not None:
            raise survey.error
        root = survey.root
        assert root is not None
        image = None if survey.is_present else self._planned(survey, NamedImage(root, survey.move.names))
        referrers = [self._planned(survey, referrer) for referrer in survey.referrers.values()]
        kept = self._unchanged_subjects(survey, referrers)
        if len(kept) < len(referrers):
            count = len(referrers) - len(kept)
            survey.notes.append(
                f"{survey.move.label}: {count} referrer{'s' * (count > 1)} (signatures and the like) left behind, "
                "because converting changes the digest that they refer to"
            )
        return PlannedImage(
            move=survey.move,
            root=root,
            image=image,
            referrers=tuple(_subjects_first(kept, survey.subjects)),
            is_present=survey.is_present,
            notes=tuple(survey.notes),
        )

    def _planned(self, survey: _Survey, named: NamedImage) -> PlannedTree:
        tree = grow(named.descriptor, named.names, self._nodes)
        recipes: dict[Digest, Recipe | None] = {}
        is_made_up = False
        for node in tree.nodes:
            node_is_made_up = self._is_made_up(survey.move, node.descriptor.digest)
            is_made_up = is_made_up or node_is_made_up
            for child in node.children:
                recipe = self._recipe(node, child, is_made_up=node_is_made_up)
                recipes[child.digest] = recipes.get(child.digest) or recipe
        blobs = tuple(self._planned_blob(survey.move, blob, recipes[blob.digest]) for blob in tree.blobs)
        return PlannedTree(tree, blobs, is_made_up)

    def _planned_blob(self, move: Move, blob: Descriptor, recipe: Recipe | None) -> PlannedBlob:
        status = self._statuses[_key(move, blob, recipe)]
        if isinstance(status, BaseException):
            raise status
        assert status is not None
        return PlannedBlob(move.source, move.destination, blob, status.fate, status.mount_from, recipe, status.result)

    def _unchanged_subjects(self, survey: _Survey, referrers: Sequence[PlannedTree]) -> list[PlannedTree]:
        if self._conversions is None:
            return list(referrers)
        changed: set[Digest] = set()
        for digest in survey.visited:
            node = self._nodes.get(digest)
            if node is not None and self._is_changed(survey.move, node):
                changed.add(digest)
        return [planned for planned in referrers if not survey.subjects[planned.tree.root.digest] & changed]

    def _is_changed(self, move: Move, node: Node) -> bool:
        assert self._conversions is not None
        if isinstance(node, Index):
            return any(
                self._is_changed(move, self._nodes[child.digest])
                for child in node.manifests
                if child.digest in self._nodes
            )
        return self._conversions.changes(node, is_made_up=self._is_made_up(move, node.descriptor.digest))


def _key(move: Move, blob: Descriptor, recipe: Recipe | None) -> tuple[int, Digest, str]:
    return id(move.destination), blob.digest, recipe.name if recipe else ""


def _subjects_first(referrers: Sequence[PlannedTree], subjects: Mapping[Digest, set[Digest]]) -> list[PlannedTree]:
    """A referrer may have referrers of its own; those come after it. Circles are broken at some point."""
    waiting = {planned.tree.root.digest: planned for planned in referrers}
    ordered: list[PlannedTree] = []
    while waiting:
        ready = [item for digest, item in waiting.items() if not (subjects[digest] & waiting.keys() - {digest})]
        for planned in ready or [next(iter(waiting.values()))]:
            ordered.append(planned)
            del waiting[planned.tree.root.digest]
    return ordered
