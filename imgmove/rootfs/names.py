"""Which names of a layer still show, given all layers above it: the decision that a union mount makes for a path.

Layers are taken from the top down, so that what an upper layer says is known before a lower one is read. One number
stands for what is known of a name, and holds the layer that said it; the names themselves are most of the memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from imgmove.errors import MalformedContent
from imgmove.rootfs.paths import shown

# Kinds; a code is the layer's number from the top times eight, and one of these.
_THING, _GONE, _FOLDER, _IMPLIED, _BARE = 0, 1, 4, 5, 6
_IS_FOLDER = 4
"""The bit of kinds that are folders: with a header, with none yet, and with none to come."""

MOST_NAME_BYTES = 256 << 20
"""Of all names, each with its whole path, as they are held in memory: a compressed layer of 1 MB can have gigabytes of
them. Millions of files have less."""


class Names:
    """Everything that the layers so far say of names."""

    def __init__(self) -> None:
        self._codes: dict[bytes, int] = {}
        self._closed: set[bytes] = set()
        self._closing: set[bytes] = set()
        self._own = -8
        self._left = MOST_NAME_BYTES

    def __len__(self) -> int:
        return len(self._codes)

    def begin_layer(self) -> None:
        """From here on, the next lower layer speaks."""
        self._own += 8
        # Whiteouts are for the layers below theirs only (OCI image spec, *Whiteouts*).
        self._closed |= self._closing
        self._closing.clear()

    def shows_below(self, folder: bytes) -> bool:
        """Whether no upper layer hides what the layer holds in a folder; empty for the root."""
        while True:
            if folder in self._closed:
                return False
            if not folder:
                return True
            code = self._codes.get(folder, _FOLDER)
            if code < self._own and not code & _IS_FOLDER:
                return False
            folder = folder.rpartition(b"/")[0]

    def enter(self, folder: bytes) -> bool:
        """Notes that the layer holds something in a folder that shows, whether or not it holds the folder itself.

        Returns:
            Whether an upper layer has the folder already.

        Raises:
            MalformedContent: the layer has something else there.
        """
        is_above = self._codes.get(folder, self._own) < self._own
        while folder:
            code = self._codes.get(folder)
            if code is None:
                self._learn(folder, _IMPLIED)
            elif code == self._own + _GONE:
                self._codes[folder] = self._own + _BARE
            elif code == self._own + _THING:
                raise _contradiction(folder)
            else:
                break
            folder = folder.rpartition(b"/")[0]
        return is_above

    def add(self, name: bytes) -> bool:
        """Takes in an entry that is no folder, in a folder that shows; says whether it shows.

        Raises:
            MalformedContent: the layer has a folder there.
        """
        code = self._codes.get(name)
        if code is None:
            self._learn(name, _THING)
            return True
        if code >= self._own and not code & _IS_FOLDER:
            self._codes[name] = self._own
            return True
        if code >= self._own:
            raise _contradiction(name)
        if code & _IS_FOLDER:
            # What lies below it in lower layers was gone when the upper layer made a folder of it.
            self._closing.add(name)
            if code & 7 == _IMPLIED:
                self._codes[name] = code - _IMPLIED + _BARE
        return False

    def add_folder(self, name: bytes) -> bool:
        """Takes in a folder's own entry, in a folder that shows; says whether it shows.

        Raises:
            MalformedContent: the layer has something else there.
        """
        code = self._codes.get(name)
        if code == self._own + _THING:
            raise _contradiction(name)
        if code is None:
            self._learn(name, _FOLDER)
            return True
        if code >= self._own or code & 7 == _IMPLIED:
            self._codes[name] = self._own + _FOLDER
            return True
        return False

    def remove(self, name: bytes) -> None:
        """Takes in a whiteout, in a folder that shows."""
        code = self._codes.get(name)
        self._closing.add(name)
        if code is None:
            self._learn(name, _GONE)
        elif code & 7 == _IMPLIED:
            self._codes[name] = code - _IMPLIED + _BARE

    def empty(self, folder: bytes) -> None:
        """Takes in an opaque whiteout: nothing that lower layers have in a folder shows."""
        self._closing.add(folder)

    def is_own(self, name: bytes) -> bool:
        """Whether the present layer has an entry of that name that is no folder, and shows."""
        return self._codes.get(name) == self._own + _THING

    def without_header(self) -> Iterator[bytes]:
        """The folders that something lies in and that no layer has an entry of."""
        return (name for name, code in self._codes.items() if code & 7 in (_IMPLIED, _BARE))

    def _learn(self, name: bytes, kind: int) -> None:
        self._left -= len(name)
        if self._left < 0:
            raise MalformedContent(f"the names in the image are over the limit of {MOST_NAME_BYTES} bytes")
        self._codes[name] = self._own + kind


def _contradiction(name: bytes) -> MalformedContent:
    return MalformedContent(f"the layer holds {shown(name)} as a folder and as something else")
