"""Readers that check what flows through them, for the engine and the endpoints alike."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable

from imgmove.errors import DigestMismatch, SizeMismatch, Truncated
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.ports import Reader

BLOCK = 255 << 10
"""Bytes to read at a time: large enough that Python's cost a call disappears, small enough for many threads, and no more
than OpenSSH's SFTP server takes in one request."""

HELD_BACK = 64 << 10
"""Bytes at the end of a blob that wait until the hash of the whole is right."""

_SNAPSHOT_EVERY = 1 << 20
_SNAPSHOTS = 64


class ContentCheck:
    """Follows the bytes of one blob over all attempts to move it, and judges them at the end.

    The hash is remembered at some earlier offsets too, because a destination that lost its connection may hold
    less than was read: `rewind` then says from where the source has to be read again.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self._hasher = descriptor.digest.hasher()
        self._position = 0
        self._marks: deque[tuple[int, object]] = deque(maxlen=_SNAPSHOTS)

    @property
    def position(self) -> int:
        """How many bytes from the start have been hashed."""
        return self._position

    def update(self, data: bytes) -> None:
        """Takes the next bytes.

        Raises:
            SizeMismatch: there are more than the descriptor says.
        """
        before = self._position // _SNAPSHOT_EVERY
        self._hasher.update(data)
        self._position += len(data)
        if self._position > self.descriptor.size:
            raise SizeMismatch(f"{self._name} is longer than the {self.descriptor.size} bytes that its descriptor says")
        if self._position // _SNAPSHOT_EVERY != before:
            self._marks.append((self._position, self._hasher.copy()))  # type: ignore[attr-defined]

    def rewind(self, offset: int) -> int:
        """Goes back to the nearest remembered state at or before ``offset``; returns where that is."""
        if offset == self._position:
            return offset
        while self._marks and self._marks[-1][0] > offset:
            self._marks.pop()
        if self._marks:
            self._position, state = self._marks[-1]
            self._hasher = state.copy()  # type: ignore[attr-defined]
        else:
            self._position, self._hasher = 0, self.descriptor.digest.hasher()
        return self._position

    def finish(self) -> None:
        """Judges the whole.

        Raises:
            Truncated: bytes are missing.
            DigestMismatch: the bytes are others.
        """
        if self._position < self.descriptor.size:
            raise Truncated(f"{self._name} ends after {self._position} of {self.descriptor.size} bytes")
        actual = self._hasher.hexdigest()
        if actual != self.descriptor.digest.hex:
            raise DigestMismatch(
                f"{self._name} holds other content ({self.descriptor.digest.algorithm}:{actual[:12]}…)"
            )

    @property
    def _name(self) -> str:
        return f"{self.descriptor.digest.algorithm}:{self.descriptor.digest.short}"


class VerifyingReader:
    """Passes a blob on while hashing it, and holds its end back until the hash of the whole is right.

    So a destination that took everything took the right content, and one that sends what it takes straight on
    can't complete an upload of anything else.

    Args:
        raw: the blob's bytes from the check's position on; closed together with this.
        check: the hash so far.
        skip: how many bytes to hash without passing them on, because the destination holds them.
    """

    def __init__(self, raw: Reader, check: ContentCheck, *, skip: int = 0) -> None:
        self._raw = raw
        self._check = check
        self._skip = skip
        self._boundary = check.descriptor.size - HELD_BACK
        self._tail: io.BytesIO | None = None

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes.

        Raises:
            ContentError: the blob is not what its descriptor says; its last bytes are then never given out.
            Truncated: it ends early.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        while self._tail is None and size > 0:
            left = self._boundary - self._check.position
            if left <= 0:
                self._tail = self._verified_tail()
                break
            data = self._raw.read(min(size, left))
            self._check.update(data)
            if not data:
                self._check.finish()
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            if skipped < len(data):
                return data[skipped:] if skipped else data
        return self._tail.read(size) if self._tail else b""

    def close(self) -> None:
        """Closes what it reads from."""
        self._raw.close()

    def _verified_tail(self) -> io.BytesIO:
        parts = []
        while data := self._raw.read(HELD_BACK + 1):
            self._check.update(data)
            parts.append(data)
        self._check.finish()
        tail = io.BytesIO(b"".join(parts))
        tail.seek(self._skip)
        return tail


class HashingReader:
    """Passes on bytes whose digest and size are not known yet, and tells both afterwards."""

    def __init__(self, raw: Reader, algorithm: str = "sha256") -> None:
        self._raw = raw
        self._algorithm = algorithm
        self._hasher = Digest(algorithm, "").hasher()
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        data = self._raw.read(size)
        self._hasher.update(data)
        self.size += len(data)
        return data

    def close(self) -> None:
        """Closes what it reads from."""
        self._raw.close()

    @property
    def digest(self) -> Digest:
        """Of what was read so far."""
        return Digest(self._algorithm, self._hasher.hexdigest())


class WatchedReader:
    """Tells somebody how many bytes went by; that one may raise to stop the flow."""

    def __init__(self, raw: Reader, watch: Callable[[int], None]) -> None:
        self._raw = raw
        self._watch = watch

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        data = self._raw.read(size)
        self._watch(len(data))
        return data

    def close(self) -> None:
        """Closes what it reads from."""
        self._raw.close()


class PeekReader:
    """Lets somebody look at the first bytes of a stream without taking them away."""

    def __init__(self, raw: Reader, size: int) -> None:
        self._raw = raw
        parts = []
        while size > 0 and (part := raw.read(size)):
            parts.append(part)
            size -= len(part)
        self.start = self._waiting = b"".join(parts)

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        if not self._waiting:
            return self._raw.read(size)
        if size < 0:
            data, self._waiting = self._waiting + self._raw.read(), b""
        else:
            data, self._waiting = self._waiting[:size], self._waiting[size:]
        return data

    def close(self) -> None:
        """Closes what it reads from."""
        self._raw.close()


class BytesReader(io.BytesIO):
    """Bytes at hand, as a `Reader`."""


def drain(reader: Reader) -> int:
    """Reads to the end and says how many bytes that were."""
    total = 0
    while data := reader.read(BLOCK):
        total += len(data)
    return total
