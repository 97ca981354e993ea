"""The images to measure with: real files of this machine where content matters, noise where only bytes do."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from imgmove.endpoints.layout import Layout
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import to_json_bytes
from imgmove.streams import BytesReader
from imgmove.wire.files import LocalFiles

_FOLDERS = ("/usr/lib", "/usr/bin", "/usr/share", "/usr/sbin", "/opt", "/var/lib")
_LARGEST_FILE = 40 << 20


def real_layers(sizes: Sequence[int]) -> Iterator[bytes]:
    """Tars of this machine's own files, each about so many bytes."""
    files = _files()
    for wanted in sizes:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in files:
                tar.add(path, arcname=str(path).lstrip("/"), recursive=False)
                if content.tell() >= wanted:
                    break
        yield content.getvalue()


def _files() -> Iterator[Path]:
    for top in _FOLDERS:
        for folder, folders, names in os.walk(top):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink() and path.stat().st_size < _LARGEST_FILE:
                    yield path


def tiny_files(count: int, folder: str) -> bytes:
    """A tar of so many files of a few bytes each, 200 to a folder."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(count):
            text = f"file {number} of {folder}\n".encode()
            member = tarfile.TarInfo(f"{folder}/{number // 200}/{number}.txt")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return content.getvalue()


def noise(size: int, seed: int) -> bytes:
    """A tar with one file of ``size`` bytes that nothing can compress."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo(f"noise-{seed}")
        member.size = size
        tar.addfile(member, _Noise(size, seed))
    return content.getvalue()


class _Noise(io.RawIOBase):
    def __init__(self, size: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._left = size

    def read(self, size: int = -1) -> bytes:
        size = self._left if size < 0 else min(size, self._left)
        self._left -= size
        return self._random.randbytes(size)


def build(folder: Path, name: str, layers: Iterator[bytes], *, is_gzipped: bool) -> None:
    """Puts an image of these layers into a layout."""
    layout = Layout.writable(LocalFiles(), str(folder))
    descriptors, diff_ids = [], []
    for tar in layers:
        diff_ids.append(f"sha256:{hashlib.sha256(tar).hexdigest()}")
        content = gzip.compress(tar, 6, mtime=0) if is_gzipped else tar
        media_type = media_types.OCI_LAYER_GZIP if is_gzipped else media_types.OCI_LAYER
        descriptors.append(_put(layout, content, media_type))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": "bench"} for _ in diff_ids],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": _put(layout, to_json_bytes(config), media_types.OCI_CONFIG).to_json(),
        "layers": [descriptor.to_json() for descriptor in descriptors],
    }
    layout.put_manifest(to_json_bytes(manifest), media_types.OCI_MANIFEST, (name,))


def _put(layout: Layout, content: bytes, media_type: str) -> Descriptor:
    descriptor = Descriptor(media_type, Digest.of(content), len(content))
    writer = layout.put_blob(descriptor)
    writer.resume()
    writer.write(BytesReader(content))
    writer.commit(descriptor)
    return descriptor
