"""OCI image layouts in a folder, to read and to write (OCI image spec, *Image Layout*)."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from imgmove.endpoints.blob_file import ArrivedBlob, FileBlobWriter
from imgmove.endpoints.index_file import IndexFile, is_digest
from imgmove.endpoints.layout_reader import INDEX, MARKER, MARKER_CONTENT, LayoutReader, blob_path
from imgmove.errors import MalformedContent, NotFound, UsageError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import DEFAULT_ALGORITHM, Digest
from imgmove.model.manifest import parse_manifest
from imgmove.ports import BlobWriter, Files, LastingBlobWriter
from imgmove.streams import BytesReader

_KEY = "blob"
_OWN_NAMES = frozenset({MARKER, "blobs", INDEX})
"""What a layout that is being made may hold; its list too, which another process may have written just now."""


class Layout(LayoutReader):
    """A layout in a folder, as a source and a destination. Many processes may write one at the same time.

    Blobs and manifests that lose their last name stay: nothing is ever collected.
    """

    def __init__(self, files: Files, path: str) -> None:
        super().__init__(files, path, f"oci:{path}")
        self._files = files
        self._making = threading.Lock()
        self._is_made = False
        self._gathering = threading.Lock()
        self._writing = threading.Lock()
        self._changes: list[_Change] = []

    @classmethod
    def existing(cls, files: Files, path: str) -> Layout:
        """Opens a layout to read.

        Raises:
            NotFound: there is nothing.
            UsageError: there is something else.
            MalformedContent: it is a layout of an unknown version.
        """
        layout = cls(files, path)
        status = files.status(path)
        if status is None:
            raise NotFound(f"{path}: no such folder")
        if not status.is_folder:
            raise UsageError(f"{path} is a file, not an OCI layout", hint=f"write oci-archive:{path} for an archive")
        if files.status(layout._at(INDEX)) is None:
            raise UsageError(f"{path} is not an OCI layout", hint=f"it has no {INDEX}")
        layout.check_version()
        return layout

    @classmethod
    def writable(cls, files: Files, path: str) -> Layout:
        """Opens a layout to write; it is made at the first write when it isn't there.

        Raises:
            UsageError: something else lies there.
        """
        layout = cls(files, path)
        status = files.status(path)
        if status is None:
            return layout
        if not status.is_folder:
            raise UsageError(f"{path} is a file, not an OCI layout", hint="an archive's name ends in .tar")
        if files.status(layout._at(INDEX)) is None and not _OWN_NAMES.issuperset(files.list(path)):
            raise UsageError(f"{path} holds other files and is not an OCI layout", hint="name a new or empty folder")
        layout.check_version()
        return layout

    def establish(self) -> None:
        """Makes an empty layout, where there is none yet."""
        self._change_index(lambda index: index)

    def has(self, descriptor: Descriptor) -> bool:
        """Whether content of this digest and size lies here. It was verified when it was written."""
        status = self._files.status(self._at(blob_path(descriptor.digest)))
        return status is not None and status.size == descriptor.size

    def put_blob(self, descriptor: Descriptor | None) -> BlobWriter:
        """Begins a blob as a file under a temporary name."""
        self._make()
        begun = self._place(descriptor.digest if descriptor else Digest("sha256", "unnamed"))
        return FileBlobWriter(self._files.create(begun), self._place)

    def resume_blob(self, descriptor: Descriptor) -> LastingBlobWriter:
        """Goes on with the file that an earlier run left, or begins it; who brings the same blob is waited for."""
        self._make()
        writer = self._files.resume(self._place(descriptor.digest), _KEY)
        if self.has(descriptor):
            writer.abort()
            return ArrivedBlob(self, descriptor)
        if writer.size > descriptor.size:
            writer.truncate(0)
        return FileBlobWriter(writer, self._place)

    def put_manifest(
        self, content: bytes, media_type: str, names: Sequence[str], *, algorithm: str = DEFAULT_ALGORITHM
    ) -> None:
        """Stores a manifest and lists it under its names."""
        descriptor = Descriptor.of(content, media_type, algorithm)
        if not self.has(descriptor):
            writer = self.put_blob(descriptor)
            try:
                writer.write(BytesReader(content))
                writer.commit(descriptor)
            finally:
                writer.abort()
        if names:
            node = parse_manifest(content, media_type)
            self._change_index(
                lambda index: index.with_names(descriptor, names, node.artifact_type if node.subject else "")
            )

    def find(self, name: str) -> Descriptor | None:
        """What is here under exactly this name, or this digest."""
        if self._files.status(self._at(INDEX)) is None:
            return None
        if not is_digest(name):
            return self._index().named(name)
        try:
            return self._by_digest(Digest.parse(name))
        except (NotFound, MalformedContent):
            return None

    def delete_name(self, name: str) -> None:
        """Takes a name off the list."""
        if not name or self._index().matching(name) is None:
            raise NotFound(f"{self._label} has no {name}" if name else f"name one of the images in {self._label}")
        self._change_index(lambda index: index.without_name(name))

    def delete_manifest(self, digest: Digest) -> None:
        """Takes a manifest off the list, under all its names."""
        if not any(entry.descriptor.digest == digest for entry in self._index().entries):
            raise NotFound(f"{self._label} has no {digest}")
        self._change_index(lambda index: index.without_digest(digest))

    def _place(self, digest: Digest) -> str:
        path = self._at(blob_path(digest))
        self._files.make_folder(posixpath.dirname(path))
        return path

    def _make(self) -> None:
        with self._making:
            if self._is_made:
                return
            if self._files.status(self._at(MARKER)) is None:
                self._files.make_folder(self._path or ".")
                self._files.write(self._at(MARKER), MARKER_CONTENT)
            self._is_made = True

    def _change_index(self, change: Callable[[IndexFile], IndexFile]) -> None:
        """Changes the list; what many threads want to change at the same time is written once."""
        self._make()
        waiting = _Change(change)
        with self._gathering:
            self._changes.append(waiting)
        with self._writing:
            if not waiting.is_done:
                with self._gathering:
                    together, self._changes = self._changes, []
                self._write_index(together)
        if waiting.error is not None:
            raise waiting.error

    def _write_index(self, changes: Sequence[_Change]) -> None:
        try:
            with self._files.lock(self._path or "."):
                is_new = self._files.status(self._at(INDEX)) is None
                before = after = IndexFile.empty() if is_new else self._index()
                for change in changes:
                    after = change.apply(after)
                if is_new or after is not before:
                    content = after.to_bytes()
                    self._files.write(self._at(INDEX), content)
                    with self._parsing:
                        self._parsed = (content, after)
        except BaseException as error:  # noqa: BLE001 - it is raised again in each thread that waits
            for change in changes:
                change.error = error
        finally:
            for change in changes:
                change.is_done = True


@dataclass
class _Change:
    """What one thread wants to change in the list of roots, and how that ended."""

    apply: Callable[[IndexFile], IndexFile]
    is_done: bool = False
    error: BaseException | None = None


def looks_like_layout(files: Files, path: str) -> bool:
    """Whether a folder is a layout, as far as a look tells."""
    return any(files.status(posixpath.join(path, name)) is not None for name in (INDEX, MARKER))
