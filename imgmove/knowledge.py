"""What earlier runs saw, in small files that may be lost.

`CacheFile` is any of them; `KnowledgeFile` holds where registries hold blobs, what layers became when compressed, and
small documents by their digest. Everything here is a guess that saves requests. A file may be deleted at any time, by
anybody; a broken or locked one is as good as none.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imgmove.errors import MalformedContent
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest

if TYPE_CHECKING:
    import sqlite3

Row = tuple[object, ...]
_PENDING = 500
_MOST_ROWS = 200_000
_MOST_DOCUMENTS = 100_000
_LARGEST_DOCUMENT = 64 << 10
_CANDIDATES = 3
_PATIENCE = 2.0
_VERSION = 2
# Losing the latest rows in a power cut is fine; waiting for the disk at every run is not.
_SCHEMA = """
    PRAGMA synchronous = OFF;
    CREATE TABLE IF NOT EXISTS blobs (
        registry TEXT, digest TEXT, repository TEXT, seen REAL, PRIMARY KEY (registry, digest, repository)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS conversions (
        digest TEXT, recipe TEXT, media_type TEXT, result TEXT, size INTEGER, seen REAL, PRIMARY KEY (digest, recipe)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS documents (digest TEXT PRIMARY KEY, content BLOB, seen REAL);
"""


class CacheFile:
    """An sqlite file for many threads; nothing is opened before it is needed.

    No method raises: what can't be read is not known, and what can't be written is forgotten. A file that is broken,
    or another's, is begun anew.

    Args:
        schema: makes what is not there yet.
        version: of the schema; a file of another version is not ours.
    """

    def __init__(self, path: Path, schema: str, version: int) -> None:
        self._path = path
        self._schema = schema
        self._version = version
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._is_useless = False

    def query(self, statement: str, values: Row = ()) -> list[Row]:
        """The rows of an answer."""
        rows: list[Row] = []
        with self._forgiving():
            if connection := self._opened():
                rows = connection.execute(statement, values).fetchall()
        return rows

    def change(self, change: Callable[[sqlite3.Connection], object]) -> None:
        """Changes something, whole or not at all."""
        with self._forgiving():
            if connection := self._opened():
                with connection:
                    change(connection)

    def close(self) -> None:
        """Closes the file; safe to call twice."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        import sqlite3

        with self._lock:
            try:
                yield
            except sqlite3.DatabaseError as error:
                if type(error) is sqlite3.DatabaseError:
                    # Its beginning is right, and what lies behind it is not: the next who asks finds a new one.
                    self.close()
                    with contextlib.suppress(OSError):
                        self._path.unlink()
            except OSError:
                pass

    def _opened(self) -> sqlite3.Connection | None:
        if self._connection is None and not self._is_useless:
            self._is_useless = True
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._connect()
            self._is_useless = False
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        import sqlite3

        connection = sqlite3.connect(self._path, timeout=_PATIENCE, check_same_thread=False)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if version != self._version and (version or tables):
                raise sqlite3.DatabaseError("not ours")  # noqa: TRY301 - the same as any other broken file
            connection.executescript(f"{self._schema}; PRAGMA user_version = {self._version};")
        except sqlite3.OperationalError:
            connection.close()
            raise
        except sqlite3.DatabaseError:
            # It is only a cache, so begin anew.
            connection.close()
            self._path.unlink()
            return self._connect()
        return connection


class KnowledgeFile:
    """The knowledge port over a file."""

    def __init__(self, path: Path) -> None:
        self._file = CacheFile(path, _SCHEMA, _VERSION)
        self._lock = threading.Lock()
        self._is_tidy = False
        self._pending: list[tuple[str, Row]] = []

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

    def kept(self, digest: Digest) -> bytes | None:
        """A document that was read earlier; None when it is not known."""
        rows = self._query("SELECT content FROM documents WHERE digest = ?", (str(digest),))
        content = rows[0][0] if rows else None
        return content if isinstance(content, bytes) and Digest.of(content, digest.algorithm) == digest else None

    def keep(self, digest: Digest, content: bytes) -> None:
        """Remembers a document that is small."""
        if len(content) <= _LARGEST_DOCUMENT:
            self._remember("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (str(digest), content, time.time()))

    def close(self) -> None:
        """Writes what is pending; safe to call twice."""
        with self._lock:
            self._flush()
        self._file.close()

    def _query(self, statement: str, values: Row) -> list[Row]:
        with self._lock:
            self._flush()
        return self._file.query(statement, values)

    def _remember(self, statement: str, values: Row) -> None:
        with self._lock:
            self._pending.append((statement, values))
            if len(self._pending) >= _PENDING:
                self._flush()

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if not pending:
            return

        def write(connection: sqlite3.Connection) -> None:
            if not self._is_tidy:
                self._is_tidy = True
                _forget_oldest(connection, "blobs", _MOST_ROWS)
                _forget_oldest(connection, "documents", _MOST_DOCUMENTS)
            for statement, values in pending:
                connection.execute(statement, values)

        self._file.change(write)


def _forget_oldest(connection: sqlite3.Connection, table: str, most: int) -> None:
    rows = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - a name of our own
    if rows > most:
        middle = f"SELECT seen FROM {table} ORDER BY seen LIMIT 1 OFFSET {rows // 2}"  # noqa: S608
        connection.execute(f"DELETE FROM {table} WHERE seen < ({middle})")  # noqa: S608
