"""Compressing and decompressing streams: the one door of isal and zstandard.

isal instead of Python's own zlib, because gzip is what most layers are: measured on 77 MB of real files, isal
compresses at 430 MB/s to 34 % of the size, where zlib does 32 MB/s to 30 % at its default level (and 64 to 90 MB/s to
34 % at its quickest), and it inflates three times as fast. Both directions stream: no more than a few blocks are ever
in memory.

The same input at the same level always gives the same bytes, however it comes in pieces: gzip headers carry no time and
no name, and zstd always works with worker threads, whose output is made to depend neither on their number nor on their
pace. For gzip this was seen to hold among x86-64 processors with SSE 4.2; other processors hash differently, and so may
find other matches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from imgmove.errors import MalformedContent, Truncated, UsageError
from imgmove.ports import Reader

if TYPE_CHECKING:
    import zstandard

_BLOCK = 256 << 10
_BITE = 16 << 10
_MAGIC = re.compile(
    rb"(?P<gzip>\x1f\x8b\x08)"
    rb"|(?P<zstd>\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18)"
    rb"|(?P<xz>\xfd7zXZ\x00)"
    # Ends with the magic of the first block, or of the end: a tar may begin with a file called BZh.
    rb"|(?P<bzip2>BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90))",
    re.DOTALL,
)
_LONGEST_MAGIC = 10
_ZSTD_WINDOW = 128 << 20
_ZSTD_THREADS = 2
# Left alone, zstd gives each thread jobs of several windows: 222 MiB in all, where this takes 33 at the same speed.
_ZSTD_JOB = 1 << 20
_ZSTD_LEVEL = 3
_ZSTD_NIP = 512
_ZSTD_LEVELS = range(1, 23)
_XZ_MEMORY = 128 << 20
# isal's own level 3 makes other bytes with AVX2 than with AVX-512 or neither, for a gain of two percent: not used.
_GZIP_LEVELS = {1: 0, 2: 0, 3: 0, 4: 1, 5: 1, 6: 2, 7: 2, 8: 2, 9: 2}
_GZIP_LEVEL = 2
_GZIP_WINDOW_BITS = 31


def sniff(start: bytes) -> str:
    """How a stream is compressed that starts so.

    Returns:
        ``gzip``, ``zstd`` (also for its skippable frames), ``xz``, ``bzip2``, or ``none`` for anything else; ten
        bytes are enough to tell.
    """
    found = _MAGIC.match(start)
    return found.lastgroup or "none" if found else "none"


def decompressing(reader: Reader, compression: str) -> Reader:
    """The plain content of a compressed stream, read as it is asked for.

    Several gzip members, zstd frames or xz and bzip2 streams in a row are one content (RFC 1952, RFC 8878); zeros
    after the last are passed over, as tape blocks leave them.

    Raises (while reading):
        MalformedContent: the stream is broken, or something else follows it.
        Truncated: it ends early.
    """
    if compression == "none":
        return reader
    return _Decompressing(reader, _format(compression))


def compressing(reader: Reader, compression: str, level: int | None = None) -> Reader:
    """A stream compressed as it is read; the same bytes each time for the same content and level.

    Args:
        compression: ``gzip`` or ``zstd``; ``none`` passes through.
        level: 1 to 9 for gzip, of which isal tells three apart (1, 4, 6); 1 to 22 for zstd; None for a quick default.
    """
    return reader if compression == "none" else _Compressing(reader, packer(compression, level))


def packer(compression: str, level: int | None = None) -> Packer:
    """A compressor to push content into, for streams that are written; otherwise as `compressing`."""
    if compression == "gzip":
        from isal import isal_zlib

        isal_level = _GZIP_LEVEL if level is None else _GZIP_LEVELS[_checked(level, _GZIP_LEVELS)]
        return _Steady(isal_zlib.compressobj(isal_level, isal_zlib.DEFLATED, _GZIP_WINDOW_BITS))
    if compression == "zstd":
        import zstandard

        settings = zstandard.ZstdCompressionParameters.from_level(
            _ZSTD_LEVEL if level is None else _checked(level, _ZSTD_LEVELS),
            threads=_ZSTD_THREADS,
            job_size=_ZSTD_JOB,
            write_checksum=True,
        )
        return _Steady(_ZstdPacker(zstandard.ZstdCompressor(compression_params=settings).compressobj()))
    raise UsageError(f"can't compress with {compression!r:.40}")


def _checked(level: int, levels: Container[int]) -> int:
    if level not in levels:
        raise UsageError(f"there is no compression level {level}")
    return level


class Packer(Protocol):
    """Takes content in pieces and gives compressed bytes back, sooner or later."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Steady:
    """Hands content on in blocks of one size: isal's output depends on how its input is cut, and must not vary."""

    def __init__(self, packer: Packer) -> None:
        self._packer = packer
        self._waiting = b""

    def compress(self, data: bytes, /) -> bytes:
        data = self._waiting + data if self._waiting else data
        whole = len(data) - len(data) % _BLOCK
        self._waiting = data[whole:]
        return b"".join(self._packer.compress(data[at : at + _BLOCK]) for at in range(0, whole, _BLOCK))

    def flush(self) -> bytes:
        return self._packer.compress(self._waiting) + self._packer.flush()


