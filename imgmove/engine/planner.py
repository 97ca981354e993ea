"""Making the plan: walks the graphs of all images at once, asking sources and destinations side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from imgmove.engine.assemble import assemble
from imgmove.engine.choose import check_at_hand, check_platform, choose_one, choose_several, flattened
from imgmove.engine.convert import Conversions, Recipe, is_convertible
from imgmove.engine.graph import (
    DEEPEST_INDEX,
    MOST_REFERRERS,
    ManifestAllowance,
    ManifestsTogether,
    holds,
    read_content,
    read_node,
    resolved,
)
from imgmove.engine.plan import Choice, Move, Plan
from imgmove.engine.pool import Pool, TaskGroup
from imgmove.engine.survey import BlobKey, BlobStatus, Findings, Survey, blob_key, is_made_up
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
    NamedImage,
    NameResolver,
    PullingDestination,
    ReferrerLister,
)

Answer = TypeVar("Answer")

_LARGEST_CONFIG = 16 << 20


def make_plan(
    moves: Sequence[Move],
    choice: Choice,
    pool: Pool,
    *,
    conversions: Conversions | None = None,
    knowledge: Knowledge | None = None,
    together: ManifestsTogether | None = None,
) -> Plan:
    """Finds out what has to move.

    A move that can't be planned is in the plan with its error; the others are planned all the same. Every blob is
    asked about, because a manifest that is present proves nothing about its children.

    Args:
        together: what the manifests of plans weigh that are held with this one.

    Raises:
        Interrupted: the run was cancelled.
    """
    return _Planner(choice, pool, conversions, knowledge).plan(moves, together or ManifestsTogether())


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
        self._findings = Findings(conversions)
        self._reading: dict[Digest, threading.Lock] = {}

    def plan(self, moves: Sequence[Move], together: ManifestsTogether) -> Plan:
        surveys = [Survey(move, ManifestAllowance(together)) for move in moves]
        for survey in surveys:
            self._begin(survey)
        self._group.wait()
        images = [assemble(self._findings, survey) for survey in surveys]
        return Plan(images, self._conversions)

    # --- the tasks: each asks one question and spawns those that follow from its answer

    def _spawn(self, survey: Survey, task: Callable[[], None]) -> None:
        self._group.spawn(task, survey.fail)

    def _begin(self, survey: Survey) -> None:
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

    def _resolve(self, survey: Survey) -> None:
        move = survey.move
        root: Descriptor = self._ask("source", f"resolving {move.label}", lambda: resolved(move.source, move.name))
        if isinstance(move.destination, PullingDestination):
            self._survey_holding(survey, move.destination, root)
            return
        if self._choice.platforms:
            root = self._choose(survey, root, self._choice.platforms)
        survey.root = root
        self._answered(survey)

    def _survey_holding(self, survey: Survey, destination: PullingDestination, root: Descriptor) -> None:
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
        check_at_hand(node, survey.move.label, holding.missing)
        for child in node.children:
            recipe = self._findings.recipe(node, child, is_made_up=is_made_up(survey.move, root.digest))
            key = blob_key(survey.move, child, recipe)
            self._findings.statuses[key] = BlobStatus("send" if child.digest in holding.missing else "present")

    def _find(self, survey: Survey, name: str) -> None:
        destination = survey.move.destination
        assert isinstance(destination, NameResolver)
        survey.found[name] = self._ask("destination", f"asking for {name}", lambda: destination.find(name))
        self._answered(survey)

    def _answered(self, survey: Survey) -> None:
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

    def _choose(self, survey: Survey, root: Descriptor, platforms: Sequence[Platform]) -> Descriptor:
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
            self._findings.nodes[made.descriptor.digest] = made
        return made.descriptor

    def _visit(self, survey: Survey, descriptor: Descriptor, depth: int) -> None:
        with self._lock:
            if descriptor.digest in survey.visited:
                return
            survey.visited.add(descriptor.digest)
        if depth > DEEPEST_INDEX:
            raise MalformedContent(f"indexes and referrers lead to one another more than {DEEPEST_INDEX} deep")
        self._spawn(survey, partial(self._read, survey, descriptor, depth))
        self._want_referrers(survey, descriptor.digest, depth)

    def _read(self, survey: Survey, descriptor: Descriptor, depth: int) -> None:
        node = self._node(survey, descriptor)
        made_up = is_made_up(survey.move, descriptor.digest)
        for child in node.children:
            if child.is_manifest and isinstance(node, Index):
                self._visit(survey, child, depth + 1)
            elif not child.is_foreign:
                self._want_status(survey, child, self._findings.recipe(node, child, is_made_up=made_up))

    def _want_referrers(self, survey: Survey, subject: Digest, depth: int) -> None:
        source = survey.move.source
        if self._choice.referrers and isinstance(source, ReferrerLister):
            self._spawn(survey, partial(self._list_referrers, survey, source, subject, depth))

    def _list_referrers(self, survey: Survey, source: ReferrerLister, subject: Digest, depth: int) -> None:
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

    def _consider_referrer(self, survey: Survey, referrer: NamedImage, depth: int) -> None:
        if survey.is_present:
            destination = survey.move.destination
            assert isinstance(destination, Destination)
            what = f"asking for referrer {referrer.descriptor.digest.short}"
            if self._ask("destination", what, lambda: holds(destination, referrer)):
                with self._lock:
                    survey.referrers.pop(referrer.descriptor.digest, None)
                return
        self._visit(survey, referrer.descriptor, depth)

    def _want_status(self, survey: Survey, blob: Descriptor, recipe: Recipe | None) -> None:
        key = blob_key(survey.move, blob, recipe)
        with self._lock:
            if key in self._findings.statuses:
                return
            self._findings.statuses[key] = None
        self._group.spawn(
            partial(self._check, survey, key, blob, recipe),
            lambda error: self._findings.statuses.__setitem__(key, error),
        )

    def _check(self, survey: Survey, key: BlobKey, blob: Descriptor, recipe: Recipe | None) -> None:
        destination = survey.move.destination
        assert isinstance(destination, Destination)
        expected = blob
        if recipe is not None:
            known = self._knowledge.converted(blob.digest, recipe.name) if self._knowledge else None
            if known is None:
                self._findings.statuses[key] = BlobStatus("send")
                return
            expected = known
        has = self._ask("destination", f"asking for {blob.digest.short}", lambda: destination.has(expected))
        if has:
            self._findings.statuses[key] = BlobStatus("present", result=expected)
        else:
            self._findings.statuses[key] = self._send_or_mount(survey.move, expected, is_converted=recipe is not None)

    def _send_or_mount(self, move: Move, blob: Descriptor, *, is_converted: bool) -> BlobStatus:
        destination, source = move.destination, move.source
        result = blob if is_converted else None
        if not isinstance(destination, BlobMounter):
            return BlobStatus("send")
        if isinstance(source, InRegistry) and source.registry == destination.registry and not is_converted:
            return BlobStatus("mount", source.repository)
        candidates = self._knowledge.repositories_with(destination.registry, blob.digest) if self._knowledge else ()
        for repository in candidates:
            if repository != destination.repository:
                return BlobStatus("mount", repository, result)
        return BlobStatus("send")

    # --- what the tasks share

    def _ask(self, side: Side, what: str, question: Callable[[], Answer]) -> Answer:
        try:
            return self._run.persist(what, question)
        except ImgmoveError as error:
            raise error.on(side) from error.__cause__

    def _content(self, survey: Survey, descriptor: Descriptor) -> bytes:
        what = f"reading config {descriptor.digest.short}"
        return self._ask("source", what, lambda: read_content(survey.move.source, descriptor, _LARGEST_CONFIG))

    def _node(self, survey: Survey, descriptor: Descriptor) -> Node:
        """Reads a node once, however many images share it."""
        with self._lock:
            if node := self._findings.nodes.get(descriptor.digest):
                return node
            lock = self._reading.setdefault(descriptor.digest, threading.Lock())
        with lock:
            if node := self._findings.nodes.get(descriptor.digest):
                return node
            what = f"reading manifest {descriptor.digest.short}"
            self._ask("source", what, lambda: survey.allowance.spend(descriptor))
            node = self._ask("source", what, lambda: read_node(survey.move.source, descriptor))
            self._findings.nodes[descriptor.digest] = node
            return node
