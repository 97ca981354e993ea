"""The readings of a layer: one that decides what shows, and one for the content of links that the first passed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imgmove.errors import MalformedContent
from imgmove.rootfs.heads import (
    BLOCK_DEVICE,
    CHARACTER,
    FIFO,
    FILES,
    FOLDER,
    LINK,
    SPARSE,
    SYMLINK,
    renamed,
)
from imgmove.rootfs.links import Link
from imgmove.rootfs.paths import Paths, plain, shown
from imgmove.rootfs.scan import Verdict
from imgmove.rootfs.tree import Tree

_PLAIN = FILES | frozenset((CHARACTER, BLOCK_DEVICE, FIFO, SPARSE))
_DOT = ord(".")
_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_OF_AUFS = b".wh..wh."
"""How other names begin that aufs kept for itself; they are no part of the tree (OCI image spec, *Whiteouts*)."""


class _Folder:
    """A folder of a layer, for the members in it.

    Attributes:
        is_odd: the layer calls it otherwise than the tree, so that the names of its members are written anew.
        is_above: an upper layer has it too, and nothing of this layer has been written into it yet.
    """

    __slots__ = ("is_above", "is_hidden", "is_odd", "name", "prefix")

    def __init__(self, name: bytes, *, is_hidden: bool, is_odd: bool, is_above: bool) -> None:
        self.name = name
        self.prefix = name + b"/" if name else b""
        self.is_hidden = is_hidden
        self.is_odd = is_odd
        self.is_above = is_above


class FirstReading:
    """Decides for each member of a layer whether it shows.

    Attributes:
        scan: is to be fed with the layer.
    """

    def __init__(self, tree: Tree) -> None:
        tree.begin_layer()
        self._tree = tree
        self._names = tree.names
        self._links = tree.links
        self._paths = Paths()
        self._folders: dict[bytes, _Folder] = {}
        self.scan = tree.scan(self._member)

    def _member(self, path: bytes, flag: int) -> Verdict:
        slash = path.rfind(b"/") + 1
        if slash == len(path):
            return self._slashed(path, flag)
        folder = self._folders.get(path[:slash]) or self._entered(path, slash)
        base = path[slash:]
        if base[0] == _DOT and (base.startswith(_WHITEOUT) or base in (b".", b"..")):
            return self._dotted(folder, path, base, flag)
        name = folder.prefix + base
        if flag not in _PLAIN:
            return self._special(folder, path, name, flag)
        if folder.is_hidden or not self._names.add(name):
            return self._passed_over(name)
        if folder.is_above:
            self._begin(folder)
        self._links.replace(name)
        if self._links.is_waiting:
            self.scan.after = self._tree.came(name)
        return renamed(self.scan.raw, name) if folder.is_odd else True

    def _entered(self, path: bytes, slash: int) -> _Folder:
        """The folder of a member, which is thereby one, even if the member is a whiteout."""
        text = path[:slash]
        name = self._paths.folder(text)
        if self._names.is_own(name) and path.startswith(_WHITEOUT, slash):
            # umoci writes whiteouts of what was in a folder that has become a file; they take nothing away.
            return _Folder(name, is_hidden=True, is_odd=False, is_above=False)
        is_odd = text.startswith(b"/") or plain(text) != name
        is_hidden = not self._names.shows_below(name)
        is_above = not is_hidden and self._names.enter(name)
        folder = _Folder(name, is_hidden=is_hidden, is_odd=is_odd, is_above=is_above)
        self._folders[text] = folder
        return folder

    def _begin(self, folder: _Folder) -> None:
        """Something of this layer is written into a folder that was written before."""
        folder.is_above = False
        self._tree.add_to(folder.name)

    def _passed_over(self, name: bytes) -> bool:
        """What doesn't show may have links that do."""
        self._links.hide(name)
        if self._links.is_waiting:
            for link in self._links.take_waiting(name):
                self._place_away(link, name)
        return False

    def _place_away(self, link: Link, target: bytes) -> None:
        """Writes a link of an upper layer, or has it wait on."""
        found = self._links.place(link, target)
        if found is not None:
            self.scan.after += self._tree.away(link, found) + self._tree.came(link.name)

    def _slashed(self, path: bytes, flag: int) -> Verdict:
        trimmed = path.rstrip(b"/")
        if flag in FILES:
            # Before POSIX, a slash at the end was what told folders.
            flag = FOLDER
            if self.scan.size:
                raise MalformedContent(f"the layer holds {shown(path)}, a folder with content of its own")
        if trimmed:
            return self._member(trimmed, flag)
        if flag != FOLDER or not path:
            raise MalformedContent("a member of the layer has no name")
        return self._root()

    def _root(self) -> Verdict:
        if not self._names.add_folder(b""):
            return False
        is_odd = self.scan.head.path.startswith(b"/")
        raw = renamed(self.scan.raw, b"./") if is_odd else self.scan.raw
        return self._tree.keep_folder(b"", raw) and (raw if is_odd else True)

    def _dotted(self, folder: _Folder, path: bytes, base: bytes, flag: int) -> Verdict:
        if base == b"..":
            raise MalformedContent(f"the layer holds {shown(path)}, which leads out of its folder")
        if base == b".":
            return self._member(self._paths.folder(path) or b"/", flag)
        if folder.is_hidden or (base.startswith(_OF_AUFS) and base != _OPAQUE):
            return False
        if base == _OPAQUE:
            self._names.empty(folder.name)
            return False
        hidden = base.removeprefix(_WHITEOUT)
        if hidden in (b"", b".", b".."):
            raise MalformedContent(f"the layer holds {shown(path)}, a whiteout of nothing")
        self._names.remove(folder.prefix + hidden)
        return False

    def _special(self, folder: _Folder, path: bytes, name: bytes, flag: int) -> Verdict:
        if flag == FOLDER:
            return self._folder(folder, name)
        if flag == SYMLINK:
            return self._symlink(folder, name)
        if flag == LINK:
            return self._link(folder, name)
        raise MalformedContent(f"the layer holds {shown(path)} of the kind {chr(flag)!r}, which no file is")

    def _folder(self, folder: _Folder, name: bytes) -> Verdict:
        if folder.is_hidden or not self._names.add_folder(name):
            return False
        if folder.is_above:
            self._begin(folder)
        raw = renamed(self.scan.raw, name + b"/") if folder.is_odd else self.scan.raw
        return self._tree.keep_folder(name, raw) and (raw if folder.is_odd else True)

    def _symlink(self, folder: _Folder, name: bytes) -> Verdict:
        self._paths.add_link(name, self.scan.head.target)
        if folder.is_hidden or not self._names.add(name):
            return self._passed_over(name)
        if folder.is_above:
            self._begin(folder)
        self._links.replace(name)
        self.scan.after = self._tree.came(name)
        return renamed(self.scan.raw, name) if folder.is_odd else True

    def _link(self, folder: _Folder, name: bytes) -> Verdict:
        text = self.scan.head.target
        target = self._paths.name(text)
        if target == name:
            raise MalformedContent(f"the layer holds {shown(name)}, a hard link to itself")
        self._links.add(name, target)
        if folder.is_hidden or not self._names.add(name):
            for waiting in self._links.take_waiting(name):
                self._place_away(waiting, target)
            return False
        if folder.is_above:
            self._begin(folder)
        link = Link(name, self.scan.raw)
        found = self._links.place(link, target)
        if found is None:
            return False
        if found == name:
            # It was a name of its file all along: another name of that is hidden, through which it was made again.
            return False
        self.scan.after = self._tree.came(name)
        is_as_it_was = not folder.is_odd and not text.startswith(b"/") and plain(text) == found
        return True if is_as_it_was else link.to(found)


class SecondReading:
    """Writes the content of links whose files don't show.

    Args:
        postponed: the links, by the names that their files have in the layer.

    Attributes:
        scan: is to be fed with the layer.
    """

    def __init__(self, tree: Tree, postponed: Mapping[bytes, Sequence[Link]]) -> None:
        self._tree = tree
        self._left = dict(postponed)
        self._files = {link.name: source for source, links in postponed.items() for link in links}
        self._paths = Paths()
        self.scan = tree.scan(self._member)

    def _member(self, path: bytes, flag: int) -> Verdict:
        name = self._paths.name(path)
        if flag == SYMLINK:
            self._paths.add_link(name, self.scan.head.target)
        if flag == LINK and name in self._files:
            # A later member of the file's name is another file.
            self._left.pop(self._files[name], None)
        links = self._left.get(name)
        if links is None or flag in (LINK, FOLDER):
            return False
        first, *others = links
        self._tree.add_to(first.name.rpartition(b"/")[0])
        after = [self._tree.came(first.name)]
        for link in others:
            after += [self._tree.away(link, first.name), self._tree.came(link.name)]
        self.scan.after = b"".join(after)
        return renamed(self.scan.raw, first.name)
