"""A tar that flows by, looked at on its way: that it is one, and comes whole."""

from __future__ import annotations

from imgmove.errors import MalformedContent, Truncated
from imgmove.ports import Reader
from imgmove.rootfs.heads import SPARSE
from imgmove.rootfs.scan import RawScan

_OF_ARCHIVES = frozenset((b"manifest.json", b"oci-layout", b"repositories"))
_WHITEOUT = b".wh."


class CheckedTar:
    """Passes a tar on as it is.

    Args:
        raw: the plain tar.
        label: what people call it, for messages.
        most: how many bytes it may have; None for any number.

    Attributes:
        sparse: how many files are stored in GNU's old form for files with holes.
        whiteouts: how many names stand for the removal of another.
        is_archive: whether names are in it that archives of images have.
    """

    def __init__(self, raw: Reader, label: str, most: int | None = None) -> None:
        self._raw = raw
        self._label = label
        self._most = most
        self._scan = RawScan(self._member, lambda _: None)
        self._size = 0
        self.sparse = 0
        self.whiteouts = 0
        self.is_archive = False

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes.

        Raises:
            MalformedContent: it is no tar, or larger than it may be.
            Truncated: it ends too early. The blocks that close a tar must be there, since without them nobody can
                tell a whole one from one that was cut off between two files.
        """
        try:
            data = self._raw.read(size)
            self._look_at(data, is_end=not data and size != 0)
        except (MalformedContent, Truncated) as error:
            raise type(error)(f"{self._label}: {error.message}", hint=error.hint) from None
        return data

    def close(self) -> None:
        """Closes what it reads from."""
        self._raw.close()

    def _look_at(self, data: bytes, *, is_end: bool) -> None:
        self._size += len(data)
        if self._most is not None and self._size > self._most:
            raise MalformedContent(f"unpacked it has more than the {self._most} bytes that it may have")
        if self._scan.is_over:
            return
        self._scan.feed(data)
        if is_end:
            self._scan.finish()
        if is_end and not self._scan.is_over:
            hint = "1024 zeros at its end say that it is whole"
            raise Truncated("the tar has no end mark; it seems to be cut off", hint=hint)

    def _member(self, path: bytes, flag: int) -> bool:
        self.sparse += flag == SPARSE
        name = path.rpartition(b"/")[2]
        self.whiteouts += name.startswith(_WHITEOUT)
        self.is_archive = self.is_archive or path.removeprefix(b"./") in _OF_ARCHIVES
        return False
