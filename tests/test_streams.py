"""Readers that verify: nothing wrong is ever given out whole."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import DigestMismatch, ImgmoveError, SizeMismatch, Truncated
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.streams import HELD_BACK, BytesReader, ContentCheck, HashingReader, PeekReader, VerifyingReader, drain

BIG = random.Random(5).randbytes((3 << 20) + 12345)


def taken(reader: VerifyingReader, size: int = 70_000) -> bytes:
    return b"".join(iter(lambda: reader.read(size), b""))


@given(st.binary(max_size=200_000), st.integers(1, 300_000), st.sampled_from(["sha256", "sha512"]))
def test_right_content_passes(content: bytes, size: int, algorithm: str) -> None:
    descriptor = Descriptor("x", Digest.of(content, algorithm), len(content))
    assert taken(VerifyingReader(BytesReader(content), ContentCheck(descriptor)), size) == content
    assert VerifyingReader(BytesReader(content), ContentCheck(descriptor)).read() == content


@pytest.mark.parametrize("content", [BIG[:1000], BIG])
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda content: content[:-1], Truncated),
        (lambda content: content + b"x", SizeMismatch),
        (lambda content: b"x" + content[1:], DigestMismatch),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), DigestMismatch),
        (lambda content: content[:0], Truncated),
    ],
)
def test_of_wrong_content_the_end_is_never_given_out(
    content: bytes, change: Callable[[bytes], bytes], error: type[Exception]
) -> None:
    reader = VerifyingReader(BytesReader(change(content)), ContentCheck(Descriptor.of(content, "x")))
    got: list[bytes] = []
    with pytest.raises(error):
        got.extend(iter(lambda: reader.read(50_000), b""))
    assert sum(len(data) for data in got) <= max(0, len(content) - HELD_BACK)


@given(st.lists(st.tuples(st.integers(0, len(BIG)), st.integers(0, 2 << 20)), max_size=6))
def test_content_in_pieces_from_wherever_the_destination_is(breaks: list[tuple[int, int]]) -> None:
    """The destination lost its connection, and holds less than what was read."""
    check = ContentCheck(Descriptor.of(BIG, "x"))
    held = b""
    for amount, lost in breaks:
        held += _piece(check, len(held), amount)
        held = held[: len(held) - min(lost, len(held))]
    assert held + _piece(check, len(held), len(BIG)) == BIG


def _piece(check: ContentCheck, held: int, amount: int) -> bytes:
    start = check.rewind(held)
    assert start <= held
    reader = VerifyingReader(BytesReader(BIG[start:]), check, skip=held - start)
    piece = b""
    while len(piece) < amount and (data := reader.read(min(amount - len(piece), 300_000))):
        piece += data
    return piece


def test_other_content_the_second_time_is_noticed() -> None:
    check = ContentCheck(Descriptor.of(BIG, "x"))
    VerifyingReader(BytesReader(BIG), check).read(2 << 20)
    start = check.rewind(1 << 20)
    other = bytes(len(BIG) - start)
    with pytest.raises(ImgmoveError):
        taken(VerifyingReader(BytesReader(other), check, skip=(1 << 20) - start))


@given(st.binary(max_size=50), st.integers(0, 60), st.lists(st.integers(1, 20)))
def test_a_peek_takes_nothing_away(content: bytes, size: int, reads: list[int]) -> None:
    peek = PeekReader(BytesReader(content), size)
    assert peek.start == content[:size]
    assert b"".join(peek.read(count) for count in reads) + peek.read() == content


def test_hashing_and_draining() -> None:
    reader = HashingReader(BytesReader(BIG))
    assert drain(reader) == len(BIG) == reader.size
    assert reader.digest == Digest.of(BIG)
