"""Finding images in what describes deployments: Kubernetes, Compose, Helm values; and what only looks like one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from imgmove.airgap.jsonpath import JsonPath
from imgmove.airgap.known import read_document
from imgmove.errors import LocalError, MalformedContent, UsageError
from imgmove.model.reference import Reference
from imgmove.wire.yaml.documents import Text, Tree, read_documents

_SUFFIXES = (".yaml", ".yml", ".json")
_VARIABLE = re.compile(r"\{\{|\$\{|\$\(|\$[A-Z_]|<[a-z-]+>|%[a-z]")
_EMBEDDED = re.compile(r"^\s*-?\s*image:\s*(\S+)", re.MULTILINE)
_NO_IMAGES = frozenset({"rbd"})
"""Keys below which ``image`` is something else: a disk of Ceph's."""
_NOTHING = frozenset({"", "null", "~", "true", "false"})


@dataclass(frozen=True, slots=True)
class Discovered:
    """An image.

    Attributes:
        where: the file, its line, and the way to the value in it.
    """

    reference: str
    where: str


@dataclass(frozen=True, slots=True)
class Undecided:
    """What looked like an image."""

    text: str
    where: str
    reason: str


@dataclass
class Discovery:
    """What files mention; an image once for each place."""

    found: list[Discovered] = field(default_factory=list)
    undecided: list[Undecided] = field(default_factory=list)

    @property
    def references(self) -> list[str]:
        """Each image once, in the order in which they came."""
        return list(dict.fromkeys(item.reference for item in self.found))


def discover(paths: Sequence[str], json_paths: Sequence[JsonPath] = ()) -> Discovery:
    """Looks for images in files, and in folders for files that end in .yaml, .yml or .json.

    Raises:
        LocalError: a file or folder isn't there.
        UsageError: a file can't be read as YAML at all.
    """
    discovery = Discovery()
    for path in paths:
        for file in _files(path):
            _Search(discovery, file, json_paths).run(is_named=file == path)
    return discovery


def _files(path: str) -> Iterator[str]:
    if not os.path.lexists(path):
        raise LocalError(f"{path}: no such file or folder")
    if not os.path.isdir(path):
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            if name.endswith(_SUFFIXES) and not name.startswith("."):
                yield os.path.join(folder, name)


class _Search:
    """The search in one file."""

    def __init__(self, discovery: Discovery, file: str, json_paths: Sequence[JsonPath]) -> None:
        self._discovery = discovery
        self._file = file
        self._json_paths = json_paths

    def run(self, *, is_named: bool) -> None:
        content = read_document(self._file)
        try:
            for document in read_documents(content):
                self._walk(document, "")
                for path in self._json_paths:
                    for value in path.find(document):
                        self._take(value, "JSONPath", is_certain=True)
        except MalformedContent as error:
            if b"{{" not in content:
                if is_named:
                    raise UsageError(f"{self._file}: {error.message}") from None
                self._doubt(os.path.basename(self._file), 1, "", f"the file is {error.message}")
                return
            self._template(content.decode("utf-8", "replace"))

    def _walk(self, tree: Tree, way: str) -> None:
        if isinstance(tree, list):
            for number, item in enumerate(tree):
                self._walk(item, f"{way}[{number}]")
        elif isinstance(tree, dict):
            if self._is_triple(tree):
                self._triple(tree, way)
            elif _is_variable_of_an_image(tree):
                self._take(tree["value"], f"{way}.value".lstrip("."), is_certain=False)
            for key, value in tree.items():
                self._entry(key, value, f"{way}.{key}".lstrip("."))
        elif "\n" in tree and _EMBEDDED.search(tree):
            for match in _EMBEDDED.finditer(tree):
                self._doubt(match.group(1), tree.line, way, "it stands in a text")

    def _entry(self, key: str, value: Tree, way: str) -> None:
        if key in _NO_IMAGES:
            return
        if key == "image" and isinstance(value, Text):
            self._take(value, way, is_certain=True)
        elif key.lower().endswith("image") and isinstance(value, Text):
            self._take(value, way, is_certain=False)
        elif key == "build" and way.startswith("services.") and isinstance(value, Text | dict):
            line = value.line if isinstance(value, Text) else 0
            self._doubt("build", line, way, "it is built where it runs")
        else:
            self._walk(value, way)

    def _take(self, value: Tree, way: str, *, is_certain: bool) -> None:
        if not isinstance(value, Text):
            self._walk(value, way)
            return
        text = value.strip()
        if text in _NOTHING:
            return
        if _VARIABLE.search(text):
            self._doubt(text, value.line, way, "it holds a variable")
            return
        try:
            reference = Reference.parse(text)
        except UsageError:
            self._doubt(text, value.line, way, "it is not an image reference")
            return
        if is_certain:
            self._discovery.found.append(Discovered(str(reference), self._where(value.line, way)))
        else:
            self._doubt(text, value.line, way, "its key only sounds like an image")

    @staticmethod
    def _is_triple(tree: dict[str, Tree]) -> bool:
        has_version = isinstance(tree.get("tag"), Text) or isinstance(tree.get("digest"), Text)
        return isinstance(tree.get("repository"), Text) and has_version

    def _triple(self, tree: dict[str, Tree], way: str) -> None:
        """Helm's ``registry``, ``repository``, ``tag`` and ``digest``, of which a tag or digest is needed."""
        repository = tree["repository"]
        assert isinstance(repository, Text)
        registry, tag, digest = (_text(tree.get(key)) for key in ("registry", "tag", "digest"))
        name = f"{registry}/{repository}" if registry else str(repository)
        if not repository.strip() or repository.startswith(("http:", "https:", "git")):
            return
        if not (tag or digest):
            self._doubt(name, repository.line, way, "its tag is empty; the chart's own version may be meant")
            return
        suffix = (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
        self._take(Text.at(name + suffix, repository.line), f"{way}.repository".lstrip("."), is_certain=True)

    def _template(self, text: str) -> None:
        """A chart's template, which is no YAML before it is rendered."""
        for number, line in enumerate(text.splitlines(), 1):
            if match := _EMBEDDED.match(line):
                rest = line[match.start(1) :].strip()
                if _VARIABLE.search(rest):
                    self._doubt(rest, number, "", "it holds a variable; helm template renders it")
                else:
                    self._take(Text.at(match.group(1).strip("\"'"), number), "", is_certain=True)

    def _doubt(self, text: str, line: int, way: str, reason: str) -> None:
        self._discovery.undecided.append(Undecided(text, self._where(line, way), reason))

    def _where(self, line: int, way: str) -> str:
        place = f"{self._file}:{line}" if line else self._file
        return f"{place} {way}".rstrip()


def _is_variable_of_an_image(tree: dict[str, Tree]) -> bool:
    """Whether this is a variable such as ``RELATED_IMAGE_PROXY``, by which operators learn what they start."""
    name, value = tree.get("name"), tree.get("value")
    return isinstance(name, Text) and isinstance(value, Text) and "IMAGE" in name and "/" in value


def _text(value: Tree | None) -> str:
    text = value.strip() if isinstance(value, Text) else ""
    return "" if text in _NOTHING else text
