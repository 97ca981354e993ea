"""What is known of the united tree while its layers are read."""

from __future__ import annotations

from collections.abc import Callable

from imgmove.rootfs.links import Link, Links
from imgmove.rootfs.names import Names
from imgmove.rootfs.scan import RawScan, Verdict, Write
from imgmove.rootfs.tar import BLOCK, END, make_header, number

_WRITABLE = 0o200


class Tree:
    """What is known of the tree, whichever layer is being read.

    Attributes:
        postponed: for each layer from the top, its links that wait for a second reading.
    """

    def __init__(self, count: int, write: Write) -> None:
        self._write = write
        self._count = count
        self._heads: dict[bytes, bytes] = {}
        self._again: set[bytes] = set()
        self.names = Names()
        self.links = Links(self.names)
        self.postponed: list[dict[bytes, list[Link]]] = []

    def begin_layer(self) -> None:
        """Goes on to the next lower layer."""
        self.names.begin_layer()
        self.links.begin_layer()
        self.postponed.append(self.links.layer.postponed)

    def scan(self, member: Callable[[bytes, int], Verdict]) -> RawScan:
        """A reading of a layer; of each member, ``member`` says what becomes of it."""
        return RawScan(member, self._write)

    def keep_folder(self, name: bytes, raw: bytes) -> bool:
        """Remembers a folder's head; says whether it is to be written now."""
        is_lowest = len(self.postponed) == self._count
        if self._count > 1:
            self._heads[name] = raw
        if is_lowest or number(raw[-BLOCK:][100:108], "mode") & _WRITABLE:
            return True
        self._again.add(name)
        return False

    def came(self, name: bytes) -> bytes:
        """What to write after an entry: the links of upper layers that waited for it."""
        return b"".join(self.away(link, target) for link, target in self.links.came(name))

    def away(self, link: Link, target: bytes) -> bytes:
        """What to write for a link that stands away from its place."""
        self.add_to(link.name.rpartition(b"/")[0])
        return link.to(target)

    def add_to(self, folder: bytes) -> None:
        """Something is written into a folder whose entry was written before."""
        if folder in self._heads:
            self._again.add(folder)

    def finish(self) -> None:
        """Writes the folders that stand at the end, and closes the tar."""
        made_up = set(self.names.without_header())
        # What lies in a folder goes first, as each entry changes the time of the folder that it is in.
        for name in sorted(made_up | self._again, reverse=True):
            path = name.decode("utf-8", "surrogateescape") + "/"
            self._write(make_header(path, 0, is_folder=True) if name in made_up else self._heads[name])
        self._write(END)
