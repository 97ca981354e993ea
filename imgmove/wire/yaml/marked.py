"""YAML whose values know where in the file they stand, for files of the user's that may be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from imgmove.errors import ConfigError

if TYPE_CHECKING:
    import yaml

Path = tuple[str | int, ...]
"""The way to a value: keys of mappings and positions in lists."""

_MOST_VALUES = 500_000
_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file; lines and columns count from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class YamlFile:
    """A parsed file.

    Attributes:
        label: what people call the file.
        value: mappings, lists, texts, numbers, truths, dates and None.
    """

    label: str
    value: object
    _values: Mapping[Path, Mark] = field(repr=False)
    _keys: Mapping[Path, Mark] = field(repr=False)

    def error(self, path: Path, message: str, hint: str = "", *, at_key: bool = False) -> ConfigError:
        """An error that names the place of a value, or of its key; that of what holds it, where it isn't there."""
        mark = self._keys.get(path) if at_key else None
        while mark is None:
            mark = self._values.get(path, None if path else Mark(1, 1))
            path = path[:-1]
        return ConfigError(f"{self.label}:{mark.line}:{mark.column}: {message}", hint=hint)


def parse_yaml(content: bytes, label: str) -> YamlFile:
    """Reads one document.

    Raises:
        ConfigError: it is not YAML, names a key twice, or is unreasonably large.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        node = yaml.compose(content, Loader=loader)
        reader = _Reader(label)
        value = reader.read(node, ()) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
        raise ConfigError(f"{label}{place}: not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        reason = getattr(error, "reason", "") or str(error).splitlines()[0]
        raise ConfigError(f"{label}: not valid YAML: {reason:.200}") from None
    return YamlFile(label, value, reader.values, reader.keys)


class _Reader:
    def __init__(self, label: str) -> None:
        import yaml

        self._label = label
        self._scalars: Any = yaml.constructor.SafeConstructor()
        self._count = 0
        self.values: dict[Path, Mark] = {}
        self.keys: dict[Path, Mark] = {}

    def read(self, node: yaml.Node, path: Path) -> object:
        import yaml

        self._count += 1
        if self._count > _MOST_VALUES or len(path) > _DEEPEST:
            raise ConfigError(f"{self._label}:{node.start_mark.line + 1}: too many values")
        self.values[path] = _mark(node)
        if isinstance(node, yaml.MappingNode):
            return {key: self.read(value, (*path, key)) for key, value in self._entries(node, path).items()}
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, number)) for number, item in enumerate(node.value)]
        return self._scalars.construct_object(node)

    def _entries(self, node: yaml.MappingNode, path: Path) -> dict[str, yaml.Node]:
        """The mapping's own entries, over those that it merges in with ``<<``."""
        merged: dict[str, yaml.Node] = {}
        own: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            mark = _mark(key_node)
            place = f"{self._label}:{mark.line}:{mark.column}"
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged = self._merged(value, path, place) | merged
                continue
            key = self._scalars.construct_object(key_node) if not isinstance(key_node.value, list) else None
            if not isinstance(key, str):
                raise ConfigError(f"{place}: a key must be a text", hint="put it in quotes")
            if key in own:
                raise ConfigError(f"{place}: {key} is there twice")
            own[key] = value
            self.keys[*path, key] = mark
        return merged | own

    def _merged(self, node: yaml.Node, path: Path, place: str) -> dict[str, yaml.Node]:
        import yaml

        if len(path) > _DEEPEST:
            raise ConfigError(f"{place}: mappings are merged into one another too deeply")
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: dict[str, yaml.Node] = {}
        for part in parts:
            if not isinstance(part, yaml.MappingNode):
                raise ConfigError(f"{place}: << takes a mapping")
            found = self._entries(part, (*path, "<<")) | found
        for key in found:
            self.keys.setdefault((*path, key), self.keys[(*path, "<<", key)])
        return found


def _mark(node: yaml.Node) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)
