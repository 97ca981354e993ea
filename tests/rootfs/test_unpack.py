"""Unpacking into a folder: everything as the tar says, and nothing anywhere else."""

from __future__ import annotations

import io
import os
import resource
import stat
import tarfile
from pathlib import Path

import pytest

from imgmove.errors import LocalError, MalformedContent
from imgmove.rootfs.unpack import Unpacker, prepare_folder
from tests.rootfs.layers import Entry, folder, tar_of


def unpack(tar: bytes, target: Path) -> Unpacker:
    target.mkdir(exist_ok=True)
    unpacker = Unpacker(str(target))
    try:
        for at in range(0, len(tar), 1024):
            unpacker.write(tar[at : at + 1024])
        unpacker.finish()
    finally:
        unpacker.close()
    return unpacker


def test_attributes(tmp_path: Path) -> None:
    pax = {"mtime": "1234567890.123456789", "atime": "5"}
    tar = tar_of(
        folder("a", mode=0o750),
        Entry("a/file", text="content" * 1000, mode=0o640, pax=pax),
        Entry("a/again", "link", "a/file"),
        Entry("a/link", "symlink", "/nowhere"),
        Entry("a/fifo", "fifo"),
    )
    unpack(tar, tmp_path / "x")
    found = (tmp_path / "x" / "a" / "file").stat()
    assert (found.st_mtime_ns, found.st_atime_ns) == (1234567890123456789, 5 * 10**9)
    assert (stat.S_IMODE(found.st_mode), found.st_nlink, found.st_size) == (0o640, 2, 7000)
    assert os.readlink(tmp_path / "x" / "a" / "link") == "/nowhere"
    assert stat.S_ISFIFO((tmp_path / "x" / "a" / "fifo").stat().st_mode)
    assert (tmp_path / "x" / "a").stat().st_mtime == 0
    assert stat.S_IMODE((tmp_path / "x" / "a").stat().st_mode) == 0o750


def test_a_slash_tells_folders_as_before_posix(tmp_path: Path) -> None:
    unpack(tar_of(Entry("a/"), Entry("a/b", text="x")), tmp_path / "x")
    assert (tmp_path / "x" / "a" / "b").read_text() == "x"


@pytest.mark.parametrize("target", ["/etc", "..", "../outside", "b"])
def test_links_are_never_followed(target: str, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    with pytest.raises(LocalError, match="a/evil|no folder"):
        unpack(tar_of(Entry("a", "symlink", target), Entry("a/evil", text="x")), tmp_path / "x")
    assert not list((tmp_path / "outside").iterdir())
    assert os.listdir(tmp_path / "x") == ["a"]


def test_a_file_takes_the_place_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("kept")
    unpack(tar_of(Entry("a", "symlink", "../outside"), Entry("a", text="new")), tmp_path / "x")
    assert (tmp_path / "outside").read_text() == "kept"
    assert (tmp_path / "x" / "a").read_text() == "new"


@pytest.mark.parametrize("entry", [Entry("../evil"), Entry("a", "link", "../evil"), Entry("a/../../evil")], ids=str)
def test_names_that_lead_out_are_refused(entry: Entry, tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("kept")
    with pytest.raises(MalformedContent):
        unpack(tar_of(entry), tmp_path / "x")
    assert (tmp_path / "evil").stat().st_nlink == 1
    assert not os.listdir(tmp_path / "x")


def test_a_hard_link_does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("kept")
    unpack(tar_of(Entry("a", "symlink", "../secret"), Entry("b", "link", "a")), tmp_path / "x")
    assert (tmp_path / "secret").stat().st_nlink == 1
    assert (tmp_path / "x" / "b").is_symlink()


def test_a_hard_link_to_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedContent, match="a/b is a hard link to itself"):
        unpack(tar_of(Entry("a/b", text="x"), Entry("a/b", "link", "./a//b")), tmp_path / "x")
    assert (tmp_path / "x" / "a" / "b").read_text() == "x"


def test_folders_may_lie_deeper_than_files_may_be_open(tmp_path: Path) -> None:
    deep = "d/" * 400
    entries = [Entry(f"{deep}one", text="1"), Entry(f"{deep}e/two", text="2"), Entry("d/d/three", text="3")]
    links = [Entry("four", "link", f"{deep}one"), Entry(f"{deep}five", "link", "d/d/three")]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    try:
        unpack(tar_of(*entries, *links, folder(deep, mode=0o700)), tmp_path / "x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = tmp_path / "x" / deep
    assert [(found / name).read_text() for name in ("one", "e/two", "five")] == ["1", "2", "3"]
    assert (tmp_path / "x" / "four").read_text() == "1"
    assert stat.S_IMODE(found.stat().st_mode) == 0o700


def test_absolute_names_stay_inside(tmp_path: Path) -> None:
    unpack(tar_of(Entry(f"{tmp_path}/evil", text="x")), tmp_path / "x")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("records", ["1.0", "0.1"])
def test_files_with_holes(records: str, tmp_path: Path) -> None:
    pieces = b"A" * 512 + b"B" * 100
    if records == "1.0":
        content = b"2\n0\n512\n8192\n100\n".ljust(512, b"\0") + pieces
        pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "f", "GNU.sparse.realsize": "9000"}
    else:
        content = pieces
        pax = {"GNU.sparse.map": "0,512,8192,100", "GNU.sparse.size": "9000", "GNU.sparse.name": "f"}
    member = tarfile.TarInfo("GNUSparseFile.0/f")
    member.size, member.pax_headers = len(content), pax
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member, io.BytesIO(content))
    unpack(buffer.getvalue(), tmp_path / "x")
    expected = (b"A" * 512).ljust(8192, b"\0") + (b"B" * 100).ljust(808, b"\0")
    assert (tmp_path / "x" / "f").read_bytes() == expected


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    prepare_folder(str(tmp_path / "new" / "deep"))
    (tmp_path / "new" / "deep" / "x").touch()
    with pytest.raises(LocalError, match="is not empty"):
        prepare_folder(str(tmp_path / "new" / "deep"))
    with pytest.raises(LocalError):
        prepare_folder(str(tmp_path / "new" / "deep" / "x"))
