"""A folder as a tar, made while it is read: the same bytes for the same files, whoever lists them in what order."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator, Iterator

from imgmove.errors import ImgmoveError, LocalError, NotFound
from imgmove.rootfs.pax import make_records
from imgmove.rootfs.tar import BLOCK, END, make_extension, padding
from imgmove.streams import BLOCK as READ_BLOCK
from imgmove.wire.files import explained

_FLAGS = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}
_LINK = b"1"
_NAME_FIELD = 100
_LARGEST_ID = 0o7777777
_LARGEST_SIZE = 0o77777777777
_LATEST = 0o77777777777
_SECOND = 1_000_000_000
_OF_THIS_MACHINE = frozenset(("security.selinux", "security.ima", "security.evm"))
"""Attributes that say something of this machine and not of the file; no other could make use of them."""
_OF_A_MOUNT = ("trusted.overlay.", "user.overlay.")


class PackedFolder:
    """The tar of everything in a folder, as a `Reader`. The folder itself is ``./``, names below it are bare.

    Kept are types, modes, owners (as numbers), times with nanoseconds, extended attributes (file capabilities among
    them), device numbers and hard links. Links are never followed. Sockets are left out, as tar has no word for them.

    Args:
        path: the folder.
        latest: seconds since 1970 that no time may be after; None for any time.

    Attributes:
        sockets: how many were left out; to be looked at when all is read.
    """

    def __init__(self, path: str, latest: int | None = None) -> None:
        # Of the folder at first, then of what is being packed.
        self._path = os.fsencode(os.path.realpath(path)).rstrip(b"/")
        self._latest = latest
        self._links: dict[tuple[int, int], bytes] = {}
        self._blocks = self._pack()
        self._ready = memoryview(b"")
        self.sockets = 0

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes.

        Raises:
            LocalError: something can't be read, or became shorter while it was.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(READ_BLOCK), b""))
        if not self._ready:
            self._ready = memoryview(self._gathered(size))
        piece, self._ready = self._ready[:size], self._ready[size:]
        return bytes(piece)

    def close(self) -> None:
        """Closes the file that is open at the moment."""
        # Another thread may be reading; it ends by itself.
        with contextlib.suppress(ValueError):
            self._blocks.close()

    def _gathered(self, size: int) -> bytes:
        """Small blocks put together, so that thousands of small files don't pass on one by one."""
        parts: list[bytes] = []
        count = 0
        try:
            while count < size and (block := next(self._blocks, b"")):
                parts.append(block)
                count += len(block)
        except OSError as error:
            raise self._told(error) from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _pack(self) -> Generator[bytes]:
        root = self._path + b"/"
        waiting = [b""]
        while waiting:
            name = waiting.pop()
            self._path = path = root + name
            found = os.lstat(path)
            if stat.S_ISSOCK(found.st_mode):
                self.sockets += 1
                continue
            yield from self._member(name, found)
            if stat.S_ISDIR(found.st_mode):
                prefix = name + b"/" if name else b""
                waiting += [prefix + child for child in sorted(os.listdir(path), reverse=True)]
        yield END

    def _member(self, name: bytes, found: os.stat_result) -> Iterator[bytes]:
        kind = stat.S_IFMT(found.st_mode)
        if found.st_nlink > 1 and kind != stat.S_IFDIR:
            first = self._links.setdefault((found.st_dev, found.st_ino), name)
            if first != name:
                yield self._head(name, found, _LINK, first)
                return
        target = os.readlink(self._path) if kind == stat.S_IFLNK else b""
        head = self._head(name, found, _FLAGS[kind], target)
        if kind == stat.S_IFREG:
            yield from self._file(head, found)
        else:
            yield head

    def _head(self, name: bytes, found: os.stat_result, flag: bytes, target: bytes) -> bytes:
        is_folder = flag == _FLAGS[stat.S_IFDIR]
        size = found.st_size if flag == _FLAGS[stat.S_IFREG] else 0
        records: dict[bytes, bytes] = {}
        shown = (name or b".") + b"/" if is_folder else name
        time = found.st_mtime_ns
        if self._latest is not None:
            time = min(time, self._latest * _SECOND)
        fields = (
            _text(records, b"path", shown),
            b"%07o\0" % stat.S_IMODE(found.st_mode),
            _number(records, b"uid", found.st_uid, _LARGEST_ID, 8),
            _number(records, b"gid", found.st_gid, _LARGEST_ID, 8),
            _number(records, b"size", size, _LARGEST_SIZE, 12),
            _time(records, time),
        )
        link = _text(records, b"linkpath", target)
        is_device = flag in (_FLAGS[stat.S_IFCHR], _FLAGS[stat.S_IFBLK])
        device = (os.major(found.st_rdev), os.minor(found.st_rdev)) if is_device else (0, 0)
        if flag != _LINK:
            records.update(self._attributes())
        header = _header(b"".join(fields), flag, link, device)
        return make_extension(make_records(records)) + header if records else header

    def _attributes(self) -> dict[bytes, bytes]:
        found = _read_attributes(self._path) if hasattr(os, "listxattr") else {}
        return {b"SCHILY.xattr." + os.fsencode(key): value for key, value in found.items()}

    def _file(self, head: bytes, found: os.stat_result) -> Iterator[bytes]:
        # Whoever puts a link or a pipe in the file's place meanwhile doesn't lead us elsewhere, nor stop us.
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            opened = os.fstat(descriptor)
            if (opened.st_dev, opened.st_ino) != (found.st_dev, found.st_ino):
                raise self._changed()
            yield head
            left = found.st_size
            while left and (data := os.read(descriptor, min(left, READ_BLOCK))):
                left -= len(data)
                yield data
        finally:
            os.close(descriptor)
        if left:
            raise self._changed()
        if rest := padding(found.st_size):
            yield bytes(rest)

    # --- what goes wrong

    def _changed(self) -> LocalError:
        return LocalError(f"{os.fsdecode(self._path)}: it changed while it was read", hint="pack what nobody writes to")

    def _told(self, error: OSError) -> ImgmoveError:
        try:
            with explained(os.fsdecode(self._path)):
                raise error
        except NotFound:
            return self._changed()
        except ImgmoveError as told:
            return told


