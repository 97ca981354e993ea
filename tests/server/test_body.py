"""Request bodies, however they are cut into chunks and reads."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import Truncated
from imgmove.server.body import ChunkedBody, KnownBody
from imgmove.server.exchange import Refusal

PARTS = st.lists(st.binary(min_size=1, max_size=300), max_size=12)
SIZES = st.lists(st.integers(min_value=1, max_value=400), min_size=1, max_size=8)


def nothing() -> None:
    """No go-ahead is waited for."""


def chunked(parts: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def read_in(body: KnownBody | ChunkedBody, sizes: list[int]) -> bytes:
    """All of a body, in reads of these sizes, over and over."""
    taken, turn = [], 0
    while block := body.read(sizes[turn % len(sizes)]):
        taken.append(block)
        turn += 1
    return b"".join(taken)


@given(parts=PARTS, sizes=SIZES, rest=st.binary(max_size=20))
def test_chunks_come_out_whole_and_leave_what_follows(parts: list[bytes], sizes: list[int], rest: bytes) -> None:
    connection = io.BufferedReader(io.BytesIO(chunked(parts) + rest))
    body = ChunkedBody(connection, nothing)
    assert read_in(body, sizes) == b"".join(parts)
    assert body.is_finished
    assert body.received == sum(map(len, parts))
    assert connection.read() == rest


@given(content=st.binary(max_size=500), sizes=SIZES, rest=st.binary(max_size=20))
def test_a_known_length_leaves_what_follows(content: bytes, sizes: list[int], rest: bytes) -> None:
    connection = io.BufferedReader(io.BytesIO(content + rest))
    body = KnownBody(connection, len(content), nothing)
    assert read_in(body, sizes) == content
    assert body.is_finished
    assert connection.read() == rest


@given(parts=PARTS, data=st.data())
def test_a_cut_is_never_taken_for_the_end(parts: list[bytes], data: st.DataObject) -> None:
    whole = chunked(parts)
    # Without the very last line break nobody misses anything, hence two bytes less at least.
    cut = data.draw(st.integers(min_value=0, max_value=len(whole) - 3))
    body = ChunkedBody(io.BufferedReader(io.BytesIO(whole[:cut])), nothing)
    with pytest.raises((Truncated, Refusal)):
        body.read()


@given(noise=st.binary(max_size=200))
def test_noise_is_refused_or_read_but_breaks_nothing(noise: bytes) -> None:
    body = ChunkedBody(io.BufferedReader(io.BytesIO(noise)), nothing)
    try:
        assert len(body.read()) <= len(noise)
    except (Truncated, Refusal):
        assert not body.is_finished


def test_the_go_ahead_comes_once_and_only_for_a_body() -> None:
    calls: list[int] = []
    body = KnownBody(io.BufferedReader(io.BytesIO(b"abc")), 3, lambda: calls.append(1))
    assert (body.read(1), body.read(1), body.read(1), body.read(1)) == (b"a", b"b", b"c", b"")
    assert calls == [1]
    empty = KnownBody(io.BufferedReader(io.BytesIO(b"")), 0, lambda: calls.append(1))
    assert empty.read() == b""
    assert calls == [1]
