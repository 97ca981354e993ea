"""What an unfinished archive holds already: ranges that were written, noted one by one in a file beside it."""

from __future__ import annotations

import struct
import threading

from imgmove.ports import FileWriter

_RECORD = struct.Struct(">QQ")
_READ_AT_ONCE = _RECORD.size << 12


class Journal:
    """Ranges of a file that are written, over all runs that worked on it. Safe for many threads.

    It is believed only as far as to decide what is hashed again: nothing counts as there before its digest is right.

    Args:
        file: where it is kept; what is in it is read first.
    """

    def __init__(self, file: FileWriter) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._end_of: dict[int, int] = {}
        self._start_of: dict[int, int] = {}
        # A record that was cut off by a kill is overwritten by the next one.
        self._size = file.size // _RECORD.size * _RECORD.size
        for offset in range(0, self._size, _READ_AT_ONCE):
            content = file.read_at(offset, min(_READ_AT_ONCE, self._size - offset))
            for start, end in _RECORD.iter_unpack(content[: len(content) // _RECORD.size * _RECORD.size]):
                # What a power cut left in place of a record says nothing.
                if start < end:
                    self._merge(start, end)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written yet."""
        return not self._end_of

    def reach(self, start: int) -> int:
        """Up to where the file is written from ``start`` on without a gap; ``start`` when nothing is."""
        with self._lock:
            return self._end_of.get(start, start)

    def note(self, start: int, end: int) -> None:
        """Remembers that these bytes are written. Ranges grow at their end, as blobs are written in order."""
        with self._lock:
            self._merge(start, end)
            self._file.write_at(self._size, _RECORD.pack(start, end))
            self._size += _RECORD.size

    def forget(self, start: int) -> None:
        """What was noted from ``start`` on is not to be relied on."""
        with self._lock:
            end = self._end_of.pop(start, None)
            if end is not None:
                self._start_of.pop(end, None)
                self._rewrite()

    def clear(self) -> None:
        """The file that it told of is gone."""
        with self._lock:
            self._end_of.clear()
            self._start_of.clear()
            self._rewrite()

    def close(self) -> None:
        """Leaves it for a later run."""
        self._file.keep()

    def remove(self) -> None:
        """The file that it tells of is finished, or given up."""
        self._file.abort()

    def _merge(self, start: int, end: int) -> None:
        begun = self._start_of.pop(start, start)
        self._start_of.pop(self._end_of.get(begun, end), None)
        self._end_of[begun] = end
        self._start_of[end] = begun

    def _rewrite(self) -> None:
        content = b"".join(_RECORD.pack(start, end) for start, end in self._end_of.items())
        self._file.truncate(0)
        self._file.write_at(0, content)
        self._size = len(content)
