"""What an engine is asked, to find out what need not be sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from imgmove.endpoints.engines.shipment import earlier_first, held_below
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest
from tests.images import build_image


def layers(*numbers: int) -> tuple[Digest, ...]:
    return tuple(Digest.of(b"%d" % number) for number in numbers)


def image(*sizes: int) -> Manifest:
    node = build_image([{"file": b"x" * size} for size in sizes], compression="none").nodes[-1]
    assert isinstance(node, Manifest)
    return node


class Asked:
    """Other images, of which none has anything, and how many of them were asked about."""

    def __init__(self, *first: Sequence[Digest]) -> None:
        self.count = 0
        self._first = first

    def __iter__(self) -> Iterator[Sequence[Digest]]:
        for number in range(10_000):
            self.count += 1
            yield self._first[number] if number < len(self._first) else layers(-1)


def test_layers_are_held_where_an_image_has_the_same_below_them() -> None:
    found = image(1, 2, 3)
    held = held_below(found, layers(1, 2, 3), [layers(2), layers(1, 3)], [layers(1, 2)])
    assert held == {layer.digest for layer in found.layers[:2]}


@pytest.mark.parametrize(("size", "least", "most"), [(1_000, 10, 30), (1_000_000, 40, 80), (50_000_000, 400, 600)])
def test_no_more_is_asked_than_what_is_missing_is_worth(size: int, least: int, most: int) -> None:
    asked = Asked()
    assert held_below(image(size), layers(1), (), asked) == set()
    assert least < asked.count < most


def test_what_was_found_leaves_less_to_ask() -> None:
    asked = Asked(layers(1))
    found = image(50_000_000, 1_000)
    assert held_below(found, layers(1, 2), (), asked) == {found.layers[0].digest}
    assert asked.count < 30


def test_nothing_is_asked_where_all_is_known() -> None:
    asked = Asked()
    assert len(held_below(image(1, 2), layers(1, 2), [layers(1, 2, 3)], asked)) == 2
    assert not asked.count


def test_earlier_versions_come_first() -> None:
    images = {
        "other": ["example.org/base:1"],
        "none": [],
        "earlier": ["tool:3", "localhost:5/team/app:1"],
        "same": ["app:2"],
        "longer": ["apps:1"],
    }
    assert earlier_first(images, ["docker.io/library/app:2"]) == ["earlier", "same", "other", "none", "longer"]
