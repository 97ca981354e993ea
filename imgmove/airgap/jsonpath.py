"""The part of JSONPath that leads to images in custom resources: keys, positions, ``*`` and ``..`` (RFC 9535)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from imgmove.errors import UsageError
from imgmove.wire.yaml.documents import Tree

_STEP = re.compile(
    r"""(?P<deep>\.\.)?(?:\.?(?P<name>[A-Za-z_][\w-]*)|\.?(?P<star>\*)|\[\*(?P<all>)\]|\[(?P<number>-?\d{1,9})\]"""
    r"""|\[(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\])"""
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step: a key, a position, or everything (None); at any depth if ``is_deep``."""

    key: str | int | None
    is_deep: bool


@dataclass(frozen=True, slots=True)
class JsonPath:
    """A way to values, in documents of one kind or of all.

    Attributes:
        kind: of Kubernetes resources; empty for every document.
    """

    kind: str
    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, text: str) -> JsonPath:
        """Reads ``$.spec.image`` or ``KIND=$.spec.image``.

        Raises:
            UsageError: it is none, or uses what is not supported, such as filters.
        """
        kind, equals, path = text.partition("=") if not text.startswith("$") else ("", "", text)
        if not path.startswith("$") or (equals and not kind):
            raise UsageError(f"not a JSONPath: {text!r:.120}", hint="write $.spec.image or KIND=$.spec.image")
        steps: list[Step] = []
        position = 1
        while position < len(path):
            match = _STEP.match(path, position)
            if match is None or match.end() == position:
                raise UsageError(f"not a JSONPath that can be used: {text!r:.120}", hint="filters are not supported")
            steps.append(_step(match))
            position = match.end()
        return cls(kind, tuple(steps))

    def find(self, document: Tree) -> Iterator[Tree]:
        """The values that it leads to."""
        if self.kind and not (isinstance(document, dict) and document.get("kind") == self.kind):
            return
        found: list[Tree] = [document]
        for step in self.steps:
            bases = [item for tree in found for item in _all_below(tree)] if step.is_deep else found
            found = [item for tree in bases for item in _taken(tree, step.key)]
        yield from found


def _step(match: re.Match[str]) -> Step:
    is_deep = match["deep"] is not None
    if match["name"] or match["quoted"] is not None:
        return Step(match["name"] or match["quoted"], is_deep)
    return Step(int(match["number"]) if match["number"] else None, is_deep)


def _taken(tree: Tree, key: str | int | None) -> Iterator[Tree]:
    if isinstance(tree, dict):
        if key is None:
            yield from tree.values()
        elif isinstance(key, str) and key in tree:
            yield tree[key]
    elif isinstance(tree, list):
        if key is None:
            yield from tree
        elif isinstance(key, int) and -len(tree) <= key < len(tree):
            yield tree[key]


def _all_below(tree: Tree) -> Iterator[Tree]:
    yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _all_below(child)
