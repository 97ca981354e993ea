"""From what was found out to the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imgmove.engine.convert import Recipe
from imgmove.engine.graph import grow
from imgmove.engine.plan import Move, PlannedBlob, PlannedImage, PlannedTree
from imgmove.engine.survey import Findings, Survey, blob_key, is_made_up
from imgmove.errors import ImgmoveError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Index, Node
from imgmove.ports import NamedImage


def assemble(findings: Findings, survey: Survey) -> PlannedImage:
    """What is planned for a move of which everything was found out; with its error where that failed."""
    try:
        return _assembled(findings, survey)
    except ImgmoveError as error:
        return PlannedImage(survey.move, survey.root, None, error=error)


def _assembled(findings: Findings, survey: Survey) -> PlannedImage:
    if survey.error is not None:
        raise survey.error
    root = survey.root
    assert root is not None
    image = None if survey.is_present else _planned(findings, survey, NamedImage(root, survey.move.names))
    referrers = [_planned(findings, survey, referrer) for referrer in survey.referrers.values()]
    kept = _unchanged_subjects(findings, survey, referrers)
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


def _planned(findings: Findings, survey: Survey, named: NamedImage) -> PlannedTree:
    tree = grow(named.descriptor, named.names, findings.nodes)
    recipes: dict[Digest, Recipe | None] = {}
    made_up = [is_made_up(survey.move, node.descriptor.digest) for node in tree.nodes]
    for node, node_is_made_up in zip(tree.nodes, made_up, strict=True):
        for child in node.children:
            recipe = findings.recipe(node, child, is_made_up=node_is_made_up)
            recipes[child.digest] = recipes.get(child.digest) or recipe
    blobs = tuple(_planned_blob(findings, survey.move, blob, recipes[blob.digest]) for blob in tree.blobs)
    return PlannedTree(tree, blobs, any(made_up))


def _planned_blob(findings: Findings, move: Move, blob: Descriptor, recipe: Recipe | None) -> PlannedBlob:
    status = findings.statuses[blob_key(move, blob, recipe)]
    if isinstance(status, BaseException):
        raise status
    assert status is not None
    return PlannedBlob(move.source, move.destination, blob, status.fate, status.mount_from, recipe, status.result)


def _unchanged_subjects(findings: Findings, survey: Survey, referrers: Sequence[PlannedTree]) -> list[PlannedTree]:
    if findings.conversions is None:
        return list(referrers)
    changed: set[Digest] = set()
    for digest in survey.visited:
        node = findings.nodes.get(digest)
        if node is not None and _is_changed(findings, survey.move, node):
            changed.add(digest)
    return [planned for planned in referrers if not survey.subjects[planned.tree.root.digest] & changed]


def _is_changed(findings: Findings, move: Move, node: Node) -> bool:
    assert findings.conversions is not None
    if isinstance(node, Index):
        return any(
            _is_changed(findings, move, findings.nodes[child.digest])
            for child in node.manifests
            if child.digest in findings.nodes
        )
    return findings.conversions.changes(node, is_made_up=is_made_up(move, node.descriptor.digest))


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
