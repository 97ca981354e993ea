"""Tar headers: read as Python's own module reads them, written so that it and GNU tar read them."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import ImgmoveError, MalformedContent, Truncated
from imgmove.rootfs.tar import (
    BLOCK,
    END,
    FileStream,
    PipeStream,
    Scan,
    has_checksum,
    is_tar,
    make_header,
    padding,
    scan,
)
from imgmove.streams import BytesReader
from imgmove.wire.files import LocalFiles
from tests.conftest import FIXTURES

ARCHIVES = sorted((FIXTURES / "archives").glob("*.tar"))


@pytest.mark.parametrize("path", ARCHIVES, ids=lambda path: path.name)
def test_real_archives_as_python_reads_them(path: Path) -> None:
    with tarfile.open(path) as archive:
        theirs = [(item.name, item.size, item.offset_data, item.linkname) for item in archive]
    for stream in (FileStream(LocalFiles(), str(path)), PipeStream(BytesReader(path.read_bytes()))):
        ours = [(item.name.rstrip("/"), item.size, item.offset, item.target) for item in scan(stream)]
        assert ours == theirs


NAMES = st.text(st.characters(blacklist_characters="\0/", blacklist_categories=["Cs"]), min_size=1, max_size=150)


@given(
    st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=6),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_what_python_writes(members: list[tuple[str, bytes]], form: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    stream = PipeStream(BytesReader(buffer.getvalue()))
    scanned = Scan(stream)
    found = []
    for member in scanned:
        found.append((member.name, stream.read(member.size)))
        scanned.left = 0
    assert found == [(name.rstrip("/") or name, content) for name, content in members]


@given(st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=6))
def test_python_reads_what_we_write(members: list[tuple[str, bytes]]) -> None:
    content = b"".join(make_header(name, len(data)) + data + bytes(padding(len(data))) for name, data in members) + END
    assert make_header("a", 3) == make_header("a", 3)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        found = [(item.name, (archive.extractfile(item) or io.BytesIO()).read()) for item in archive]
    assert found == members


@pytest.mark.parametrize("size", [0, 1, (8 << 30) - 1, 8 << 30, 1 << 40])
def test_large_sizes(size: int) -> None:
    header = make_header("x", size)
    assert tarfile.TarInfo.frombuf(header, "utf-8", "strict").size == size
    assert next(iter(scan(PipeStream(BytesReader(header))))).size == size


def test_gnu_tar_lists_it(tmp_path: Path) -> None:
    if shutil.which("tar") is None:
        pytest.skip("no tar program here")
    name = "blobs/sha512/" + "a" * 128
    (tmp_path / "x.tar").write_bytes(make_header(name, 3) + b"abc" + bytes(509) + END)
    listed = subprocess.run(["tar", "-tf", str(tmp_path / "x.tar")], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == [name]


def test_links_have_no_content() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo("x")
            member.type, member.linkname = kind, "target"
            archive.addfile(member)
    kinds = [(item.kind, item.target, item.size) for item in scan(PipeStream(BytesReader(buffer.getvalue())))]
    assert kinds == [("symlink", "target", 0), ("hardlink", "target", 0), ("folder", "", 0), ("other", "", 0)]


def test_an_archive_cut_in_a_header() -> None:
    with pytest.raises(Truncated):
        list(scan(PipeStream(BytesReader(make_header("x", 0)[:100]))))


@pytest.mark.parametrize(("size", "there"), [(600, 599), (600, 0), (10, 9)])
def test_an_archive_cut_in_content_that_is_skipped(size: int, there: int) -> None:
    with pytest.raises(Truncated, match="ends in the middle of 'x'"):
        list(scan(PipeStream(BytesReader(make_header("x", size) + bytes(there)))))


def test_an_archive_without_its_last_padding() -> None:
    assert [item.size for item in scan(PipeStream(BytesReader(make_header("x", 600) + bytes(600))))] == [600]


def test_a_wrong_checksum() -> None:
    header = bytearray(make_header("x", 0))
    header[0] ^= 1
    assert not has_checksum(bytes(header))
    with pytest.raises(MalformedContent, match="checksum"):
        list(scan(PipeStream(BytesReader(bytes(header)))))


def test_an_enormous_extension_is_not_read() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("x" * (2 << 20)))
    with pytest.raises(MalformedContent, match="limit"):
        list(scan(PipeStream(BytesReader(buffer.getvalue()))))


def test_what_looks_like_a_tar() -> None:
    assert is_tar(make_header("x", 0))
    assert is_tar(bytes(BLOCK))
    assert not is_tar(b"x" * BLOCK)
    assert not is_tar(b"")


@given(st.data())
def test_broken_archives_only_fail(data: st.DataObject) -> None:
    content = bytearray(ARCHIVES[0].read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        list(scan(PipeStream(BytesReader(bytes(content[: data.draw(st.integers(0, len(content)))])))))
    except ImgmoveError as error:
        assert "\n" not in str(error)
