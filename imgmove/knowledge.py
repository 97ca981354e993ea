"""What earlier runs saw, in a small file: where registries hold blobs, and what layers became when compressed.

Everything here is a guess that saves requests. The file may be deleted at any time, by anybody; a broken or locked
one is as good as none.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imgmove.errors import MalformedContent
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest

if TYPE_CHECKING:
    import sqlite3

_VERSION = 1
_PENDING = 500
_MOST_ROWS = 200_000
_CANDIDATES = 3
_PATIENCE = 2.0
_SCHEMA = f"""
    CREATE TABLE IF NOT EXISTS blobs (
        registry TEXT, digest TEXT, repository TEXT, seen REAL, PRIMARY KEY (registry, digest, repository)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS conversions (
        digest TEXT, recipe TEXT, media_type TEXT, result TEXT, size INTEGER, seen REAL, PRIMARY KEY (digest, recipe)
    ) WITHOUT ROWID;
    PRAGMA user_version = {_VERSION};
"""


class KnowledgeFile:
    """The knowledge port over an sqlite file, for many threads; nothing is opened before it is needed.

    No method raises: what can't be read is not known, and what can't be written is forgotten.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._is_broken = False
        self._pending: list[tuple[str, tuple[object, ...]]] = []

    def repositories_with(self, registry: str, digest: Digest) -> Sequence[str]:
        """Where a blob was seen, the latest first; a few at most."""
        rows = self._query(
            "SELECT repository FROM blobs WHERE registry = ? AND digest = ? ORDER BY seen DESC LIMIT ?",
            (registry, str(digest), _CANDIDATES),
        )
        return [str(row[0]) for row in rows]

    def saw_blob(self, registry: str, repository: str, digest: Digest) -> None:
        """Remembers that a repository holds a blob."""
        self._remember(
            "INSERT OR REPLACE INTO blobs VALUES (?, ?, ?, ?)", (registry, str(digest), repository, time.time())
        )

    def converted(self, digest: Digest, recipe: str) -> Descriptor | None:
        """What a blob became when it was last converted so."""
        rows = self._query(
            "SELECT media_type, result, size FROM conversions WHERE digest = ? AND recipe = ?", (str(digest), recipe)
        )
        try:
            return Descriptor(str(rows[0][0]), Digest.parse(rows[0][1]), int(str(rows[0][2]))) if rows else None
        except (MalformedContent, ValueError):
            return None

    def learned_conversion(self, digest: Digest, recipe: str, result: Descriptor) -> None:
        """Remembers what a blob became."""
        self._remember(
            "INSERT OR REPLACE INTO conversions VALUES (?, ?, ?, ?, ?, ?)",
            (str(digest), recipe, result.media_type, str(result.digest), result.size, time.time()),
        )

    def close(self) -> None:
        """Writes what is pending; safe to call twice."""
        with self._lock:
            self._flush()
            if self._connection is not None:
                with self._forgiving():
                    self._connection.close()
                self._connection = None

    def _query(self, statement: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        with self._lock:
            self._flush()
            rows: list[tuple[object, ...]] = []
            with self._forgiving():
                if connection := self._opened():
                    rows = connection.execute(statement, values).fetchall()
            return rows

    def _remember(self, statement: str, values: tuple[object, ...]) -> None:
        with self._lock:
            self._pending.append((statement, values))
            if len(self._pending) >= _PENDING:
                self._flush()

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if not pending:
            return
        with self._forgiving():
            if connection := self._opened():
                with connection:
                    for statement, values in pending:
                        connection.execute(statement, values)

    def _opened(self) -> sqlite3.Connection | None:
        if self._connection is None and not self._is_broken:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        import sqlite3

        connection = sqlite3.connect(self._path, timeout=_PATIENCE, check_same_thread=False)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise sqlite3.DatabaseError("another version")  # noqa: TRY301 - the same as any other broken file
            # Losing the latest rows in a power cut is fine; waiting for the disk at every run is not.
            connection.execute("PRAGMA synchronous = OFF")
            connection.executescript(_SCHEMA)
            _forget_oldest(connection)
        except sqlite3.OperationalError:
            connection.close()
            raise
        except sqlite3.DatabaseError:
            # Not a database, or not ours: it is only a cache, so begin anew.
            connection.close()
            self._path.unlink()
            return self._connect()
        return connection

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        import sqlite3

        try:
            yield
        except (sqlite3.Error, OSError):
            self._is_broken = self._connection is None


def _forget_oldest(connection: sqlite3.Connection) -> None:
    rows = connection.execute("SELECT count(*) FROM blobs").fetchone()[0]
    if rows > _MOST_ROWS:
        middle = connection.execute("SELECT seen FROM blobs ORDER BY seen LIMIT 1 OFFSET ?", (rows // 2,)).fetchone()[0]
        with connection:
            connection.execute("DELETE FROM blobs WHERE seen < ?", (middle,))
