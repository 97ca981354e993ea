"""A registry's storage with many small images, written straight to the disk: pushing thousands would take minutes.

The form is that of distribution's file system driver (its documentation, *storage paths*).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from imgmove.model import media_types
from imgmove.model.manifest import to_json_bytes

_LAYER = b"one layer for all of them"


def fill(data: Path, repositories: int, tags: int) -> None:
    """Writes so many repositories of so many tags each, every one an image of its own with a shared layer."""
    layer = _blob(data, _LAYER)
    for number in range(repositories):
        repository = data / "docker/registry/v2/repositories/bench" / f"app{number}"
        _link(repository / "_layers", layer)
        for tag in range(tags):
            config = to_json_bytes(
                {"architecture": "amd64", "os": "linux", "config": {"Labels": {"n": f"{number}.{tag}"}}}
            )
            config_digest = _blob(data, config)
            _link(repository / "_layers", config_digest)
            manifest = to_json_bytes(
                {
                    "schemaVersion": 2,
                    "mediaType": media_types.OCI_MANIFEST,
                    "config": _descriptor(media_types.OCI_CONFIG, config),
                    "layers": [_descriptor(media_types.OCI_LAYER, _LAYER)],
                }
            )
            digest = _blob(data, manifest)
            _link(repository / "_manifests/revisions", digest)
            folder = repository / f"_manifests/tags/1.{tag}.0"
            _link(folder / "index", digest)
            (folder / "current").mkdir()
            (folder / "current/link").write_text(f"sha256:{digest}")


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _blob(data: Path, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    folder = data / "docker/registry/v2/blobs/sha256" / digest[:2] / digest
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").write_bytes(content)
    return digest


def _link(folder: Path, digest: str) -> None:
    place = folder / "sha256" / digest
    place.mkdir(parents=True, exist_ok=True)
    (place / "link").write_text(f"sha256:{digest}")
