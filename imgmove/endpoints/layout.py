"""OCI image layouts: content in a folder, by digest, and a list of roots (OCI image spec, *Image Layout*).

The same reading serves archives, which are layouts in a tar.
"""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from imgmove.endpoints.blob_file import ArrivedBlob, FileBlobWriter
from imgmove.endpoints.index_file import LARGEST_INDEX, IndexFile, digest_tag, is_digest
from imgmove.errors import MalformedContent, NotFound, UsageError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import DEFAULT_ALGORITHM, Digest
from imgmove.model.manifest import LARGEST_MANIFEST, Index, Node, parse_manifest, read_json_object, to_json_bytes
from imgmove.ports import (
    BlobWriter,
    FilePart,
    Files,
    LastingBlobWriter,
    NamedImage,
    PartHasher,
    ReadableFiles,
    Reader,
)
from imgmove.streams import BytesReader

INDEX = "index.json"
MARKER = "oci-layout"
MARKER_CONTENT = to_json_bytes({"imageLayoutVersion": "1.0.0"})
_LARGEST_MARKER = 4096
_KEY = "blob"
_OWN_NAMES = frozenset({MARKER, "blobs", INDEX})
"""What a layout that is being made may hold; its list too, which another process may have written just now."""


def blob_path(digest: Digest) -> str:
    """Where a layout keeps content, relative to itself. A `Digest` is always safe as a file name."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


class LayoutReader:
    """A layout as a source: names, images, content and referrers.

    Args:
        files: where it lies.
        path: the folder; empty when ``files`` is the layout.
        label: what people call it, for messages.
    """

    def __init__(self, files: ReadableFiles, path: str, label: str) -> None:
        self._read = files
        self._path = path
        self._label = label
        self._subjects: dict[Digest, Digest | None] = {}
        self._referrers: tuple[IndexFile | None, dict[Digest, list[Descriptor]]] = (None, {})
        self._parsed: tuple[bytes, IndexFile | None] = (b"", None)
        self._parsing = threading.Lock()
        self._lock = threading.Lock()

    def resolve(self, name: str) -> Descriptor:
        """What a name or digest stands for; ``""`` for the only image."""
        if not name:
            return self._only()
        if is_digest(name):
            return self._by_digest(Digest.parse(name))
        found = self._index().matching(name)
        if found is None:
            known = ", ".join(entry.name for entry in self._index().entries[:8] if entry.name)
            raise NotFound(
                f"{self._label} has no {name}", hint=f"it has {known}" if known else "its images have no names"
            )
        return found

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """The content of a digest."""
        try:
            return self._read.open(self._at(blob_path(descriptor.digest)), offset)
        except NotFound:
            kind = "manifest" if descriptor.is_manifest else "blob"
            platform = f" ({descriptor.platform})" if descriptor.platform else ""
            raise NotFound(f"{self._label} does not hold {kind} {descriptor.digest}{platform}") from None

    def hashes(self, descriptors: Sequence[Descriptor]) -> Iterator[tuple[Descriptor, Digest]]:
        """What content hashes to, found out where it lies; nothing for files of this machine, which are just read."""
        files: object = self._read
        if not isinstance(files, PartHasher):
            return
        for algorithm in {descriptor.digest.algorithm for descriptor in descriptors}:
            parts = {FilePart(self._at(blob_path(item.digest))): item for item in descriptors}
            mine = [part for part, item in parts.items() if item.digest.algorithm == algorithm]
            for part, value in files.hash_parts(mine, algorithm):
                yield parts[part], Digest(algorithm, value)

    def images(self) -> Sequence[NamedImage]:
        """The roots that are images of their own: neither untagged referrers nor under digest tags."""
        names: dict[Digest, list[str]] = {}
        descriptors: dict[Digest, Descriptor] = {}
        for entry in self._index().entries:
            if entry.is_digest_tag or (not entry.name and self._subject_of(entry.descriptor) is not None):
                continue
            descriptors.setdefault(entry.descriptor.digest, entry.descriptor)
            listed = names.setdefault(entry.descriptor.digest, [])
            if entry.name and entry.name not in listed:
                listed.append(entry.name)
        return [NamedImage(descriptor, tuple(names[digest])) for digest, descriptor in descriptors.items()]

    def referrers(self, subject: Digest) -> Sequence[NamedImage]:
        """Roots whose subject it is, those that its fallback tag lists, and those under cosign's tags."""
        found: dict[Digest, NamedImage] = {}
        index = self._index()
        for descriptor in self._by_subject(index).get(subject, ()):
            found[descriptor.digest] = NamedImage(descriptor)
        for suffix, descriptor in index.digest_tagged(subject):
            if suffix:
                found[descriptor.digest] = NamedImage(descriptor, (f"{digest_tag(subject)}{suffix}",))
                continue
            node = self._node(descriptor)
            for child in node.manifests if isinstance(node, Index) else ():
                found.setdefault(child.digest, NamedImage(child))
        found.pop(subject, None)
        return list(found.values())

    def check_version(self) -> None:
        """Makes sure that this is a layout as we know them; one that doesn't say so is taken for one.

        Raises:
            MalformedContent: it is one of another version.
        """
        try:
            marker = read_json_object(self._read.read_at(self._at(MARKER), 0, _LARGEST_MARKER))
        except NotFound:
            return
        except MalformedContent as error:
            raise MalformedContent(f"{self._label}: {MARKER}: {error.message}") from None
        version = marker.get("imageLayoutVersion")
        if not isinstance(version, str) or not version.startswith("1."):
            raise MalformedContent(f"{self._label} is a layout of the unknown version {version!r:.40}")

    def close(self) -> None:
        """Holds nothing open."""

    # --- what is below

    def _at(self, relative: str) -> str:
        return posixpath.join(self._path, relative) if self._path else relative

    def _index(self) -> IndexFile:
        content = self._read.read_at(self._at(INDEX), 0, LARGEST_INDEX + 1)
        with self._parsing:
            known, index = self._parsed
            # Reading is cheap, parsing is not, and only the bytes tell for sure that nobody changed the file.
            if content != known or index is None:
                index = self._parse(content)
                self._parsed = (content, index)
            return index

    def _parse(self, content: bytes) -> IndexFile:
        try:
            return IndexFile.parse(content)
        except MalformedContent as error:
            raise MalformedContent(f"{self._label}: {INDEX}: {error.message}", hint=error.hint) from None

    def _only(self) -> Descriptor:
        images = self.images()
        if not images:
            raise NotFound(f"{self._label} holds no image")
        if len(images) > 1:
            names = ", ".join(image.names[0] if image.names else str(image.descriptor.digest) for image in images[:8])
            raise UsageError(f"{self._label} holds {len(images)} images", hint=f"name one of {names}")
        return images[0].descriptor

    def _by_digest(self, digest: Digest) -> Descriptor:
        if (listed := self._index().of_digest(digest)) is not None:
            return listed
        path = self._at(blob_path(digest))
        status = self._read.status(path)
        if status is None or status.size > LARGEST_MANIFEST:
            raise NotFound(f"{self._label} has no manifest {digest}")
        content = self._read.read_at(path, 0, LARGEST_MANIFEST)
        return Descriptor(parse_manifest(content).media_type, digest, len(content))

    def _node(self, descriptor: Descriptor) -> Node | None:
        """A manifest for a look at its subject; None for what can't be read, which whoever moves it will find out."""
        if not descriptor.is_manifest:
            return None
        try:
            content = self._read.read_at(self._at(blob_path(descriptor.digest)), 0, LARGEST_MANIFEST + 1)
            return parse_manifest(content, descriptor.media_type)
        except (NotFound, MalformedContent):
            return None

    def _subject_of(self, descriptor: Descriptor) -> Digest | None:
        if descriptor.digest not in self._subjects:
            node = self._node(descriptor)
            subject = node.subject.digest if node is not None and node.subject is not None else None
            if node is None:
                # It may come later.
                return None
            self._subjects[descriptor.digest] = subject
        return self._subjects[descriptor.digest]

    def _by_subject(self, index: IndexFile) -> dict[Digest, list[Descriptor]]:
        with self._lock:
            # Others may write the same layout meanwhile.
            known, referrers = self._referrers
            if index is not known:
                referrers = {}
                for entry in index.entries:
                    if (subject := self._subject_of(entry.descriptor)) is not None:
                        referrers.setdefault(subject, []).append(entry.descriptor)
                self._referrers = (index, referrers)
            return referrers


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
