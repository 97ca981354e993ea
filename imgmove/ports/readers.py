"""Bytes on their way, and who packs and unpacks them."""

from __future__ import annotations

from typing import Protocol


class Reader(Protocol):
    """A stream of bytes, for one thread at a time."""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, fewer when fewer are at hand, none only at the end; all of them when -1."""
        ...

    def close(self) -> None:
        """Gives back what it holds; safe to call twice."""
        ...


def read_all(reader: Reader, most: int) -> bytes:
    """Everything that a reader has, up to one byte over ``most``, so that the caller can see that it is too much."""
    parts: list[bytes] = []
    left = most + 1
    while left > 0 and (part := reader.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


class Codec(Protocol):
    """Compresses and decompresses streams; the same input gives the same bytes each time."""

    def sniff(self, start: bytes) -> str:
        """How a stream is compressed that starts so: ``none``, ``gzip``, ``zstd``, ``xz`` or ``bzip2``."""
        ...

    def decompressing(self, reader: Reader, compression: str) -> Reader: ...

    def compressing(self, reader: Reader, compression: str, level: int | None = None) -> Reader: ...
