"""Compression: the same bytes each time, and every way in which a stream can be broken."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import random
import subprocess
import sys
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import ImgmoveError, MalformedContent, Truncated, UsageError
from imgmove.ports import Reader
from imgmove.streams import BytesReader
from imgmove.wire import codec
from tests.conftest import FIXTURES

TEXT = b"".join(random.Random(1).choices([b"content ", b"addressing ", b"layers ", b"\0\0\0\0"], k=200_000))
SAMPLES = {"gzip": "gz", "zstd": "zst", "xz": "xz", "bzip2": "bz2"}


def packed(compression: str, content: bytes) -> bytes:
    """By the reference tools' own libraries."""
    if compression == "gzip":
        return gzip.compress(content, 1)
    if compression == "zstd":
        return zstandard.ZstdCompressor().compress(content)
    return (lzma.compress if compression == "xz" else bz2.compress)(content)


class Dribble:
    """Gives out pieces of odd sizes."""

    def __init__(self, content: bytes, seed: int) -> None:
        self._inner = io.BytesIO(content)
        self._random = random.Random(seed)

    def read(self, size: int = -1, /) -> bytes:
        limit = self._random.randrange(1, 300_000)
        return self._inner.read(limit if size < 0 else min(size, limit))

    def close(self) -> None:
        pass


class Drops:
    """Gives out a few bytes at a time."""

    def __init__(self, content: bytes, most: int) -> None:
        self._inner = io.BytesIO(content)
        self._most = most

    def read(self, size: int = -1, /) -> bytes:
        return self._inner.read(self._most if size < 0 else min(size, self._most))

    def close(self) -> None:
        pass


def everything(reader: Reader, size: int = 1 << 18) -> bytes:
    return b"".join(iter(lambda: reader.read(size), b""))


@pytest.mark.parametrize(("compression", "suffix"), SAMPLES.items())
def test_samples_from_elsewhere(compression: str, suffix: str) -> None:
    content = (FIXTURES / "compression" / f"Hello.{suffix}").read_bytes()
    assert codec.sniff(content) == compression
    assert everything(codec.decompressing(BytesReader(content), compression)) == b"Hello"


def test_what_is_not_compressed() -> None:
    assert codec.sniff(b"") == codec.sniff(b"hello") == "none"
    assert codec.sniff(b"\x50\x2a\x4d\x18") == "zstd"
    reader = BytesReader(b"x")
    assert codec.decompressing(reader, "none") is reader
    assert codec.compressing(reader, "none") is reader
    for work in (codec.compressing, codec.decompressing):
        with pytest.raises(UsageError):
            work(reader, "lzip")


def test_a_tar_may_begin_with_any_name() -> None:
    assert codec.sniff(b"BZh9 notes.txt".ljust(512, b"\0")) == "none"
    assert codec.sniff(b"\x1f\x8b".ljust(512, b"\0")) == "none"
    assert codec.sniff(bz2.compress(b"")) == codec.sniff(bz2.compress(b"x", 1)) == "bzip2"


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("level", [None, 1, 9])
def test_the_same_bytes_however_they_come(compression: str, level: int | None) -> None:
    once = everything(codec.compressing(BytesReader(TEXT), compression, level))
    again = everything(codec.compressing(Dribble(TEXT, 2), compression, level), 777)
    packer = codec.packer(compression, level)
    pushed = b"".join(packer.compress(TEXT[at : at + 1000]) for at in range(0, len(TEXT), 1000)) + packer.flush()
    assert once == again == pushed
    assert everything(codec.decompressing(BytesReader(once), compression)) == TEXT
    if compression == "gzip":
        assert gzip.decompress(once) == TEXT
        assert once[:8] == b"\x1f\x8b\x08\0\0\0\0\0", "no name, no time"
        assert once[9] == 0xFF, "no operating system"


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    content = random.Random(3).randbytes(8 << 20)
    results = set()
    for threads in (1, 2, 5):
        monkeypatch.setattr(codec, "_ZSTD_THREADS", threads)
        results.add(hashlib.sha256(everything(codec.compressing(BytesReader(content), "zstd"))).digest())
    assert len(results) == 1


@pytest.mark.parametrize("size", [0, 1, 1 << 20, 3 << 20])
def test_a_zstd_frame_always_ends_in_the_same_way(size: int) -> None:
    """Left to itself, zstd lets the pace of its threads decide how a frame ends whose last job is full."""
    packed = everything(codec.compressing(BytesReader(bytes(size)), "zstd"))
    before_checksum = packed[-7:-4]
    assert before_checksum == b"\1\0\0", "an empty raw block (RFC 8878, section 3.1.1.2)"


@pytest.mark.parametrize(("compression", "level"), [("gzip", 0), ("gzip", 10), ("zstd", 0), ("zstd", 23)])
def test_levels_that_do_not_exist(compression: str, level: int) -> None:
    with pytest.raises(UsageError, match="level"):
        codec.packer(compression, level)


@given(st.binary(max_size=5000), st.sampled_from(["gzip", "zstd"]), st.integers(1, 5000))
def test_round_trips(content: bytes, compression: str, size: int) -> None:
    reader = codec.decompressing(codec.compressing(BytesReader(content), compression), compression)
    pieces = list(iter(lambda: reader.read(size), b""))
    assert b"".join(pieces) == content
    assert max(map(len, pieces), default=0) <= size


