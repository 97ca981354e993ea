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
from tests.rootfs.layers import Entry as PaxEntry
from tests.rootfs.layers import image_of, tar_of

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


@pytest.mark.parametrize(("length", "status"), [(255, 0), (256, 1), (4096, 1), (4097, 4)])
def test_names_longer_than_files_may_have(length: int, status: int, imgmove: Run, tmp_path: Path) -> None:
    place = image_of(tmp_path / "layout", tar([file("x" * length)], tmp_path))
    ran = imgmove("export", place, "-C", "target")
    assert ran.status == status, ran.stderr
    assert "internal error" not in ran.stderr


def test_folders_deeper_than_paths_may_be(imgmove: Run, tmp_path: Path) -> None:
    place = image_of(tmp_path / "layout", tar([file("d/" * 2000 + "file")], tmp_path))
    ran = imgmove("export", place, "-C", "target")
    # pytest's own way of tidying up does not reach so deep.
    subprocess.run(["rm", "-rf", tmp_path / "target"], check=True)
    assert ran.status in (0, 1), ran.stderr
    assert "internal error" not in ran.stderr


_SIZE = "GNU.sparse.realsize"
HOLES = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s", _SIZE: "100"}

# What stands in one member that no file can be, and the status of unpacking it; a tar may hold some of it.
ABSURD = {
    "a name with a zero": (PaxEntry("x", pax={"path": "a\0b"}), 4),
    "a name that no memory holds": (PaxEntry("x", pax={"path": "d/" * 100_000 + "f"}), 4),
    "a link's target with a zero": (PaxEntry("x", "symlink", pax={"linkpath": "a\0b"}), 4),
    "a hard link's target with a zero": (PaxEntry("x", "link", pax={"linkpath": "a\0b"}), 4),
    "a folder with content": (PaxEntry("x/", text="evil"), 4),
    "a size below nothing": (PaxEntry("x", pax={"size": "-5"}), 4),
    "a size without end": (PaxEntry("x", pax={"size": "9" * 18}), 1),
    "a time that is none": (PaxEntry("x", pax={"mtime": "nan"}), 4),
    "an owner that nobody can be": (PaxEntry("x", pax={"uid": "9999999999"}), 4 if os.geteuid() == 0 else 0),
    "an attribute with a zero in its name": (PaxEntry("x", pax={"SCHILY.xattr.user.a\0b": "x"}), 0),
    "an attribute larger than may be": (PaxEntry("x", pax={"SCHILY.xattr.user.a": "x" * 200_000}), 0),
    "holes without a map": (PaxEntry("x", pax=HOLES), 4),
    "less content than the map says": (PaxEntry("x", text="1\n0\n9\n".ljust(512, "\0") + "evil", pax=HOLES), 4),
    "content behind the end": (PaxEntry("x", text="1\n99\n4\n".ljust(512, "\0") + "evil", pax=HOLES), 4),
    "holes larger than disks": (PaxEntry("x", text="0\n".ljust(512, "\0"), pax={**HOLES, _SIZE: "9" * 18}), 1),
}


@pytest.mark.parametrize("what", ABSURD)
def test_what_no_file_can_be(what: str, imgmove: Run, tmp_path: Path) -> None:
    entry, status = ABSURD[what]
    place = image_of(tmp_path / "layout", tar_of(PaxEntry("first", text="x"), entry))
    ran = imgmove("export", place, "-C", "target")
    assert ran.status == status, ran.stderr
    assert len(ran.stderr.splitlines()) <= 1, ran.stderr
    assert "internal error" not in ran.stderr
    assert status == 0 or "what is in target is not whole" in ran.stderr
    tarred = imgmove("export", place, "-o", "out.tar")
    assert tarred.status in (0, status)
    assert (tmp_path / "out.tar").exists() == (tarred.status == 0)
