"""Docker's own archive format: ``manifest.json`` (what `docker save` writes and `docker load` reads).

It names configs and layers by path and has no manifests; where there is nothing else, manifests are made up from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from imgmove.endpoints.archive.members import safe_name
from imgmove.endpoints.index_file import full_name
from imgmove.endpoints.layout_reader import blob_path
from imgmove.engine.choose import preferred
from imgmove.errors import MalformedContent
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Index, Manifest, Node, digests_of_layers, make_manifest, read_json
from imgmove.model.platform import Platform
from imgmove.ports import NamedImage

MANIFEST = "manifest.json"
LEGACY = "repositories"
LARGEST = 16 << 20
"""Bytes of a config, or of the manifest of all images in an archive."""
_LINUX = Platform("linux", "amd64")


@dataclass(frozen=True, slots=True)
class DockerImage:
    """One entry of ``manifest.json``: paths, normalised, and full or partial names."""

    config: str
    layers: tuple[str, ...]
    names: tuple[str, ...]


def parse_docker_manifest(content: bytes) -> list[DockerImage]:
    """Reads ``manifest.json``. Go ignores the case of keys, and some engines' archives rely on it.

    Raises:
        MalformedContent: it isn't one.
    """
    try:
        items = read_json(content, most=LARGEST)
    except MalformedContent as error:
        raise MalformedContent(f"{MANIFEST}: {error.message}") from None
    if not isinstance(items, list):
        raise MalformedContent(f"{MANIFEST} is not a list")
    return [_image(item) for item in items]


def _image(item: object) -> DockerImage:
    if not isinstance(item, dict):
        raise MalformedContent(f"an entry of {MANIFEST} is not an object")
    fields = {str(key).lower(): value for key, value in item.items()}
    config = fields.get("config")
    if not isinstance(config, str) or not config:
        raise MalformedContent(f"an entry of {MANIFEST} names no config")
    layers = [safe_name(name) for name in _texts(fields, "layers")]
    names = [name if ":" in name.rpartition("/")[2] else f"{name}:latest" for name in _texts(fields, "repotags")]
    return DockerImage(safe_name(config), tuple(layers), tuple(names))


def _texts(fields: Mapping[str, object], key: str) -> list[str]:
    value = fields.get(key) or []
    if not isinstance(value, list) or not all(isinstance(text, str) and text for text in value):
        raise MalformedContent(f"{key} in {MANIFEST} is not a list of texts")
    return value


def make_up(config: bytes, layers: Sequence[Descriptor], label: str) -> Manifest:
    """A manifest for an image that came without one.

    Raises:
        MalformedContent: the config and the layers are not of one image.
    """
    diff_ids = digests_of_layers(config)
    if len(diff_ids) != len(layers):
        raise MalformedContent(f"{label} has {len(layers)} layers, but its config has {len(diff_ids)}")
    return make_manifest(media_types.OCI_MANIFEST, Descriptor.of(config, media_types.OCI_CONFIG), layers)


def write_docker_manifest(roots: Iterable[NamedImage], nodes: Mapping[Digest, Node]) -> list[dict[str, object]]:
    """The entries for an archive that docker is to load: one platform of each root, and only what it can run."""
    images: dict[Digest, Manifest] = {}
    names: dict[Digest, list[str]] = {}
    for root in roots:
        manifest = _loadable(root.descriptor, nodes)
        if manifest is None:
            continue
        digest = manifest.descriptor.digest
        images[digest] = manifest
        full = [name for name in (full_name(name) for name in root.names) if name]
        names[digest] = list(dict.fromkeys([*names.get(digest, []), *full]))
    return [_entry(manifest, names[digest]) for digest, manifest in images.items()]


def _entry(manifest: Manifest, names: Sequence[str]) -> dict[str, object]:
    assert manifest.config is not None
    return {
        "Config": blob_path(manifest.config.digest),
        "RepoTags": list(names) or None,
        "Layers": [blob_path(layer.digest) for layer in manifest.layers],
    }


def _loadable(descriptor: Descriptor, nodes: Mapping[Digest, Node]) -> Manifest | None:
    node = nodes.get(descriptor.digest)
    if isinstance(node, Index):
        child = preferred(node, _LINUX)
        return _loadable(child, nodes) if child is not None else None
    if node is None or not node.is_image or node.subject is not None:
        return None
    is_rootfs = all(media_types.layer_compression(layer.media_type) for layer in node.layers)
    return node if is_rootfs else None
