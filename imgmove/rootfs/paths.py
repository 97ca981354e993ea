"""The names of one layer, as a program that unpacks it sees them: spelled one way, and led through its own links."""

from __future__ import annotations

from imgmove.errors import MalformedContent

_MOST_LINKS = 40
"""As many as Linux follows in one name."""


class Paths:
    """Says which name of the united tree a name in the layer means.

    Links are followed only where the same layer made them: what a layer holds below a name is a folder there, which
    hides a link that a lower layer has under that name, in a union mount too.
    """

    def __init__(self) -> None:
        self._links: dict[bytes, bytes] = {}

    def add_link(self, name: bytes, target: bytes) -> None:
        """Notes a symbolic link of the layer."""
        self._links[name] = target

    def folder(self, text: bytes) -> bytes:
        """The folder that a text leads to, its last part included; empty for the root.

        Raises:
            MalformedContent: it leads out of the root, or nowhere.
        """
        parts = self._parts(text)
        return self._followed(parts) if self._links else b"/".join(parts)

    def name(self, text: bytes) -> bytes:
        """The entry that a text names: as `folder`, but a link at its end is meant itself."""
        parts = self._parts(text)
        if not self._links or len(parts) < 2:
            return b"/".join(parts)
        folder = self._followed(parts[:-1])
        return folder + b"/" + parts[-1] if folder else parts[-1]

    def _parts(self, text: bytes) -> list[bytes]:
        parts = _parts(text)
        if b".." in parts:
            raise MalformedContent(f"the layer holds {shown(text)}, which leads out of its folder")
        return parts

    def _followed(self, parts: list[bytes]) -> bytes:
        found: list[bytes] = []
        waiting = parts[::-1]
        followed = 0
        while waiting:
            part = waiting.pop()
            if part == b"..":
                # Above the root is the root, as inside a container.
                found = found[:-1]
                continue
            found.append(part)
            target = self._links.get(b"/".join(found))
            if target is None:
                continue
            followed += 1
            if followed > _MOST_LINKS:
                raise MalformedContent(f"{shown(b'/'.join(parts))} leads round in a circle of links")
            found = [] if target.startswith(b"/") else found[:-1]
            waiting += reversed(_parts(target))
        return b"/".join(found)


def plain(text: bytes) -> bytes:
    """A name without what means nothing in it: slashes at its ends or doubled, and dots alone."""
    return b"/".join(_parts(text))


def _parts(text: bytes) -> list[bytes]:
    return [part for part in text.split(b"/") if part not in (b"", b".")]


def shown(name: bytes) -> str:
    """A name for messages."""
    return name.decode("utf-8", "backslashreplace")[:200]