def _read_attributes(path: bytes) -> dict[str, bytes]:
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in _attribute_names(path)}


def _attribute_names(path: bytes) -> list[str]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOSYS):
            return []
        raise
    return sorted(name for name in names if name not in _OF_THIS_MACHINE and not name.startswith(_OF_A_MOUNT))


# --- the fields of a header, and records of what doesn't fit


def _text(records: dict[bytes, bytes], key: bytes, text: bytes) -> bytes:
    if len(text) > _NAME_FIELD:
        records[key] = text
    return text[:_NAME_FIELD].ljust(_NAME_FIELD, b"\0")


def _number(records: dict[bytes, bytes], key: bytes, value: int, most: int, width: int) -> bytes:
    if value > most:
        records[key] = b"%d" % value
        value = 0
    return b"%0*o\0" % (width - 1, value)


def _time(records: dict[bytes, bytes], nanoseconds: int) -> bytes:
    seconds, rest = divmod(nanoseconds, _SECOND)
    if rest or not 0 <= seconds <= _LATEST:
        records[b"mtime"] = _decimal(nanoseconds)
    return b"%011o\0" % min(max(seconds, 0), _LATEST)


def _decimal(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    seconds, rest = divmod(abs(nanoseconds), _SECOND)
    fraction = (b".%09d" % rest).rstrip(b"0") if rest else b""
    return b"%s%d%s" % (sign, seconds, fraction)


def _header(front: bytes, flag: bytes, link: bytes, device: tuple[int, int]) -> bytes:
    numbers = b"%07o\0%07o\0" % device
    back = flag + link + b"ustar\0" + b"00" + bytes(64) + numbers
    back += bytes(BLOCK - len(front) - 8 - len(back))
    checksum = sum(front) + sum(b"        ") + sum(back)
    return front + b"%06o\0 " % checksum + back
