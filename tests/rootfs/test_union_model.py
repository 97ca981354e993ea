"""Random stacks of layers, united by imgmove and by a slow obvious model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from tests.rootfs.layers import Entry, grouped, tar_of, tree_of, united

NAMES = ["/".join(parts) for length in (1, 2, 3) for parts in itertools.product("abc", repeat=length)]
KINDS = ["file", "file", "folder", "folder", "symlink", "fifo", "link", "link", "whiteout", "opaque"]


def parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def note_parents(kinds: dict[str, str], name: str) -> None:
    for parent in parents(name):
        kinds.setdefault(parent, "folder")


@dataclass(frozen=True)
class Stack:
    """Layers, the lowest first.

    Attributes:
        meant: what they hold.
        written: the same, with some names led through symbolic links of their layer.
    """

    meant: list[list[Entry]]
    written: list[list[Entry]]


def spelled(draw: st.DrawFn, name: str, ways: Mapping[str, str]) -> str:
    """A name, or one that leads to the same place through a link."""
    others = [way + name[len(target) :] for way, target in ways.items() if name.startswith(f"{target}/")]
    return draw(st.sampled_from([name, *others])) if others else name


def written(draw: st.DrawFn, layer: Sequence[Entry]) -> Iterator[Entry]:
    """The layer with some names led through the links that stand before them."""
    ways: dict[str, str] = {}
    for entry in layer:
        text = spelled(draw, entry.text, ways) if entry.kind == "link" else entry.text
        yield replace(entry, name=spelled(draw, entry.name, ways), text=text)
        if entry.kind == "symlink" and entry.text.startswith("/"):
            ways[entry.name] = entry.text[1:]


@st.composite
def stacks(draw: st.DrawFn) -> Stack:  # noqa: C901 - the rules of what a layer may hold, in one place
    """Layers that a program may have made: no name twice, nothing below a file, links behind their files."""
    layers: list[list[Entry]] = []
    below: set[str] = set()
    for number in range(draw(st.integers(1, 4))):
        layer: list[Entry] = []
        kinds: dict[str, str] = {}
        pointed: set[str] = set()
        wishes = draw(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(NAMES)), max_size=12))
        for place, (kind, name) in enumerate(wishes):
            if any(kinds.get(parent, "folder") != "folder" for parent in parents(name)):
                continue
            folder, _, base = name.rpartition("/")
            if kind == "whiteout":
                note_parents(kinds, name)
                layer.append(Entry(f"{folder}/.wh.{base}" if folder else f".wh.{base}"))
                continue
            if kind == "opaque":
                if kinds.get(name, "folder") == "folder":
                    note_parents(kinds, f"{name}/")
                    layer.append(Entry(f"{name}/.wh..wh..opq"))
                continue
            if not pointed.isdisjoint((name, *parents(name))):
                continue
            if name in kinds and (kind != "folder" or kinds[name] != "folder" or name in {item.name for item in layer}):
                continue
            text = f"{number}.{place}"
            if kind == "link":
                own = [item.name for item in layer if item.kind in ("file", "link", "fifo") and ".wh." not in item.name]
                targets = own or [
                    item for item in sorted(below - {*kinds, name}) if kinds.keys().isdisjoint(parents(item))
                ]
                if not targets:
                    continue
                text = draw(st.sampled_from(targets))
                pointed.add(text)
            folders = [name for name, kind in kinds.items() if kind == "folder"]
            if kind == "symlink" and folders:
                text = draw(st.sampled_from([text, *(f"/{name}" for name in folders)]))
            layer.append(Entry(name, kind, text, draw(st.sampled_from((0o755, 0o555)))))
            kinds[name] = kind
            note_parents(kinds, name)
        layers.append(layer)
        below = {name for name, (kind, *_) in model(layers).items() if kind in ("file", "fifo")}
    return Stack(layers, [list(written(draw, layer)) for layer in layers])


def model(layers: Sequence[Sequence[Entry]]) -> dict[str, Any]:  # noqa: C901 - obvious rather than short
    """Unpacks layer upon layer, the lowest first."""
    tree: dict[str, tuple[str, str, Any]] = {}

    def remove(name: str, *, itself: bool) -> None:
        for other in list(tree):
            if other.startswith(f"{name}/") or (itself and other == name):
                del tree[other]

    for number, layer in enumerate(layers):
        before = dict(tree)
        for entry in layer:
            folder, _, base = entry.name.rpartition("/")
            if base == ".wh..wh..opq":
                remove(folder, itself=False)
            elif base.startswith(".wh."):
                remove(f"{folder}/{base[4:]}".lstrip("/"), itself=True)
        own: dict[str, tuple[str, str, Any]] = {}
        for entry in layer:
            for parent in parents(entry.name):
                if tree.get(parent, ("folder",))[0] != "folder":
                    remove(parent, itself=True)
                tree.setdefault(parent, ("folder", "", ""))
            if ".wh." in entry.name:
                continue
            value: tuple[str, str, Any] = (entry.kind, entry.text, (number, entry.name))
            if entry.kind == "link":
                # Of the layer itself, or of those below as they were.
                value = own.get(entry.text) or before[entry.text]
            if entry.kind != "folder" or tree.get(entry.name, ("",))[0] != "folder":
                remove(entry.name, itself=True)
            tree[entry.name] = own[entry.name] = value
    return grouped(tree)


@hypothesis.settings(max_examples=200)
@given(stacks())
def test_the_union_is_what_unpacking_layer_upon_layer_gives(stack: Stack) -> None:
    tar = united(*(tar_of(*layer) for layer in stack.written))
    assert tree_of(tar) == model(stack.meant)


@given(stacks())
def test_the_union_of_a_union_is_the_same_bytes(stack: Stack) -> None:
    tar = united(*(tar_of(*layer) for layer in stack.written))
    assert united(tar) == tar
