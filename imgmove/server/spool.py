"""Content that comes in and is kept: in memory while it is small, in a file once it is large."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

from imgmove.errors import LocalError
from imgmove.model.digest import Digest


class InMemory:
    """Content that is held as bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)

    def open(self, offset: int) -> io.BytesIO:
        """The content from an offset on."""
        reader = io.BytesIO(self._content)
        reader.seek(offset)
        return reader

    def discard(self) -> None:
        """Does nothing: memory is given back when nobody reads it any more."""


class InFile:
    """Content that lies in a file of its own."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self.size = size

    def open(self, offset: int) -> io.FileIO:
        """The content from an offset on."""
        reader = io.FileIO(self._path)
        reader.seek(offset)
        return reader

    def discard(self) -> None:
        """Removes the file; who reads it already reads on."""
        self._path.unlink(missing_ok=True)


Content = InMemory | InFile


class Spool:
    """Bytes that come in: in memory at first, in a file of the folder once they are many."""

    def __init__(self, folder: Path | None, largest_in_memory: int) -> None:
        self._folder = folder
        self._largest_in_memory = largest_in_memory
        self._memory = io.BytesIO()
        self._file: io.FileIO | None = None
        self._path: Path | None = None
        self.size = 0

    def write(self, block: bytes) -> None:
        """Appends a block.

        Raises:
            LocalError: it can't be kept.
        """
        try:
            if self._folder and not self._file and self.size + len(block) > self._largest_in_memory:
                self._move_to_file(self._folder)
            _write_all(self._file or self._memory, block)
        except OSError as error:
            raise LocalError(f"can't keep an upload: {error.strerror or error}") from None
        self.size += len(block)

    def finish(self, digest: Digest) -> Content:
        """What came in, as content of this digest."""
        if not self._file or not self._path:
            return InMemory(self._memory.getvalue())
        self._file.close()
        final = self._path.with_name(str(digest).replace(":", "-"))
        os.replace(self._path, final)
        self._path = None
        return InFile(final, self.size)

    def discard(self) -> None:
        """Forgets what came in; does nothing after `finish`."""
        self._memory = io.BytesIO()
        if self._file:
            self._file.close()
        if self._path:
            self._path.unlink(missing_ok=True)
            self._path = None

    def _move_to_file(self, folder: Path) -> None:
        number, name = tempfile.mkstemp(prefix="upload-", dir=folder)
        self._file, self._path = io.FileIO(number, "w"), Path(name)
        _write_all(self._file, self._memory.getvalue())
        self._memory = io.BytesIO()


def _write_all(file: io.FileIO | io.BytesIO, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[file.write(view) :]
