"""Layers that try to write outside of the folder that they are unpacked into, or to make it never end."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.rootfs.layers import image_of

Entry = tuple[str, bytes, str, int]
"""A name, a type flag of tar, a link's target or a file's content, and a mode."""

OUT = "{outside}"
"""Stands for the folder that nobody may touch."""


def file(name: str, content: str = "evil", mode: int = 0o666) -> Entry:
    return name, tarfile.REGTYPE, content, mode


def link(name: str, target: str) -> Entry:
    return name, tarfile.SYMTYPE, target, 0o777


def hard(name: str, target: str) -> Entry:
    return name, tarfile.LNKTYPE, target, 0o666


def folder(name: str, mode: int = 0o777) -> Entry:
    return name, tarfile.DIRTYPE, "", mode


def fifo(name: str) -> Entry:
    return name, tarfile.FIFOTYPE, "", 0o666


# Layers from the bottom up, each with its members in order.
ATTACKS: dict[str, Sequence[Sequence[Entry]]] = {
    "a name that leads out": [[file("../outside/evil")]],
    "a name that leads out from below": [[folder("a"), file("a/../../outside/evil")]],
    "an absolute name": [[file(f"{OUT}/evil")]],
    "a link, then a name through it": [[link("d", OUT), file("d/evil")]],
    "a relative link, then a name through it": [[link("d", "../outside"), file("d/evil")]],
    "a link to above, then a name through it": [[link("up", ".."), file("up/outside/evil")]],
    "links upon links": [[link("a", ".."), link("b", "a/outside"), link("c", "b"), file("c/evil")]],
    "a link of a lower layer": [[link("d", OUT)], [file("d/evil")]],
    "a link of an upper layer": [[folder("d"), file("d/evil")], [link("d", OUT)]],
    "a file in a link's place": [[link("f", f"{OUT}/secret"), file("f")]],
    "a file of an upper layer in a link's place": [[link("f", f"{OUT}/secret")], [file("f")]],
    "a folder in a link's place": [[link("d", OUT), folder("d"), file("d/evil")]],
    "a link in a folder's place": [[folder("d"), file("d/x"), link("d", OUT), file("d/evil")]],
    "a folder's mode, then a link in its place": [[folder("d", 0o701), link("d", OUT)]],
    "a hard link to outside": [[hard("h", "../outside/secret"), file("h")]],
    "a hard link to an absolute name": [[hard("h", f"{OUT}/secret"), file("h")]],
    "a hard link through a link": [[link("d", OUT), hard("h", "d/secret"), file("h")]],
    "a hard link to a link": [[link("s", f"{OUT}/secret"), hard("h", "s"), file("h")]],
    "a hard link to a link, given another mode": [[link("s", f"{OUT}/secret"), hard("h", "s")]],
    "a hard link of an upper layer through a lower link": [[link("d", OUT)], [hard("h", "d/secret")]],
    "a hard link to itself": [[hard("h", "h")]],
    "a pipe in a file's place": [[fifo("p"), file("p")]],
    "a pipe that is linked to": [[fifo("p"), hard("q", "p"), file("q")]],
    "a link in a pipe's place": [[fifo("p"), link("p", f"{OUT}/secret"), file("p")]],
    "a whiteout of what is above": [[file("x")], [file("a/.wh...")]],
    "a whiteout of the folder itself": [[file("x")], [file(".wh..")]],
    "a whiteout through a link": [[link("d", OUT)], [file("d/.wh.secret")]],
    "an opaque whiteout through a link": [[link("d", OUT)], [file("d/.wh..wh..opq")]],
    "a circle of links": [[link("a", "b"), link("b", "a"), file("a/evil")]],
    "the root as a link": [[link(".", OUT), file("evil")]],
    "the root as a file": [[file(".")]],
    "a name of dots": [[file("./.././outside/evil")]],
    "setuid in the open": [[file("s", mode=0o6755)]],
}


def tar(entries: Sequence[Entry], outside: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, kind, text, mode in entries:
            said = text.replace(OUT, str(outside))
            member = tarfile.TarInfo(name.replace(OUT, str(outside)))
            member.type, member.mode, member.mtime = kind, mode, 1_000_000_000
            member.uid, member.gid = os.getuid(), os.getgid()
            content = said.encode() if kind == tarfile.REGTYPE else b""
            member.linkname = "" if content else said
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def looks(path: Path) -> dict[str, tuple[object, ...]]:
    """Everything about a tree that an attack might change."""
    found: dict[str, tuple[object, ...]] = {}
    for name in [path, *sorted(path.rglob("*"))]:
        status = name.lstat()
        content = name.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(name)] = (status.st_mode, status.st_uid, status.st_nlink, status.st_mtime_ns, content)
    return found


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Lies beside the folder that is unpacked into."""
    path = tmp_path / "outside"
    path.mkdir(mode=0o755)
    (path / "secret").write_text("keep this")
    (path / "secret").chmod(0o600)
    return path


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_outside_is_touched(attack: str, imgmove: Run, tmp_path: Path, outside: Path) -> None:
    place = image_of(tmp_path / "layout", *(tar(entries, outside) for entries in ATTACKS[attack]))
    before, beside = looks(outside), sorted(os.listdir(tmp_path))
    ran = imgmove("export", place, "-C", "target")
    assert looks(outside) == before
    assert sorted(set(os.listdir(tmp_path)) - {"target"}) == beside
    assert ran.status in (0, 1, 2, 4), ran.stderr
    assert len(ran.stderr.splitlines()) <= 2, ran.stderr
    assert "internal error" not in ran.stderr
    tarred = imgmove("export", place, "-o", "out.tar")
    assert tarred.status == ran.status, "both ways judge alike"
    assert looks(outside) == before
    assert (tmp_path / "out.tar").exists() == (tarred.status == 0)


@pytest.mark.parametrize("length", [255, 256, 5000])
def test_names_longer_than_files_may_have(length: int, imgmove: Run, tmp_path: Path) -> None:
    place = image_of(tmp_path / "layout", tar([file("x" * length)], tmp_path))
    ran = imgmove("export", place, "-C", "target")
    assert ran.status == (0 if length <= 255 else 1), ran.stderr
    assert "internal error" not in ran.stderr


def test_folders_deeper_than_paths_may_be(imgmove: Run, tmp_path: Path) -> None:
    place = image_of(tmp_path / "layout", tar([file("d/" * 3000 + "file")], tmp_path))
    ran = imgmove("export", place, "-C", "target")
    # pytest's own way of tidying up does not reach so deep.
    subprocess.run(["rm", "-rf", tmp_path / "target"], check=True)
    assert ran.status in (0, 1), ran.stderr
    assert "internal error" not in ran.stderr
