"""Digests: the names of content (OCI image spec, *Digests*)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from imgmove.errors import MalformedContent

DEFAULT_ALGORITHM = "sha256"
"""What content is named by where nothing says otherwise."""

_HEX_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_SYNTAX = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
_HEX = re.compile(r"[a-f0-9]+")


class Hasher(Protocol):
    """The part of a hashlib object that imgmove uses."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """An algorithm and the lower-case hexadecimal hash of some content.

    Only sha256, sha384 and sha512 exist: a digest that can't be checked is no digest. An instance made by
    `parse` is always well formed and safe as a file name.
    """

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: object) -> Digest:
        """Reads ``algorithm:hex``.

        Raises:
            MalformedContent: not a digest, an unknown algorithm, or a hash of the wrong length.
        """
        if not isinstance(text, str):
            raise MalformedContent(f"a digest must be text, not a {type(text).__name__}")
        return _parsed(text)

    @classmethod
    def of(cls, content: bytes | bytearray | memoryview, algorithm: str = DEFAULT_ALGORITHM) -> Digest:
        """The digest of content that is at hand."""
        return cls(algorithm, hashlib.new(algorithm, content, usedforsecurity=False).hexdigest())

    def hasher(self) -> Hasher:
        """A fresh hash of this digest's algorithm."""
        return hashlib.new(self.algorithm, usedforsecurity=False)

    @property
    def short(self) -> str:
        """The first twelve characters of the hash, for people."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Digest:
    # Thousands of manifests name the layers of a few base images; each name is kept once.
    if not _SYNTAX.fullmatch(text):
        raise MalformedContent(f"not a digest: {text!r:.120}")
    algorithm, _, value = text.partition(":")
    length = _HEX_LENGTHS.get(algorithm)
    if length is None:
        raise MalformedContent(f"digest algorithm {algorithm!r:.40} is not supported")
    if len(value) != length or not _HEX.fullmatch(value):
        raise MalformedContent(f"not a {algorithm} digest: {text!r:.180}")
    return Digest(algorithm, value)
