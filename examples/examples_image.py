"""Builds a small real image out of the files in ``examples/app``: two platforms, an index, and an SBOM that refers to it."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import make_index, make_manifest, to_json_bytes
from imgmove.model.platform import Platform
from imgmove.ports import Destination
from imgmove.streams import BytesReader

APP = Path(__file__).parent / "app"
SBOM_TYPE = "application/spdx+json"


def build(destination: Destination, name: str) -> Digest:
    """Puts the image where it is told; returns its digest, the same each time."""
    tar = _layer()
    layer = _put(destination, gzip.compress(tar, 9, mtime=0), media_types.OCI_LAYER_GZIP)
    children = []
    for platform in (Platform("linux", "amd64"), Platform("linux", "arm64")):
        config = _put(destination, _config(platform, Digest.of(tar)), media_types.OCI_CONFIG)
        manifest = make_manifest(media_types.OCI_MANIFEST, config, [layer])
        destination.put_manifest(manifest.content, manifest.media_type, ())
        described = manifest.descriptor
        children.append(Descriptor(described.media_type, described.digest, described.size, platform=platform))
    index = make_index(media_types.OCI_INDEX, children)
    destination.put_manifest(index.content, index.media_type, (name,))
    _attach_sbom(destination, index.descriptor)
    return index.descriptor.digest


def _layer() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(APP.iterdir()):
            member = tarfile.TarInfo(f"app/{path.name}")
            member.size, member.mode = path.stat().st_size, 0o755 if path.suffix == ".sh" else 0o644
            archive.addfile(member, io.BytesIO(path.read_bytes()))
    return buffer.getvalue()


def _config(platform: Platform, diff_id: Digest) -> bytes:
    return to_json_bytes(
        {
            **platform.to_json(),
            "config": {"Cmd": ["/app/hello.sh"], "Labels": {"org.opencontainers.image.title": "imgmove demo"}},
            "rootfs": {"type": "layers", "diff_ids": [str(diff_id)]},
        }
    )


def _attach_sbom(destination: Destination, subject: Descriptor) -> None:
    sbom = json.dumps(
        {"spdxVersion": "SPDX-2.3", "name": "imgmove demo", "files": sorted(p.name for p in APP.iterdir())}
    )
    empty = _put(destination, b"{}", media_types.OCI_EMPTY)
    document = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "artifactType": SBOM_TYPE,
        "config": empty.to_json(),
        "layers": [_put(destination, sbom.encode(), SBOM_TYPE).to_json()],
        "subject": subject.to_json(),
    }
    content = to_json_bytes(document)
    destination.put_manifest(content, media_types.OCI_MANIFEST, (str(Digest.of(content)),))


def _put(destination: Destination, content: bytes, media_type: str) -> Descriptor:
    descriptor = Descriptor.of(content, media_type)
    if not destination.has(descriptor):
        writer = destination.put_blob(descriptor)
        writer.resume()
        writer.write(BytesReader(content))
        writer.commit(descriptor)
    return descriptor
