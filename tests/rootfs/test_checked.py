"""Tars that flow by: whole ones come through as they are, everything else is noticed."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import ContentError, MalformedContent, Truncated
from imgmove.rootfs.checked import CheckedTar
from imgmove.rootfs.tar import END
from imgmove.streams import BytesReader


def tar(*names: str, size: int = 700, form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar without the padding that Python adds."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = size
            archive.addfile(member, io.BytesIO(bytes(range(256)) * 3))
        end = archive.offset
    return buffer.getvalue()[:end] + END


WHOLE = tar("one", "folder/two", "long" * 60)


def through(content: bytes, size: int = 256 << 10, most: int | None = None) -> tuple[bytes, CheckedTar]:
    checked = CheckedTar(BytesReader(content), "x.tar", most)
    return b"".join(iter(lambda: checked.read(size), b"")), checked


@pytest.mark.parametrize("size", [1, 511, 512, 513, 1 << 20])
@pytest.mark.parametrize("rest", [b"", bytes(10240), b"whatever follows the end"])
def test_a_whole_one(size: int, rest: bytes) -> None:
    assert through(WHOLE + rest, size)[0] == WHOLE + rest


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_all_forms(form: int) -> None:
    content = tar("a" * 90, "b/" + "c" * 98, form=form)
    assert through(content)[0] == content


def test_an_empty_one() -> None:
    assert through(END)[0] == END


@given(st.integers(0, len(WHOLE) - len(END)))
def test_one_that_is_cut_off(length: int) -> None:
    with pytest.raises(Truncated, match=r"x\.tar"):
        through(WHOLE[:length])


@given(st.binary(min_size=512, max_size=2000))
def test_what_is_none(content: bytes) -> None:
    with pytest.raises((MalformedContent, Truncated), match=r"x\.tar"):
        through(b"x" + content)


@given(st.integers(0, len(WHOLE) - len(END) - 1), st.integers(1, 255))
def test_one_that_is_damaged(position: int, flip: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[position] ^= flip
    try:
        assert through(bytes(damaged))[0] == damaged
    except (ContentError, Truncated) as error:
        assert str(error).startswith("x.tar: ")


def test_one_that_is_too_large() -> None:
    assert through(WHOLE, most=len(WHOLE))[0] == WHOLE
    with pytest.raises(MalformedContent, match="more than the 5000 bytes"):
        through(WHOLE, most=5000)


def test_what_is_in_it() -> None:
    checked = through(tar("a/.wh.b", ".wh..wh..opq", "x.wh.y"))[1]
    assert (checked.whiteouts, checked.is_archive, checked.sparse) == (2, False, 0)
    assert through(tar("manifest.json"))[1].is_archive
    assert through(tar("./oci-layout"))[1].is_archive
    assert not through(tar("etc/manifest.json"))[1].is_archive


def test_files_with_holes_in_gnus_old_form() -> None:
    content = bytearray(tar("sparse", size=512))
    content[156:157] = b"S"
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    assert through(bytes(content))[1].sparse == 1
