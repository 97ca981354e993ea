"""The members of an archive as read-only files, so that what reads layouts reads archives."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from imgmove.errors import MalformedContent, NotFound, Truncated
from imgmove.ports import FilePart, Files, FileStatus, PartHasher, PartOpener, Reader
from imgmove.rootfs.tar import FileStream, Member, Scan
from imgmove.streams import BytesReader

MOST_MEMBERS = 100_000
"""As many as can be remembered in the memory that a command may take: some thousand images."""
_LONGEST_CHAIN = 16


@dataclass(frozen=True, slots=True)
class Region:
    """Content that lies in the archive's file."""

    offset: int
    size: int


Content = Region | bytes


class MemberFiles:
    """Files that are members of a tar, or bytes at hand; for reading alone.

    Args:
        files: where the archive lies.
        path: the archive.
        contents: what each member's normal name stands for.
    """

    def __init__(self, files: Files, path: str, contents: Mapping[str, Content]) -> None:
        self._files = files
        self._path = path
        self._contents = contents

    def open(self, path: str, offset: int = 0) -> Reader:
        """Opens a member."""
        content = self._content(path)
        if isinstance(content, bytes):
            return BytesReader(content[offset:])
        start, size = content.offset + offset, max(0, content.size - offset)
        files: object = self._files
        reader = (
            files.open_part(self._path, start, size)
            if isinstance(files, PartOpener)
            else self._files.open(self._path, start)
        )
        return _RegionReader(reader, size, self._path)

    def read_at(self, path: str, offset: int, size: int) -> bytes:
        """Part of a member."""
        content = self._content(path)
        if isinstance(content, bytes):
            return content[offset : offset + size]
        return self._files.read_at(self._path, content.offset + offset, min(size, max(0, content.size - offset)))

    def hash_parts(self, parts: Sequence[FilePart], algorithm: str) -> Iterator[tuple[FilePart, str]]:
        """Hashes whole members where the archive lies, as far as that can be done."""
        files: object = self._files
        if not isinstance(files, PartHasher):
            return
        regions: dict[FilePart, list[FilePart]] = {}
        for part in parts:
            content = self._contents.get(part.path)
            if isinstance(content, Region) and part.size is None:
                regions.setdefault(FilePart(self._path, content.offset, content.size), []).append(part)
        for region, value in files.hash_parts(list(regions), algorithm):
            yield from ((part, value) for part in regions[region])

    def status(self, path: str) -> FileStatus | None:
        """A member's size; None for what isn't one."""
        content = self._contents.get(path)
        if content is None:
            return None
        return FileStatus(
            is_folder=False, size=len(content) if isinstance(content, bytes) else content.size, modified=0
        )

    def list(self, path: str) -> Sequence[str]:
        """The members directly in a folder."""
        prefix = f"{path}/" if path else ""
        return sorted({name[len(prefix) :].partition("/")[0] for name in self._contents if name.startswith(prefix)})

    def _content(self, path: str) -> Content:
        content = self._contents.get(path)
        if content is None:
            raise NotFound(f"{self._path} has no member {path}")
        return content


class _RegionReader:
    def __init__(self, raw: Reader, left: int, path: str) -> None:
        self._raw = raw
        self._left = left
        self._path = path

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes of the member."""
        data = self._raw.read(self._left if size < 0 else min(size, self._left)) if self._left else b""
        if not data and self._left and size:
            raise Truncated(f"{self._path} ends {self._left} bytes too early")
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Closes the archive."""
        self._raw.close()


@dataclass(frozen=True, slots=True)
class Members:
    """Where everything in an archive lies.

    Attributes:
        regions: by normal name, links included.
        is_closed: whether the archive ends as a tar does, so that nothing can be missing from its end.
    """

    regions: Mapping[str, Region]
    is_closed: bool


def index_members(files: Files, path: str, label: str) -> Members:
    """Reads all headers once; links are resolved to what they point at.

    Of two members of one name the later counts, as it does for whoever unpacks.

    Args:
        label: what people call the archive, for messages.

    Raises:
        MalformedContent: not a tar, or a member's name leads out of it.
        Truncated: it ends early.
    """
    status = files.status(path)
    size = status.size if status else 0
    regions: dict[str, Region] = {}
    links: dict[str, str] = {}
    scan = Scan(FileStream(files, path))
    for member in scan:
        if member.offset + member.size > size:
            raise Truncated(f"{label} ends in the middle of {member.name!r:.200}")
        _file(member, regions, links)
    for name in links:
        with contextlib.suppress(KeyError):
            regions[name] = follow(name, links, regions)
    return Members(regions, scan.is_closed)


def _file(member: Member, regions: dict[str, Region], links: dict[str, str]) -> None:
    name = safe_name(member.name)
    if member.kind == "file":
        regions[name] = Region(member.offset, member.size)
        links.pop(name, None)
    elif member.kind in ("symlink", "hardlink"):
        links[name] = link_target(member)
        regions.pop(name, None)
    if len(regions) + len(links) > MOST_MEMBERS:
        raise MalformedContent(f"an archive of more than {MOST_MEMBERS} members")


def follow(name: str, links: Mapping[str, str], regions: Mapping[str, Region]) -> Region:
    """What a chain of links ends at.

    Raises:
        KeyError: nothing, or only itself.
    """
    for _ in range(_LONGEST_CHAIN):
        if name in regions:
            return regions[name]
        name = links[name]
    raise KeyError(name)


def safe_name(name: str) -> str:
    """A member's name in its normal form, without ``./`` and doubled slashes.

    Raises:
        MalformedContent: it is absolute, or leads out of the archive.
    """
    normal = posixpath.normpath(name)
    if name.startswith("/") or normal == ".." or normal.startswith("../") or "\0" in name:
        raise MalformedContent(f"a member's name leads out of the archive: {name!r:.200}")
    return normal


def link_target(member: Member) -> str:
    """The normal name of what a link points at.

    Raises:
        MalformedContent: it leads out of the archive.
    """
    if member.kind == "hardlink":
        return safe_name(member.target)
    if member.target.startswith("/"):
        raise MalformedContent(f"a link leads out of the archive: {member.target!r:.200}")
    return safe_name(posixpath.join(posixpath.dirname(safe_name(member.name)), member.target))
