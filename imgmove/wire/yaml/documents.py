"""Files of several YAML documents that others wrote, as texts with the lines on which they stand.

Nothing is taken for a number or a date, because ``tag: 1.20`` has to stay what it is. JSON is YAML too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from imgmove.errors import MalformedContent

if TYPE_CHECKING:
    import yaml

_MOST_VALUES = 150_000
"""In one document, what aliases repeat counted each time; about 60 MiB of memory."""
_DEEPEST = 100
_SMALL = _MOST_VALUES
"""Bytes: a file of less has fewer values."""


class Text(str):
    """A text and the line on which it begins, counted from 1."""

    __slots__ = ("line",)
    line: int

    @classmethod
    def at(cls, value: str, line: int) -> Text:
        """A text with its line."""
        text = cls(value)
        text.line = line
        return text


Tree = dict[str, "Tree"] | list["Tree"] | Text
"""A document: mappings, lists and texts; keys that are no texts, and what merges (``<<``) bring, are left out."""


def read_documents(content: bytes) -> Iterator[Tree]:
    """The documents of a file, as far as it can be read.

    Raises:
        MalformedContent: it is no YAML, or unreasonably large; the documents before that came already.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if len(content) > _SMALL:
            _check_size(yaml.parse(content, Loader=loader))
        for node in yaml.compose_all(content, Loader=loader):
            if node is not None:
                yield _tree(node, _Counter(), 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" in line {mark.line + 1}" if mark is not None else ""
        raise MalformedContent(f"not valid YAML{place}: {error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        raise MalformedContent(f"not valid YAML: {str(error).splitlines()[0]:.200}") from None


def _check_size(events: Iterable[yaml.Event]) -> None:
    """Looks a large file through before its documents are built, which takes hundreds of times the memory."""
    import yaml

    values = 0
    for event in events:
        values = 0 if isinstance(event, yaml.DocumentStartEvent) else values + isinstance(event, yaml.NodeEvent)
        if values > _MOST_VALUES:
            raise MalformedContent(f"a document of more than {_MOST_VALUES} values")


class _Counter:
    """Aliases make small files large, so what they come to is counted too."""

    def __init__(self) -> None:
        self._left = _MOST_VALUES

    def count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise MalformedContent(f"a document of more than {_MOST_VALUES} values")


def _tree(node: yaml.Node, counter: _Counter, depth: int) -> Tree:
    import yaml

    counter.count()
    if depth > _DEEPEST:
        raise MalformedContent(f"nested deeper than {_DEEPEST} levels")
    if isinstance(node, yaml.MappingNode):
        pairs = ((key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode))
        return {key.value: _tree(value, counter, depth + 1) for key, value in pairs}
    if isinstance(node, yaml.SequenceNode):
        return [_tree(item, counter, depth + 1) for item in node.value]
    return Text.at(node.value, node.start_mark.line + 1)
