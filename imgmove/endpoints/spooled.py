"""A source that is read once, however many read from it: what one of them asked for lies in a folder for the others."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from contextlib import closing
from dataclasses import dataclass, field

from imgmove.errors import ContentError, LocalError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.ports import ManifestMaker, Reader, Source
from imgmove.streams import BLOCK, ContentCheck
from imgmove.wire.files import LocalFiles


@dataclass
class _Kept:
    """One piece of content, as far as it has come."""

    check: ContentCheck
    is_whole: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class SpooledSource:
    """Another source, each of whose answers is kept until this is closed. Safe for many threads.

    Nothing is read that nobody asks for. The other source stays its owner's to close.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._files = LocalFiles()
        self._lock = threading.Lock()
        self._names: dict[str, Descriptor] = {}
        self._kept: dict[Digest, _Kept] = {}
        try:
            self._folder = tempfile.mkdtemp(prefix="imgmove-")
        except OSError as error:
            raise LocalError(f"no temporary folder can be made: {error.strerror}", hint="TMPDIR names it") from error

    def resolve(self, name: str) -> Descriptor:
        """What a name stands for; the same for all who ask."""
        with self._lock:
            if name not in self._names:
                self._names[name] = self._source.resolve(name)
            return self._names[name]

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """Content that is whole and verified; the first who asks brings it here, and others wait for that."""
        with self._lock:
            kept = self._kept.setdefault(descriptor.digest, _Kept(ContentCheck(descriptor)))
        with kept.lock:
            if not kept.is_whole:
                self._bring(descriptor, kept)
        return self._files.open(self._path(descriptor), offset)

    def is_made_up(self, digest: Digest) -> bool:
        """Whether the other source made this manifest up."""
        return isinstance(self._source, ManifestMaker) and self._source.is_made_up(digest)

    def close(self) -> None:
        """Removes everything that was kept."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _bring(self, descriptor: Descriptor, kept: _Kept) -> None:
        """Goes on where an earlier attempt broke off."""
        try:
            with (
                open(self._path(descriptor), "ab", buffering=0) as file,
                closing(self._source.open(descriptor, kept.check.position)) as reader,
            ):
                while data := reader.read(BLOCK):
                    kept.check.update(data)
                    file.write(data)
            kept.check.finish()
        except OSError as error:
            raise LocalError(
                f"the source can't be kept for all: {error.strerror}", hint="TMPDIR names where"
            ) from error
        except ContentError:
            # What came is wrong from somewhere on; whoever asks again begins anew.
            os.unlink(self._path(descriptor))
            kept.check = ContentCheck(descriptor)
            raise
        kept.is_whole = True

    def _path(self, descriptor: Descriptor) -> str:
        return os.path.join(self._folder, f"{descriptor.digest.algorithm}-{descriptor.digest.hex}")
