"""Reading OCI image layouts: content in a folder, by digest, and a list of roots (OCI image spec, *Image Layout*).

The same reading serves archives, which are layouts in a tar.
"""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Iterator, Sequence

from imgmove.endpoints.index_file import LARGEST_INDEX, IndexFile, digest_tag, is_digest
from imgmove.errors import MalformedContent, NotFound, UsageError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import LARGEST_MANIFEST, Index, Node, parse_manifest, read_json_object, to_json_bytes
from imgmove.ports import FilePart, NamedImage, PartHasher, ReadableFiles, Reader

INDEX = "index.json"
MARKER = "oci-layout"
MARKER_CONTENT = to_json_bytes({"imageLayoutVersion": "1.0.0"})
_LARGEST_MARKER = 4096


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
