"""Digests: what is one, and that it is what the hash says."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import MalformedContent
from imgmove.model.digest import Digest

LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
ALGORITHMS = st.sampled_from(sorted(LENGTHS))


@given(st.binary(max_size=100), ALGORITHMS)
def test_a_digest_is_the_hash_and_parses_back(content: bytes, algorithm: str) -> None:
    digest = Digest.of(content, algorithm)
    assert str(digest) == f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    assert Digest.parse(str(digest)) == digest


@given(st.lists(st.binary(max_size=20)), ALGORITHMS)
def test_hashing_in_pieces_gives_the_same(pieces: list[bytes], algorithm: str) -> None:
    digest = Digest.of(b"".join(pieces), algorithm)
    hasher = digest.hasher()
    for piece in pieces:
        hasher.update(piece)
    assert hasher.hexdigest() == digest.hex


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "not a digest"),
        ("sha256:", "not a digest"),
        ("a" * 64, "not a digest"),
        (f"SHA256:{'a' * 64}", "not a digest"),
        (f"sha256:{'a' * 64}\n", "not a digest"),
        (f" sha256:{'a' * 64}", "not a digest"),
        ("sha256:../../etc/passwd", "not a digest"),
        (f"sha256:{'a' * 63}", "not a sha256 digest"),
        (f"sha256:{'a' * 65}", "not a sha256 digest"),
        (f"sha256:{'A' * 64}", "not a sha256 digest"),
        (f"sha256:{'g' * 64}", "not a sha256 digest"),
        (f"sha512:{'a' * 64}", "not a sha512 digest"),
        (f"md5:{'a' * 32}", "'md5' is not supported"),
        (f"sha256+b64u:{'a' * 64}", "is not supported"),
        (None, "must be text"),
        (7, "must be text"),
        ([f"sha256:{'a' * 64}"], "must be text"),
    ],
)
def test_what_is_no_digest(value: object, message: str) -> None:
    with pytest.raises(MalformedContent) as caught:
        Digest.parse(value)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.text(max_size=140) | st.from_regex(r"sha(256|384|512):[a-f0-9]{60,130}", fullmatch=True))
def test_what_parses_is_safe_as_a_file_name(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except MalformedContent:
        return
    assert str(digest) == text
    assert len(digest.hex) == LENGTHS[digest.algorithm]
    assert set(digest.hex) <= set("0123456789abcdef")
    assert digest.hex.startswith(digest.short)


def test_long_texts_are_read_in_linear_time() -> None:
    # A grammar that backtracks would not come back from this at all.
    with pytest.raises(MalformedContent):
        Digest.parse("a+" * 100_000 + "!")
