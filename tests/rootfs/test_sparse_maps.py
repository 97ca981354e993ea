"""Files with holes whose maps were made to take time and memory."""

from __future__ import annotations

import pytest

from imgmove.errors import MalformedContent
from imgmove.rootfs.heads import Head
from imgmove.rootfs.sparse import SparseContent

HEAD = Head({b"GNU.sparse.major": b"1", b"GNU.sparse.realsize": b"4000000"}, bytes(512), b"")


def stored(pieces: list[tuple[int, int]], content: bytes = b"") -> bytes:
    """A map of version 1.0, and what follows it."""
    lines = b"%d\n" % len(pieces) + b"".join(b"%d\n%d\n" % piece for piece in pieces)
    return lines + bytes(-len(lines) % 512) + content


@pytest.mark.parametrize("size", [1, 511, 512, 5000, 1 << 20])
def test_a_map_that_comes_in_pieces(size: int) -> None:
    whole = stored([(0, 3), (10, 0), (20, 1000)], b"abc" + b"x" * 1000)
    sparse = SparseContent(HEAD)
    file = bytearray(1020)
    for at in range(0, len(whole), size):
        for offset, part in sparse.placed(whole[at : at + size]):
            file[offset : offset + len(part)] = part
    assert file == b"abc" + bytes(17) + b"x" * 1000


def test_content_behind_a_map_is_no_part_of_it() -> None:
    content = b"x" * (3 << 20)
    assert SparseContent(HEAD).placed(stored([(5, len(content))], content)) == [(5, content)]


def test_very_many_empty_pieces() -> None:
    sparse = SparseContent(HEAD)
    assert sparse.placed(stored([(0, 0)] * 200_000)) == []
    with pytest.raises(MalformedContent, match="more content"):
        sparse.placed(b"x")


def test_a_map_without_end() -> None:
    sparse = SparseContent(HEAD)
    sparse.placed(b"%d\n" % 10**17)
    for _ in range(26):
        sparse.placed(b"0\n" * 20_000)
    with pytest.raises(MalformedContent, match="too many"):
        sparse.placed(b"0\n" * 20_000)
