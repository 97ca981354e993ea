"""Hard links whose content stands elsewhere than they say, because the name that they point at is hidden or deleted.

The content of such a link is that of a file which is not passed on: the layer is read a second time for it, and the
first of its links that shows becomes the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from imgmove.errors import MalformedContent
from imgmove.rootfs.heads import renamed
from imgmove.rootfs.names import Names
from imgmove.rootfs.paths import shown


@dataclass(frozen=True, slots=True)
class Link:
    """A hard link that shows: its name in the united tree, and its head as it stands in its layer."""

    name: bytes
    raw: bytes

    def to(self, target: bytes) -> bytes:
        """Its head, pointing at another name."""
        return renamed(self.raw, self.name, target)


@dataclass
class LayerLinks:
    """What is known of the hard links of one layer.

    Attributes:
        sources: for each hard link, the file that it is a name of.
        hidden: names of the layer that are no folders and don't show.
        postponed: by the hidden file that they are names of, the links that wait for the layer's second reading.
    """

    sources: dict[bytes, bytes] = field(default_factory=dict)
    hidden: set[bytes] = field(default_factory=set)
    postponed: dict[bytes, list[Link]] = field(default_factory=dict)


class Links:
    """Sees to it that each hard link that shows comes after a name of its file."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._awaited: dict[bytes, list[Link]] = {}
        self.layer = LayerLinks()

    @property
    def is_waiting(self) -> bool:
        """Whether some link points at a name that has not come yet."""
        return bool(self._awaited)

    def begin_layer(self) -> None:
        """Forgets the names of the layer before; what links of it wait for is kept by who reads it again."""
        self.layer = LayerLinks()

    def add(self, name: bytes, target: bytes) -> None:
        """Takes in a hard link of the layer, whether or not it shows."""
        self.layer.sources[name] = self.layer.sources.get(target, target)

    def hide(self, name: bytes) -> None:
        """Takes in a name of the layer that does not show, and is no folder."""
        self.layer.hidden.add(name)

    def replace(self, name: bytes) -> None:
        """Something else of the layer has taken the place of a name."""
        self.layer.sources.pop(name, None)

    def place(self, link: Link, target: bytes) -> bytes | None:
        """What a link that shows can point at, at this place of its layer; None when its content comes later."""
        layer = self.layer
        source = layer.sources.get(target, target)
        if source in layer.postponed:
            self._queue(layer.postponed, source, link)
        elif source in self._awaited:
            self._queue(self._awaited, source, link)
        elif self._names.is_own(target):
            return target
        elif self._names.is_own(source):
            return source
        elif source in layer.hidden:
            self._queue(layer.postponed, source, link)
        else:
            self._queue(self._awaited, source, link)
        return None

    def _queue(self, queues: dict[bytes, list[Link]], source: bytes, link: Link) -> None:
        """Has a link wait for a name, and those that wait for the link with it."""
        queue = queues.setdefault(source, [])
        others = self._awaited.get(link.name, queue)
        if others is not queue:
            del self._awaited[link.name]
            # In a chain of links all that came before wait for each next one: they must not be moved one by one.
            shorter, queues[source] = sorted((queue, others), key=len)
            queues[source] += shorter
        queues[source].append(link)

    def came(self, name: bytes) -> list[tuple[Link, bytes]]:
        """The links that waited for a name which was written now, each with the name to point at, in order."""
        found: list[tuple[Link, bytes]] = []
        waiting = [(link, name) for link in reversed(self._awaited.pop(name, ()))]
        while waiting:
            link, target = waiting.pop()
            found.append((link, target))
            waiting += [(other, link.name) for other in reversed(self._awaited.pop(link.name, ()))]
        return found

    def take_waiting(self, name: bytes) -> list[Link]:
        """The links of upper layers that wait for a name which turns out to be hidden."""
        return self._awaited.pop(name, [])

    def finish(self) -> None:
        """Says that no layer is left.

        Raises:
            MalformedContent: a link points at what nobody has.
        """
        for target, (link, *_) in self._awaited.items():
            raise MalformedContent(f"{shown(link.name)} is a hard link to {shown(target)}, which is in no layer")
