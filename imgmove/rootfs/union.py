"""The union of an image's layers as one tar, as a union mount shows them.

Layers are read from the top down, each once, and what shows of them is written as it comes. So an entry is written only
when it is known that nothing hides it, and nothing has to be kept but names.

The order that comes of it can be unpacked by any tar: folders stand before what lies in them, hard links behind what
they point at. Two kinds of folders stand at the end: again, those that a lower layer added something to after they were
written, so that their times are right; and only there, those that nobody but root could add anything to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from imgmove.errors import ImgmoveError, MalformedContent, Truncated
from imgmove.ports import Reader
from imgmove.rootfs.readings import FirstReading, SecondReading
from imgmove.rootfs.scan import RawScan, Write, scan_all
from imgmove.rootfs.tree import Tree


class Layer(Protocol):
    """A layer that can be read, if need be twice."""

    @property
    def label(self) -> str:
        """What to call it in messages."""
        ...

    def open(self) -> Reader:
        """Its tar, uncompressed; reading its end raises when it is not what the image says."""
        ...


def unite(layers: Sequence[Layer], write: Write) -> None:
    """Writes the tar of the tree that layers come to.

    Args:
        layers: the topmost first.
        write: takes the tar, in pieces that end with whole blocks.

    Raises:
        MalformedContent: a layer is no tar, or holds what no tree can.
        ImgmoveError: whatever reading and writing raise.
    """
    tree = Tree(len(layers), write)
    for layer in layers:
        _read(layer, FirstReading(tree).scan)
    for layer, postponed in zip(layers, tree.postponed, strict=True):
        if postponed:
            _read(layer, SecondReading(tree, postponed).scan)
    tree.links.finish()
    tree.finish()


def _read(layer: Layer, scan: RawScan) -> None:
    reader = layer.open()
    try:
        scan_all(scan, reader)
    except ImgmoveError as error:
        if isinstance(error, (MalformedContent, Truncated)) and layer.label not in error.message:
            error.message = f"{layer.label}: {error.message}"
        raise
    finally:
        reader.close()
