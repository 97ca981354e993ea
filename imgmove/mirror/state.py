"""What earlier passes learned, in a small file: a cache, whose loss costs requests and never correctness."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imgmove.knowledge import CacheFile
from imgmove.mirror.work import Learned, Result, Work

if TYPE_CHECKING:
    import sqlite3

_VERSION = 1
_BELIEVED_FOR = 86400.0
"""Seconds for which the destination is not asked again for a referrer that it had: registries that collect garbage
remove some, and so do people."""
_FORGET_AFTER = 90 * 86400.0
_MOST_PASSES = 5000
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS images (
        destination TEXT, platforms TEXT, source_digest TEXT, written TEXT, size INTEGER, seen REAL,
        PRIMARY KEY (destination, platforms, source_digest)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS referrers (
        destination TEXT, digest TEXT, seen REAL, PRIMARY KEY (destination, digest)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS passes (
        started REAL PRIMARY KEY, seconds REAL, tags INTEGER, changed INTEGER, failed INTEGER,
        bytes_sent INTEGER, bytes_total INTEGER
    );
"""
_LEARN = """
    INSERT INTO images VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (destination, platforms, source_digest) DO UPDATE SET
        size = CASE WHEN excluded.written = written THEN max(size, excluded.size) ELSE excluded.size END,
        written = excluded.written, seen = excluded.seen
"""


@dataclass(frozen=True, slots=True)
class PastPass:
    """One earlier pass.

    Attributes:
        started: seconds since 1970.
        bytes_total: of all images that it saw at the destinations, as far as their sizes were known.
    """

    started: float
    seconds: float
    tags: int
    changed: int
    failed: int
    bytes_sent: int
    bytes_total: int


def state_path(cache_folder: str, config: str) -> str:
    """Where what passes over a mirror file learn is kept, without a suffix."""
    name = hashlib.sha256(os.path.realpath(config).encode()).hexdigest()[:16]
    return os.path.join(cache_folder, "mirror", name)


def platforms_key(work: Work) -> str:
    """What digests were written for depends on the platforms that were chosen."""
    return ",".join(str(platform) for platform in work.platforms)


class State:
    """What is in the file. No method raises: what can't be read is not known, what can't be written is lost."""

    def __init__(self, path: Path) -> None:
        self._file = CacheFile(path, _SCHEMA, _VERSION)

    def known(self, destination: str, platforms: str) -> dict[str, str]:
        """What was written at a destination, by the source's digest."""
        rows = self._file.query(
            "SELECT source_digest, written FROM images WHERE destination = ? AND platforms = ?",
            (destination, platforms),
        )
        # Most are what they were, and one text is enough for both.
        return {source: source if written == source else written for source, written in rows}  # type: ignore[misc]

    def referrers(self, destination: str) -> frozenset[str]:
        """The digests of signatures and the like that a destination had not long ago."""
        now = time.time()
        # One that was seen in the future was seen by a clock that went wrong.
        rows = self._file.query(
            "SELECT digest FROM referrers WHERE destination = ? AND seen BETWEEN ? AND ?",
            (destination, now - _BELIEVED_FOR, now),
        )
        return frozenset(str(row[0]) for row in rows)

    def learn(self, result: Result) -> None:
        """Keeps what some work found out."""
        now, destination = time.time(), str(result.work.destination)
        platforms = platforms_key(result.work)

        def row(item: Learned) -> tuple[object, ...]:
            return (destination, platforms, item.source_digest, item.written, item.size, now)

        def change(connection: sqlite3.Connection) -> None:
            connection.executemany(_LEARN, [row(item) for item in result.learned])
            connection.executemany(
                "INSERT OR REPLACE INTO referrers VALUES (?, ?, ?)",
                [(destination, digest, now) for digest in result.referrers],
            )

        self._file.change(change)

    def total_since(self, started: float) -> int:
        """Bytes of all images that were seen since then, each once a destination."""
        rows = self._file.query(
            "SELECT sum(size) FROM (SELECT DISTINCT destination, written, size FROM images WHERE seen >= ?)", (started,)
        )
        return int(str(rows[0][0] or 0)) if rows else 0

    def add_pass(self, done: PastPass) -> None:
        """Keeps what a pass came to, and forgets what is old."""
        values = (done.started, done.seconds, done.tags, done.changed, done.failed, done.bytes_sent, done.bytes_total)

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO passes VALUES (?, ?, ?, ?, ?, ?, ?)", values)
            connection.execute("DELETE FROM images WHERE seen < ?", (done.started - _FORGET_AFTER,))
            connection.execute("DELETE FROM referrers WHERE seen < ?", (done.started - _BELIEVED_FOR,))
            connection.execute(
                "DELETE FROM passes WHERE started NOT IN (SELECT started FROM passes ORDER BY started DESC LIMIT ?)",
                (_MOST_PASSES,),
            )

        self._file.change(change)

    def passes(self) -> Sequence[PastPass]:
        """All that are remembered, the oldest first."""
        return [PastPass(*row) for row in self._file.query("SELECT * FROM passes ORDER BY started")]  # type: ignore[arg-type]

    def close(self) -> None:
        """Closes the file; safe to call twice."""
        self._file.close()
