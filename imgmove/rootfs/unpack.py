"""A united tree unpacked into a folder, out of which nothing in it can reach.

Every entry is made relative to its own folder, which is opened part by part without following links, so that no name
and no link leads anywhere else, whatever the tar says.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from imgmove.errors import LocalError, MalformedContent
from imgmove.rootfs.attributes import Attributes
from imgmove.rootfs.heads import BLOCK_DEVICE, CHARACTER, FIFO, FILES, FOLDER, LINK, SYMLINK, Head
from imgmove.rootfs.paths import Paths, shown
from imgmove.rootfs.scan import RawScan
from imgmove.rootfs.sparse import SparseContent, is_sparse
from imgmove.wire.files.errors import explained

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_OPEN = 64
"""Folders that are kept open on the way to the present one, however deep that lies."""
_SHUT = -1
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass
class _OpenFile:
    """The file whose content comes next."""

    descriptor: int
    name: bytes
    head: Head
    left: int
    position: int = 0
    sparse: SparseContent | None = None


class Unpacker:
    """Takes the tar that `imgmove.rootfs.union.unite` writes, piece by piece, and makes its entries in a folder.

    Attributes:
        left_out: how many things could not be done for want of rights, by what they are.
    """

    def __init__(self, folder: str) -> None:
        self._path = folder
        self._is_root = os.geteuid() == 0
        with explained(folder):
            self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open: list[tuple[bytes, int]] = []
        self._folder_heads: dict[bytes, Head] = {}
        self._file: _OpenFile | None = None
        self._paths = Paths()
        self._devices: set[bytes] = set()
        self._scan = RawScan(self._member, self._content)
        self.left_out: Counter[str] = Counter()

    def write(self, data: bytes | memoryview) -> None:
        """Takes the next bytes of the tar.

        Raises:
            LocalError: something can't be written.
            MalformedContent: the tar holds what can't be made.
        """
        self._scan.feed(bytes(data))

    def finish(self) -> None:
        """Gives folders what only holds once everything is in them."""
        self._end_file()
        self._scan.finish()
        for name in sorted(self._folder_heads, reverse=True):
            with self._explained(name):
                descriptor = self._folder(name)
                self._apply(self._folder_heads[name], descriptor)

    def close(self) -> None:
        """Closes what is open; safe to call twice."""
        if self._file is not None:
            os.close(self._file.descriptor)
            self._file = None
        self._leave(0)
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def _member(self, path: bytes, flag: int) -> bool | bytes:
        self._end_file()
        name, head = self._paths.name(path), self._scan.head
        is_folder = flag == FOLDER or not name or (flag in FILES and path.endswith(b"/"))
        with self._explained(name):
            if is_folder:
                self._folder(name)
                self._folder_heads[name] = head
                return False
            folder, _, base = name.rpartition(b"/")
            parent = self._folder(folder)
            if flag == LINK:
                self._link(name, self._paths.name(head.target), parent)
            elif flag in (SYMLINK, CHARACTER, BLOCK_DEVICE, FIFO):
                self._special(head, parent, name)
            else:
                return self._begin_file(name, head, parent, base)
        return False

    def _begin_file(self, name: bytes, head: Head, parent: int, base: bytes) -> bool | bytes:
        try:
            descriptor = os.open(base, _NEW_FILE, 0o600, dir_fd=parent)
        except FileExistsError:
            os.unlink(base, dir_fd=parent)
            descriptor = os.open(base, _NEW_FILE, 0o600, dir_fd=parent)
        sparse = SparseContent(head) if is_sparse(head) else None
        self._file = _OpenFile(descriptor, name, head, self._scan.size, sparse=sparse)
        return b"" if self._scan.size else False

    def _content(self, data: bytes | memoryview) -> None:
        file = self._file
        # What comes in the place of a head is nothing, and zeros may follow the content.
        if file is None or not data or not file.left:
            return
        part = data[: file.left]
        file.left -= len(part)
        with self._explained(file.name):
            if file.sparse is None:
                _write_at(file.descriptor, file.position, part)
                file.position += len(part)
            else:
                for offset, piece in file.sparse.placed(bytes(part)):
                    _write_at(file.descriptor, offset, piece)

    def _end_file(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            with self._explained(file.name):
                if file.sparse is not None:
                    file.sparse.finish()
                    os.ftruncate(file.descriptor, file.sparse.size)
                self._apply(file.head, file.descriptor)
        finally:
            os.close(file.descriptor)

    def _link(self, name: bytes, target: bytes, parent: int) -> None:
        if target == name:
            raise MalformedContent(f"{shown(name)} is a hard link to itself")
        if target in self._devices:
            self._leave_out(name)
            return
        base = name.rpartition(b"/")[2]
        folder, _, target_base = target.rpartition(b"/")
        # Leaving one folder for another closes the first.
        own = os.dup(parent)
        try:
            there = self._folder(folder)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(base, dir_fd=own)
            os.link(target_base, base, src_dir_fd=there, dst_dir_fd=own, follow_symlinks=False)
        finally:
            os.close(own)

    def _special(self, head: Head, parent: int, name: bytes) -> None:
        if head.flag in (CHARACTER, BLOCK_DEVICE) and not self._is_root:
            self._leave_out(name)
            return
        base = name.rpartition(b"/")[2]
        with contextlib.suppress(FileNotFoundError):
            os.unlink(base, dir_fd=parent)
        attributes = Attributes.of(head)
        if head.flag == SYMLINK:
            os.symlink(head.target, base, dir_fd=parent)
        elif head.flag == FIFO:
            os.mkfifo(base, 0o600, dir_fd=parent)
        else:
            kind = stat.S_IFCHR if head.flag == CHARACTER else stat.S_IFBLK
            os.mknod(base, kind | 0o600, os.makedev(*attributes.device), dir_fd=parent)
        if self._is_root:
            os.chown(base, attributes.owner, attributes.group, dir_fd=parent, follow_symlinks=False)
        if head.flag != SYMLINK:
            os.chmod(base, attributes.mode, dir_fd=parent)
        self._set_xattrs(attributes, f"/proc/self/fd/{parent}/".encode() + base)
        os.utime(base, ns=(attributes.accessed, attributes.modified), dir_fd=parent, follow_symlinks=False)

    def _leave_out(self, device: bytes) -> None:
        self._devices.add(device)
        self.left_out["devices"] += 1

    def _apply(self, head: Head, descriptor: int) -> None:
        """Owner before mode and attributes, as changing it takes both away."""
        attributes = Attributes.of(head)
        if self._is_root:
            os.fchown(descriptor, attributes.owner, attributes.group)
        os.fchmod(descriptor, attributes.mode)
        self._set_xattrs(attributes, descriptor)
        os.utime(descriptor, ns=(attributes.accessed, attributes.modified))

    def _set_xattrs(self, attributes: Attributes, where: int | bytes) -> None:
        for name, value in attributes.xattrs:
            try:
                if isinstance(where, int):
                    os.setxattr(where, name, value)
                else:
                    os.setxattr(where, name, value, follow_symlinks=False)
            except (AttributeError, OSError, ValueError):
                # Not every file system takes every attribute, and some are root's.
                self.left_out["extended attributes"] += 1

    def _folder(self, name: bytes) -> int:
        """Opens a folder of the tree, and makes what of it is missing; the descriptor holds until the next call."""
        parts = name.split(b"/") if name else []
        same = 0
        while same < min(len(parts), len(self._open)) and self._open[same][0] == parts[same]:
            same += 1
        if same and self._open[same - 1][1] == _SHUT:
            same = 0
        self._leave(same)
        for part in parts[same:]:
            above = self._open[-1][1] if self._open else self._root
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=above)
            self._open.append((part, os.open(part, _OPEN_FOLDER, dir_fd=above)))
            self._shut_farthest()
        return self._open[-1][1] if self._open else self._root

    def _shut_farthest(self) -> None:
        farthest = len(self._open) - _MOST_OPEN - 1
        if farthest >= 0 and self._open[farthest][1] != _SHUT:
            os.close(self._open[farthest][1])
            self._open[farthest] = (self._open[farthest][0], _SHUT)

    def _leave(self, depth: int) -> None:
        while len(self._open) > depth:
            _, descriptor = self._open.pop()
            if descriptor != _SHUT:
                os.close(descriptor)

    @contextlib.contextmanager
    def _explained(self, name: bytes) -> Iterator[None]:
        try:
            with explained(f"{self._path}/{shown(name)}"):
                yield
        except (OverflowError, IsADirectoryError) as error:
            raise MalformedContent(f"{shown(name)} can't be made: {error}") from error


def prepare_folder(path: str) -> None:
    """Makes a folder, or sees to it that it is empty.

    Raises:
        LocalError: it holds something, or can't be made.
    """
    with explained(path):
        os.makedirs(path, exist_ok=True)
        with os.scandir(path) as entries:
            is_empty = next(entries, None) is None
    if not is_empty:
        raise LocalError(f"{path} is not empty", hint="unpack into a new folder")


def _write_at(descriptor: int, offset: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
