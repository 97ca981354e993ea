"""Folders as tars: everything that tar can say of a file, read back by Python's own reader."""

from __future__ import annotations

import io
import os
import random
import socket
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from imgmove.errors import LocalError
from imgmove.rootfs.pack import PackedFolder

IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can make such files")


def packed(folder: Path, latest: int | None = None) -> bytes:
    return PackedFolder(str(folder), latest).read()


def members(folder: Path, latest: int | None = None) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(packed(folder, latest)), errors="surrogateescape") as archive:
        return {member.name: member for member in archive}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "app").write_bytes(b"#!/bin/sh\n")
    (folder / "bin" / "app").chmod(0o4755)
    (folder / "bin.d").mkdir(mode=0o700)
    (folder / "big").write_bytes(random.Random(1).randbytes(700_001))
    (folder / "empty").touch()
    (folder / "link").symlink_to("bin/app")
    (folder / "broken").symlink_to("/nowhere")
    (folder / "pair").hardlink_to(folder / "big")
    os.mkfifo(folder / "fifo", 0o600)
    return folder


def test_what_comes_out(tree: Path) -> None:
    found = members(tree)
    assert list(found) == [".", "big", "bin", "bin/app", "bin.d", "broken", "empty", "fifo", "link", "pair"]
    assert found["bin/app"].mode == 0o4755
    assert found["bin.d"].mode == 0o700
    assert found["link"].linkname == "bin/app"
    assert found["broken"].linkname == "/nowhere"
    assert found["pair"].islnk()
    assert found["pair"].linkname == "big"
    assert found["fifo"].isfifo()
    assert found["big"].uid == os.getuid()
    assert found["bin/app"].uname == "", "names of users are this machine's"


def test_content(tree: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(tree))) as archive:
        file = archive.extractfile("big")
        assert file is not None
        assert file.read() == (tree / "big").read_bytes()


def test_the_same_files_give_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", tree, copy], check=True)
    assert packed(copy) == packed(tree) == packed(tree)


@pytest.mark.parametrize("size", [1, 511, 4096, 1 << 20])
def test_any_size_of_reads(size: int, tree: Path) -> None:
    (tree / "big").write_bytes(b"x" * 3000)
    reader = PackedFolder(str(tree))
    assert b"".join(iter(lambda: reader.read(size), b"")) == packed(tree)


def test_times(tree: Path) -> None:
    os.utime(tree / "empty", ns=(0, 1_600_000_000_123_456_789))
    os.utime(tree / "big", ns=(0, -1_500_000_000))
    os.utime(tree / "bin", (0, 1_500_000_000))
    found = members(tree)
    assert found["empty"].pax_headers["mtime"] == "1600000000.123456789"
    assert found["big"].pax_headers["mtime"] == "-1.5"
    assert "mtime" not in found["bin"].pax_headers
    assert found["bin"].mtime == 1_500_000_000
    clamped = members(tree, 1_550_000_000)
    assert clamped["empty"].mtime == 1_550_000_000
    assert clamped["bin"].mtime == 1_500_000_000


@pytest.mark.parametrize("length", [99, 100, 101, 250])
def test_long_names(length: int, tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    parts = ("n" * (length // 2), "m" * (length - length // 2 - 1))
    (folder / parts[0]).mkdir()
    (folder / parts[0] / parts[1]).symlink_to("t" * length)
    found = members(folder)
    assert found["/".join(parts)].linkname == "t" * length


def test_names_that_are_no_text(tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    names = [b"latin-\xe4", b"long-\xff" + b"x" * 150]
    for name in names:
        try:
            Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).touch()
        except OSError:
            pytest.skip("the file system takes no such names")
    content = packed(folder)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert {os.fsencode(member.name) for member in archive} == {b".", *names}


def test_a_file_larger_than_tar_s_own_field(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(9 << 30)
    reader = PackedFolder(str(tmp_path))
    start = reader.read(64 << 10)
    reader.close()
    with tarfile.open(fileobj=io.BytesIO(start), mode="r|") as archive:
        assert archive.next() is not None
        huge = archive.next()
    assert huge is not None
    assert huge.size == 9 << 30


def test_a_folder_behind_a_link(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "to-tree").symlink_to(tree)
    assert packed(tmp_path / "to-tree") == packed(tree)


def test_an_empty_folder(tmp_path: Path) -> None:
    assert list(members(tmp_path)) == ["."]


def test_sockets_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(folder)
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
        reader = PackedFolder(str(folder))
        reader.read()
        assert reader.sockets == 1
        assert list(members(folder)) == ["."]


@needs_root
def test_what_only_root_has(tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    file = folder / "ping"
    file.touch()
    os.chown(file, 12, 0o7777777 + 1)
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.mknod(folder / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(folder / "disk", 0o660 | stat.S_IFBLK, os.makedev(259, 70_000))
    try:
        os.setxattr(file, "security.capability", capability)
        os.setxattr(file, "trusted.note", b"\x00\n=")
        os.setxattr(file, "trusted.overlay.opaque", b"y")
    except OSError:
        pytest.skip("the file system has no extended attributes")
    found = members(folder)
    assert (found["ping"].uid, found["ping"].gid) == (12, 0o7777777 + 1)
    assert found["null"].ischr()
    assert (found["disk"].devmajor, found["disk"].devminor) == (259, 70_000)
    headers = found["ping"].pax_headers
    assert headers["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape") == capability
    assert headers["SCHILY.xattr.trusted.note"] == "\x00\n="
    assert "SCHILY.xattr.trusted.overlay.opaque" not in headers


@needs_root
def test_gnu_tar_unpacks_it_to_the_same(tree: Path, tmp_path: Path) -> None:
    (tree / "tar").write_bytes(packed(tree))
    target = tmp_path / "target"
    target.mkdir()
    subprocess.run(["tar", "-xpf", tree / "tar", "-C", target, "--xattrs", "--xattrs-include=*"], check=True)
    (tree / "tar").unlink()
    os.utime(tree, ns=(0, os.stat(target).st_mtime_ns))
    assert packed(target) == packed(tree)


def shrink(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_file(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.rename(path)


@pytest.mark.parametrize("change", [shrink, replace_by_link, replace_by_pipe, replace_by_file])
def test_files_that_change_meanwhile(
    change: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "file").write_bytes(b"x" * 1000)
    before = os.open

    def open_later(path: bytes, flags: int, *arguments: int) -> int:
        if os.fsencode(path).endswith(b"/file"):
            change(folder / "file")
        return before(path, flags, *arguments)

    reader = PackedFolder(str(folder))
    monkeypatch.setattr(os, "open", open_later)
    with pytest.raises(LocalError):
        reader.read()


def test_files_that_vanish_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    listed = os.listdir(os.fsencode(tmp_path))
    monkeypatch.setattr(os, "listdir", lambda _: [*listed, b"gone"])
    with pytest.raises(LocalError, match="gone: it changed"):
        packed(tmp_path)


@pytest.mark.skipif(IS_ROOT, reason="root may read everything")
def test_files_that_nobody_may_read(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(mode=0)
    with pytest.raises(LocalError, match="secret: permission denied"):
        packed(tmp_path)
