"""Layers for tests: made of short descriptions, and trees read back out of a tar."""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgmove.endpoints.layout import Layout
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import make_manifest, to_json_bytes
from imgmove.ports import Reader
from imgmove.rootfs.union import unite
from imgmove.streams import BytesReader
from imgmove.wire.files import LocalFiles
from tests.images import put_blob


@dataclass(frozen=True)
class TarLayer:
    """A layer at hand."""

    tar: bytes
    label: str = "layer"

    def open(self) -> Reader:
        """Its tar."""
        return BytesReader(self.tar)


KINDS = {
    "file": tarfile.REGTYPE,
    "folder": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "link": tarfile.LNKTYPE,
    "fifo": tarfile.FIFOTYPE,
    "character": tarfile.CHRTYPE,
}


@dataclass(frozen=True)
class Entry:
    """One member: text is a file's content, a link's target, or anything that tells folders apart."""

    name: str
    kind: str = "file"
    text: str = ""
    mode: int = 0o755
    pax: dict[str, str] = field(default_factory=dict)

    def add_to(self, archive: tarfile.TarFile) -> None:
        """Writes it."""
        member = tarfile.TarInfo(self.name)
        member.type = KINDS[self.kind]
        member.mode = self.mode
        member.pax_headers = dict(self.pax)
        content = self.text.encode() if self.kind == "file" else b""
        member.size = len(content)
        if self.kind in ("link", "symlink"):
            member.linkname = self.text
        elif self.kind != "file":
            member.uname = self.text
        archive.addfile(member, io.BytesIO(content))


def folder(name: str, text: str = "", mode: int = 0o755) -> Entry:
    """A folder."""
    return Entry(name, "folder", text, mode)


def tar_of(*entries: Entry, format: int = tarfile.PAX_FORMAT) -> bytes:
    """A layer's tar."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=format) as archive:
        for entry in entries:
            entry.add_to(archive)
    return content.getvalue()


def united(*layers: bytes) -> bytes:
    """The tar of layers, the lowest first."""
    pieces: list[bytes] = []
    unite(
        [TarLayer(layer, f"layer {number}") for number, layer in enumerate(layers)][::-1],
        lambda data: pieces.append(bytes(data)),
    )
    return b"".join(pieces)


def members(tar: bytes) -> list[tarfile.TarInfo]:
    """The members in order."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return archive.getmembers()


def names(tar: bytes) -> list[str]:
    """Their names in order."""
    return [member.name for member in members(tar)]


def tree_of(tar: bytes) -> dict[str, Any]:
    """What a tar unpacks to: for each name its kind, its text, and the first name of its file."""
    tree: dict[str, tuple[str, str, str]] = {}
    kinds = {flag: kind for kind, flag in KINDS.items()}
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            parents = member.name.split("/")[:-1]
            for depth in range(1, len(parents) + 1):
                assert tree.setdefault("/".join(parents[:depth]), ("folder", "", ""))[0] == "folder"
            kind = kinds[member.type]
            if kind == "link":
                tree[member.name] = tree[member.linkname]
                continue
            if kind == "file":
                extracted = archive.extractfile(member)
                assert extracted is not None
                text = extracted.read().decode()
            else:
                text = member.linkname if kind == "symlink" else member.uname
            tree[member.name] = (kind, text, "" if kind == "folder" else member.name)
    return grouped(tree)


def grouped(tree: dict[str, tuple[str, str, Any]]) -> dict[str, Any]:
    """The same with the inode as the least of its names, so that trees can be compared."""
    least: dict[Any, str] = {}
    for name in sorted(tree):
        least.setdefault(tree[name][2], name)
    return {name: (kind, text, "" if kind == "folder" else least[inode]) for name, (kind, text, inode) in tree.items()}


def image_of(folder: Path, *layers: bytes) -> str:
    """Puts an image of these layers' tars, the lowest first, into a new layout; returns where that is."""
    layout = Layout.writable(LocalFiles(), str(folder))
    packed = [gzip.compress(layer, mtime=0) for layer in layers]
    rootfs = {"type": "layers", "diff_ids": [str(Digest.of(layer)) for layer in layers]}
    config = to_json_bytes({"architecture": "amd64", "os": "linux", "rootfs": rootfs})
    described = Descriptor.of(config, media_types.OCI_CONFIG)
    descriptors = [Descriptor.of(content, media_types.OCI_LAYER_GZIP) for content in packed]
    for descriptor, content in zip((described, *descriptors), (config, *packed), strict=True):
        put_blob(layout, descriptor, content)
    manifest = make_manifest(media_types.OCI_MANIFEST, described, descriptors)
    layout.put_manifest(manifest.content, manifest.media_type, ("x:1",))
    return f"oci:{folder}:x:1"
