"""Converting images when it is asked for: compression of layers, media types, and the manifests above them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from imgmove.errors import UsageError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Index, Manifest, Node, parse_manifest, read_json_object, to_json_bytes
from imgmove.model.media_types import Compression
from imgmove.ports import Codec

Format = Literal["keep", "oci", "docker"]

_DOCKER_LAYERS = {
    "none": media_types.DOCKER_LAYER,
    "gzip": media_types.DOCKER_LAYER_GZIP,
    "zstd": media_types.DOCKER_LAYER_ZSTD,
}
_OCI_LAYERS = {
    "none": media_types.OCI_LAYER,
    "gzip": media_types.OCI_LAYER_GZIP,
    "zstd": media_types.OCI_LAYER_ZSTD,
}
_LAYER_FAMILIES = (
    media_types.OCI_LAYER,
    media_types.DOCKER_LAYER,
    media_types.OCI_FOREIGN_LAYER,
    media_types.DOCKER_FOREIGN_LAYER,
)
_REFERS_BY_ANNOTATION = "vnd.docker.reference.digest"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one layer is converted. ``name`` tells recipes apart whose results differ."""

    before: Compression
    after: Compression
    level: int | None

    @property
    def name(self) -> str:
        return self.after if self.level is None else f"{self.after}-{self.level}"


@dataclass(frozen=True)
class Conversions:
    """What a person asked to change.

    Attributes:
        codec: does the work.
        compression: for layers that a manifest names; None keeps them.
        made_up: for layers that came without a manifest, unless ``compression`` says something; None keeps them.
        level: of the compressor; None for its default.
        format: the media types to write.
    """

    codec: Codec
    compression: Compression | None = None
    made_up: Compression | None = None
    level: int | None = None
    format: Format = "keep"

    @property
    def is_asked_for(self) -> bool:
        """Whether images that have manifests may change too."""
        return self.compression is not None or self.format != "keep"

    def recipe(self, layer: Descriptor, *, is_made_up: bool) -> Recipe | None:
        """How this layer is to be converted; None when it stays as it is, as encrypted and foreign ones do.

        Raises:
            UsageError: nobody knows how to read such a layer.
        """
        before = media_types.layer_compression(layer.media_type)
        after = self.compression or (self.made_up if is_made_up else None)
        if after is None or before == after or layer.is_foreign or "+encrypted" in layer.media_type:
            return None
        if before is None:
            raise UsageError(f"a layer of type {layer.media_type} can't be converted", hint="use --compression keep")
        return Recipe(before, after, self.level)

    def changes(self, node: Node, *, is_made_up: bool) -> bool:
        """Whether an image manifest will be another one afterwards. Artifacts never change."""
        if not isinstance(node, Manifest) or not is_convertible(node):
            return False
        if any(self.recipe(layer, is_made_up=is_made_up) for layer in node.layers):
            return True
        return self.format != "keep" and node.media_type != self._manifest_type(node)

    def _manifest_type(self, node: Node) -> str:
        if self.format == "keep":
            return node.media_type
        is_index = isinstance(node, Index)
        if self.format == "oci":
            return media_types.OCI_INDEX if is_index else media_types.OCI_MANIFEST
        return media_types.DOCKER_LIST if is_index else media_types.DOCKER_MANIFEST

    def rebuild(self, node: Node, became: Mapping[Digest, Descriptor]) -> Node:
        """The node with its children replaced by what they became; itself when nothing below it changed.

        Fields that imgmove does not know are kept, and so is their order.

        Raises:
            UsageError: the format asked for can't hold this image.
        """
        if isinstance(node, Manifest) and not is_convertible(node):
            return node
        wanted = self._manifest_type(node)
        if wanted == node.media_type and not any(child.digest in became for child in node.children):
            return node
        if isinstance(node, Index) and not any(child.digest in became for child in node.children):
            return node
        document: dict[str, Any] = read_json_object(node.content)
        document["mediaType"] = wanted
        key = "manifests" if isinstance(node, Index) else "layers"
        children = node.manifests if isinstance(node, Index) else node.layers
        document[key] = [
            _replaced(raw, self._child(child, became), became)
            for raw, child in zip(document[key] or [], children, strict=True)
        ]
        if isinstance(node, Manifest) and node.config is not None:
            config = replace(node.config, media_type=self._config_type(node.config))
            document["config"] = _replaced(document["config"], config, became)
        if wanted in (media_types.DOCKER_MANIFEST, media_types.DOCKER_LIST):
            # Docker's formats have no annotations or subjects; a reader may refuse what it doesn't know.
            for field in ("annotations", "subject", "artifactType"):
                document.pop(field, None)
        return parse_manifest(to_json_bytes(document), wanted)

    def _child(self, child: Descriptor, became: Mapping[Digest, Descriptor]) -> Descriptor:
        result = became.get(child.digest, child)
        if result.is_manifest or self.format == "keep":
            return result
        return replace(result, media_type=self._layer_type(result))

    def _layer_type(self, layer: Descriptor) -> str:
        compression = media_types.layer_compression(layer.media_type)
        to_docker = self.format == "docker"
        if layer.is_foreign:
            return _foreign_type(layer.media_type, to_docker=to_docker)
        if compression is None:
            raise UsageError(f"a layer of type {layer.media_type} can't be converted to the {self.format} format")
        if to_docker and compression == "zstd":
            raise UsageError("Docker's format has no zstd layers", hint="add --compression gzip")
        return (_DOCKER_LAYERS if to_docker else _OCI_LAYERS)[compression]

    def _config_type(self, config: Descriptor) -> str:
        if self.format == "keep" or config.media_type not in media_types.IMAGE_CONFIGS:
            return config.media_type
        return media_types.OCI_CONFIG if self.format == "oci" else media_types.DOCKER_CONFIG


def is_convertible(node: Manifest) -> bool:
    """Whether a manifest is that of a root file system. Artifacts, and attestations dressed as images, are not."""
    return node.is_image and all(layer.media_type.startswith(_LAYER_FAMILIES) for layer in node.layers)


def converted_type(media_type: str, compression: Compression) -> str:
    """The media type of a layer of the same family in another compression."""
    family = _OCI_LAYERS if media_type.startswith(media_types.OCI_LAYER) else _DOCKER_LAYERS
    return family[compression]


def _foreign_type(media_type: str, *, to_docker: bool) -> str:
    is_gzip = media_type.endswith("gzip")
    if to_docker:
        return media_types.DOCKER_FOREIGN_LAYER + (".gzip" if is_gzip else "")
    return media_types.OCI_FOREIGN_LAYER + ("+gzip" if is_gzip else "")


def _replaced(raw: dict[str, object], child: Descriptor, became: Mapping[Digest, Descriptor]) -> dict[str, object]:
    result = {**raw, "mediaType": child.media_type, "digest": str(child.digest), "size": child.size}
    if result["digest"] != raw.get("digest"):
        result.pop("data", None)
    annotations = raw.get("annotations")
    if isinstance(annotations, dict) and _REFERS_BY_ANNOTATION in annotations:
        changed = {str(old): str(new.digest) for old, new in became.items()}
        target = annotations[_REFERS_BY_ANNOTATION]
        result["annotations"] = {**annotations, _REFERS_BY_ANNOTATION: changed.get(target, target)}
    return result