class _ZstdPacker:
    """One zstd frame, whose last bytes don't depend on how busy its worker threads are.

    When the content fills its last job exactly, zstd marks that job as the last one if no worker took it yet, and else
    adds an empty block. Handing out all work before the end is said makes it always the latter, for three bytes.
    """

    def __init__(self, frame: zstandard.ZstdCompressionObj) -> None:
        self._frame = frame

    def compress(self, data: bytes, /) -> bytes:
        return self._frame.compress(data)

    def flush(self) -> bytes:
        import zstandard

        return self._frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) + self._frame.flush()


class _Unpacker(Protocol):
    """One gzip member, zstd frame, or xz or bzip2 stream."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes: ...


class _Compressing:
    def __init__(self, raw: Reader, packer: Packer) -> None:
        self._raw = raw
        self._packer = packer
        self._ready = memoryview(b"")
        self._is_done = False

    def read(self, size: int = -1, /) -> bytes:
        """The next compressed bytes."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_BLOCK), b""))
        while not self._ready and not self._is_done and size:
            data = self._raw.read(_BLOCK)
            self._is_done = not data
            self._ready = memoryview(self._packer.compress(data) if data else self._packer.flush())
        piece, self._ready = self._ready[:size], self._ready[size:]
        return bytes(piece)

    def close(self) -> None:
        """Closes what it reads from."""
        self._raw.close()


class _Decompressing:
    def __init__(self, raw: Reader, format: _Format) -> None:
        self._raw = raw
        self._format = format
        self._unpacker: _Unpacker | None = format.begin()
        self._block = b""
        self._given = 0

    def read(self, size: int = -1, /) -> bytes:
        """The next plain bytes."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_BLOCK), b""))
        while self._unpacker is not None and size:
            if self._unpacker.eof:
                self._given -= len(self._unpacker.unused_data)
                self._unpacker = self._format.begin() if self._is_more_to_come() else None
            elif plain := self._unpacked(self._unpacker, size):
                return plain
        return b""

    def close(self) -> None:
        """Closes what it reads from."""
        self._raw.close()

    def _unpacked(self, unpacker: _Unpacker, size: int) -> bytes:
        bite = memoryview(b"")
        # An unpacker may hold more than it was allowed to give out, and then takes no more input.
        if unpacker.needs_input:
            if self._given == len(self._block) and not self._refill():
                raise Truncated(f"{self._format.name} data ends early")
            bite = memoryview(self._block)[self._given : self._given + _BITE]
            self._given += len(bite)
        try:
            return unpacker.decompress(bite, size)
        except self._format.errors as error:
            raise MalformedContent(f"can't unpack {self._format.name} data: {_reason(error)}") from error

    def _is_more_to_come(self) -> bool:
        """Whether another stream follows the one that ended; zeros in between are passed over."""
        while self._given == len(self._block) or self._block[self._given] == 0:
            self._block, self._given = self._block[self._given :].lstrip(b"\0"), 0
            if not self._block and not self._refill():
                return False
        while len(self._block) - self._given < _LONGEST_MAGIC and self._refill():
            pass
        if sniff(self._block[self._given : self._given + _LONGEST_MAGIC]) != self._format.name:
            raise MalformedContent(f"something else follows the {self._format.name} data")
        return True

    def _refill(self) -> bool:
        data = self._raw.read(_BLOCK)
        self._block, self._given = self._block[self._given :] + data, 0
        return bool(data)


class _ZstdFrame:
    """One zstd frame, with output limits that the library's own object lacks."""

    def __init__(self, frame: zstandard.ZstdDecompressionObj) -> None:
        self._frame = frame
        self._ready = memoryview(b"")
        self._waiting = memoryview(b"")

    @property
    def eof(self) -> bool:
        return self._frame.eof and not self._ready

    @property
    def needs_input(self) -> bool:
        return not self._ready and not self._waiting

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data + bytes(self._waiting)

    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes:
        if data:
            self._waiting = memoryview(data)
        # A block of 128 KiB can be packed in four bytes, and the library unpacks all that it is given at once: nips
        # of 512 bytes bound that to 16 MiB, and cost a fifth of the speed (886 of 1,120 MB/s).
        while not self._ready and self._waiting and not self._frame.eof:
            nip, self._waiting = self._waiting[:_ZSTD_NIP], self._waiting[_ZSTD_NIP:]
            self._ready = memoryview(self._frame.decompress(nip))
        piece, self._ready = self._ready[:max_length], self._ready[max_length:]
        return bytes(piece)


@dataclass(frozen=True, slots=True)
class _Format:
    """What a library has for one kind of stream: how to begin to unpack, and what it raises when that fails."""

    name: str
    begin: Callable[[], _Unpacker]
    errors: tuple[type[Exception], ...]


def _format(compression: str) -> _Format:
    if compression == "gzip":
        from isal import igzip_lib

        errors: tuple[type[Exception], ...] = (igzip_lib.error,)  # type: ignore[assignment]  # the stub has an instance
        return _Format("gzip", lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), errors)
    if compression == "zstd":
        import zstandard

        library = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        return _Format("zstd", lambda: _ZstdFrame(library.decompressobj()), (zstandard.ZstdError,))
    if compression == "xz":
        import lzma

        return _Format("xz", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY), (lzma.LZMAError,))
    if compression == "bzip2":
        import bz2

        return _Format("bzip2", bz2.BZ2Decompressor, (OSError, ValueError))
    raise UsageError(f"can't decompress {compression!r:.40}")


def _reason(error: Exception) -> str:
    """Why a library refuses a stream; limits, which are not the stream's fault, in words of our own."""
    text = str(error)
    if "too much memory" in text or "Memory usage limit" in text:
        return "it needs a window of more than 128 MiB"
    return text[:120]