@given(st.data(), st.sampled_from(list(SAMPLES)))
def test_streams_in_a_row_at_wild_sizes(data: st.DataObject, compression: str) -> None:
    parts = data.draw(
        st.lists(st.binary(max_size=300) | st.integers(0, 60_000).map(lambda size: TEXT[:size]), max_size=4)
    )
    padding = bytes(data.draw(st.integers(0, 40)))
    stream = b"".join(packed(compression, part) for part in [*parts, b"end"]) + padding
    reader = codec.decompressing(Drops(stream, data.draw(st.integers(1, 50))), compression)
    pieces = list(iter(lambda: reader.read(data.draw(st.integers(1, 70_000))), b""))
    assert b"".join(pieces) == b"".join(parts) + b"end"
    assert reader.read(1) == b"", "the end stays the end"


@pytest.mark.parametrize("compression", SAMPLES)
def test_several_streams_are_one_content(compression: str) -> None:
    content = packed(compression, b"one") + packed(compression, TEXT) + packed(compression, b"two")
    assert everything(codec.decompressing(BytesReader(content + bytes(3000)), compression)) == b"one" + TEXT + b"two"


def test_skippable_frames_are_skipped() -> None:
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
    content = skippable + packed("zstd", b"one") + skippable + packed("zstd", b"two")
    assert everything(codec.decompressing(BytesReader(content), "zstd")) == b"onetwo"


def test_all_that_a_gzip_header_may_hold() -> None:
    """RFC 1952, section 2.3: extra field, name, comment and a checksum of the header itself."""
    head = b"\x1f\x8b\x08\x1e" + b"\1\2\3\4\0\3" + b"\x04\0SG\0\0" + b"layer.tar\0" + b"words\0"
    head += (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little")
    plain = gzip.compress(TEXT)
    assert everything(codec.decompressing(BytesReader((head + plain[10:]) * 2), "gzip")) == TEXT * 2


@pytest.mark.parametrize("at", [-8, -4], ids=["checksum", "size"])
def test_the_trailer_of_gzip_is_checked(at: int) -> None:
    broken = bytearray(gzip.compress(b"content"))
    broken[at] ^= 1
    with pytest.raises(MalformedContent):
        everything(codec.decompressing(BytesReader(bytes(broken)), "gzip"))


def test_the_checksum_of_zstd_is_written_and_checked() -> None:
    broken = bytearray(everything(codec.compressing(BytesReader(b"content"), "zstd")))
    broken[-1] ^= 1
    with pytest.raises(MalformedContent):
        everything(codec.decompressing(BytesReader(bytes(broken)), "zstd"))


@pytest.mark.parametrize("compression", SAMPLES)
def test_broken_streams(compression: str) -> None:
    content = packed(compression, TEXT)
    with pytest.raises(MalformedContent, match="something else"):
        everything(codec.decompressing(BytesReader(content + b"garbage"), compression))
    for cut in (1, 9, len(content) // 2, len(content) - 3):
        with pytest.raises(Truncated):
            everything(codec.decompressing(BytesReader(content[:-cut]), compression))
    broken = bytearray(content)
    broken[len(broken) // 2] ^= 0xFF
    with pytest.raises((MalformedContent, Truncated)):
        everything(codec.decompressing(BytesReader(bytes(broken)), compression))
    with pytest.raises(Truncated):
        everything(codec.decompressing(BytesReader(b""), compression))


@given(st.binary(min_size=1, max_size=200), st.sampled_from(list(SAMPLES)))
def test_noise_only_fails(noise: bytes, compression: str) -> None:
    try:
        everything(codec.decompressing(BytesReader(packed(compression, b"")[:6] + noise), compression))
    except ImgmoveError as error:
        assert "\n" not in str(error)


@pytest.mark.memory
@pytest.mark.parametrize("compression", ["gzip", "zstd", "xz", "bzip2"])
def test_a_bomb_is_read_in_little_memory(compression: str) -> None:
    program = f"""
import resource, io
from imgmove.wire import codec
from tests.wire.test_codec import packed
bomb = packed({compression!r}, bytes(256 << 20))
before = int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0])
reader, total, most = codec.decompressing(io.BytesIO(bomb), {compression!r}), 0, 0
while data := reader.read(1 << 18):
    total += len(data)
    most = max(most, int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0])) if total % (8 << 20) == 0 else most
assert total == 256 << 20, total
assert most - before < 64 << 10, most - before
"""
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_window_too_large_is_refused() -> None:
    settings = zstandard.ZstdCompressionParameters.from_level(3, window_log=28)
    content = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    stream = content.compress(bytes(1 << 20)) + content.flush()
    wide = lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 256 << 20}])
    for compression, packed in (("zstd", stream), ("xz", wide)):
        with pytest.raises(MalformedContent, match="window of more than 128 MiB"):
            everything(codec.decompressing(BytesReader(packed), compression))


def test_a_window_of_128_mebibytes_is_taken() -> None:
    settings = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    content = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    stream = content.compress(TEXT) + content.flush()
    assert everything(codec.decompressing(BytesReader(stream), "zstd")) == TEXT


def test_libraries_are_imported_when_they_are_needed() -> None:
    program = "import sys, imgmove.wire.codec; assert not {'isal', 'zstandard', 'lzma', 'bz2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
