"""Members as files: links, duplicates, and names that lead nowhere good."""

from __future__ import annotations

import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.endpoints.archive import ArchivePipe
from imgmove.endpoints.archive.members import MemberFiles, Members, index_members, safe_name
from imgmove.errors import ImgmoveError, MalformedContent, NotFound, Truncated
from imgmove.streams import drain
from imgmove.wire.files import LocalFiles
from tests.endpoints.archive.tars import Item, hardlink, symlink, tar_with

FILES = LocalFiles()


def indexed(path: Path, content: bytes) -> Members:
    path.write_bytes(content)
    return index_members(FILES, str(path), "the archive")


def files_of(path: Path, *items: Item) -> MemberFiles:
    return MemberFiles(FILES, str(path), dict(indexed(path, tar_with(*items)).regions))


def test_members_are_files(tmp_path: Path) -> None:
    files = files_of(tmp_path / "x.tar", Item("./a/b", b"0123456789"), Item("a/c"), Item("d", b"d" * 70_000))
    assert files.read_at("a/b", 3, 4) == b"3456"
    assert files.read_at("a/b", 8, 100) == b"89", "never into the next member"
    with closing(files.open("a/b", 8)) as reader:
        assert reader.read() == b"89"
        assert reader.read(1) == b""
    with closing(files.open("d", 69_999)) as reader:
        assert reader.read(10) == b"d"
    status = files.status("a/c")
    assert status is not None
    assert status.size == 0
    assert files.status("a") is None
    assert files.list("a") == ["b", "c"]
    assert files.list("") == ["a", "d"]
    with pytest.raises(NotFound, match="no member a/d"):
        files.open("a/d")


def test_links_are_what_they_lead_to(tmp_path: Path) -> None:
    files = files_of(
        tmp_path / "x.tar",
        symlink("first/layer.tar", "../digest.tar"),
        Item("digest.tar", b"content"),
        hardlink("second/layer.tar", "digest.tar"),
        symlink("chain", "second/layer.tar"),
        symlink("dangling", "nothing"),
        symlink("loop", "loop"),
    )
    for name in ("first/layer.tar", "second/layer.tar", "chain"):
        assert files.read_at(name, 0, 99) == b"content"
    assert files.status("dangling") is None
    assert files.status("loop") is None


def test_of_two_members_of_one_name_the_later_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    assert files_of(path, Item("a", b"one"), Item("./a", b"two")).read_at("a", 0, 9) == b"two"
    assert files_of(path, Item("b", b"b"), Item("a", b"one"), symlink("a", "b")).read_at("a", 0, 9) == b"b"
    assert files_of(path, symlink("a", "b"), Item("b", b"b"), Item("a", b"one")).read_at("a", 0, 9) == b"one"


@pytest.mark.parametrize(
    "item",
    [
        Item("../evil", b"x"),
        Item("/etc/passwd", b"x"),
        Item("a/../../evil", b"x"),
        symlink("a", "/etc/passwd"),
        symlink("a/b", "../../etc/passwd"),
        hardlink("a", "../etc/passwd"),
        hardlink("a", "/etc/passwd"),
        Item("../evil/", kind=tarfile.DIRTYPE),
    ],
)
def test_nothing_leads_out_of_an_archive(item: Item, tmp_path: Path) -> None:
    with pytest.raises(MalformedContent, match="leads out of the archive"):
        indexed(tmp_path / "x.tar", tar_with(Item("fine", b"x"), item))


@pytest.mark.parametrize(("size", "where"), [(1200, "middle of a header"), (2000, "the archive .* middle of 'second'")])
def test_a_tar_that_ends_early(size: int, where: str, tmp_path: Path) -> None:
    content = tar_with(Item("first", b"x" * 100), Item("second", b"y" * 2000))
    with pytest.raises(Truncated, match=where):
        indexed(tmp_path / "x.tar", content[:size])


def test_whether_an_archive_is_closed(tmp_path: Path) -> None:
    content = tar_with(Item("first", b"x" * 100))
    assert indexed(tmp_path / "x.tar", content).is_closed
    cut = indexed(tmp_path / "x.tar", content[:1024])
    assert not cut.is_closed
    assert list(cut.regions) == ["first"], "some programs never close their archives"


def test_content_that_is_cut_off_behind_our_back(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    files = files_of(path, Item("a", b"x" * 3000))
    with path.open("r+b") as file:
        file.truncate(1500)
    with closing(files.open("a")) as reader, pytest.raises(Truncated, match="2012 bytes too early"):
        drain(reader)


@given(st.text(max_size=30))
def test_a_safe_name_stays_inside(name: str) -> None:
    try:
        safe = safe_name(name)
    except MalformedContent:
        return
    assert not safe.startswith("/")
    assert ".." not in safe.split("/")
    assert safe_name(safe) == safe


@given(st.binary(max_size=4096), st.integers(0, 6000))
def test_any_bytes_are_an_archive_or_an_error(tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.tar"
    content = bytearray(tar_with(Item("first", b"x" * 600), symlink("link", "first"), Item("second" * 30, b"y")))
    content[at : at + len(junk)] = junk
    try:
        indexed(path, bytes(content))
    except ImgmoveError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE])
def test_more_members_than_memory_is_for(kind: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("members", "pipe"):
        monkeypatch.setattr(f"imgmove.endpoints.archive.{module}.MOST_MEMBERS", 20)
    with tarfile.open(tmp_path / "many.tar", "w") as archive:
        for number in range(30):
            member = tarfile.TarInfo(f"blobs/sha256/{number:064x}")
            member.type, member.linkname = kind, "elsewhere" if kind == tarfile.SYMTYPE else ""
            archive.addfile(member)
    with pytest.raises(MalformedContent, match="more than 20 members"):
        index_members(LocalFiles(), str(tmp_path / "many.tar"), "many.tar")
    with (tmp_path / "many.tar").open("rb") as file, pytest.raises(MalformedContent, match="more than 20 members"):
        list(ArchivePipe(file).arrivals())
