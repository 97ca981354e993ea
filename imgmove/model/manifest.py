"""Manifests and indexes: the inner nodes of the graph of descriptors.

Both keep the bytes that they were read from, because those bytes are what the digest names; nothing here
re-serialises what somebody else wrote (OCI image spec, *Image Manifest* and *Image Index*; Docker image
manifest V2, schema 2).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from imgmove.errors import MalformedContent
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import DEFAULT_ALGORITHM, Digest

LARGEST_MANIFEST = 4 << 20
LARGEST_CONFIG = 64 << 20
"""Bytes; registries refuse more (OCI distribution spec, *Pushing Manifests*), and so do we before parsing."""

_DEEPEST = 64
_MOST_VALUES = 400_000
"""A document takes up to forty times its size in memory. Even an index of 30,000 images stays below this."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image or artifact manifest: a config, layers or blobs, and perhaps the subject that it refers to.

    Attributes:
        content: the exact bytes.
        media_type: from the document itself, else from whoever handed over the bytes, else guessed.
        config: None only for the artifact manifests that have none.
        layers: in the order of the document; ORAS artifact manifests call them blobs.
        subject: what this manifest says something about (a signature's image), never a child.
        artifact_type: as the referrers API would list it.
        algorithm: of the digest that the bytes go by.
    """

    content: bytes
    media_type: str
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str
    annotations: Mapping[str, str]
    algorithm: str = DEFAULT_ALGORITHM

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """What must be there before this manifest: its config first, then its layers."""
        return (self.config, *self.layers) if self.config else self.layers

    @property
    def descriptor(self) -> Descriptor:
        """Describes these bytes."""
        return Descriptor.of(self.content, self.media_type, self.algorithm)

    @property
    def is_image(self) -> bool:
        """Whether it holds a root file system that an engine can run, rather than some artifact."""
        return self.config is not None and self.config.media_type in media_types.IMAGE_CONFIGS


@dataclass(frozen=True, slots=True)
class Index:
    """An index or Docker manifest list: manifests side by side, one a platform as a rule."""

    content: bytes
    media_type: str
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str
    annotations: Mapping[str, str]
    algorithm: str = DEFAULT_ALGORITHM

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """What must be there before this index."""
        return self.manifests

    @property
    def descriptor(self) -> Descriptor:
        """Describes these bytes."""
        return Descriptor.of(self.content, self.media_type, self.algorithm)


Node = Manifest | Index


def parse_manifest(content: bytes, media_type: str = "", algorithm: str = DEFAULT_ALGORITHM) -> Node:
    """Reads a manifest or index of any kind that imgmove moves.

    Args:
        content: the whole document.
        media_type: what the descriptor or the ``Content-Type`` said; the document's own word wins, because
            registries and layouts are known to mislabel.
        algorithm: of the digest that the document goes by.

    Raises:
        MalformedContent: not JSON, too large or too deep, of an unknown kind, schema 1, or broken.
    """
    document = read_json_object(content)
    kind = _kind(document, media_type)
    if media_types.is_index(kind):
        return Index(
            content=content,
            media_type=kind,
            manifests=_descriptors(document, "manifests"),
            subject=_optional(document, "subject"),
            artifact_type=_artifact_type(document, None),
            annotations=read_annotations(document),
            algorithm=algorithm,
        )
    config = _optional(document, "config")
    return Manifest(
        content=content,
        media_type=kind,
        config=config,
        layers=_descriptors(document, "blobs" if "blobs" in document and "layers" not in document else "layers"),
        subject=_optional(document, "subject"),
        artifact_type=_artifact_type(document, config),
        annotations=read_annotations(document),
        algorithm=algorithm,
    )


def read_json_object(content: bytes, *, most: int = LARGEST_MANIFEST) -> dict[str, object]:
    """Parses JSON from strangers that must be an object, within the limits of `read_json`.

    Raises:
        MalformedContent: it isn't.
    """
    document = read_json(content, most=most)
    if not isinstance(document, dict):
        raise MalformedContent("not a JSON object")
    return document


def read_json(content: bytes, *, most: int = LARGEST_MANIFEST) -> object:
    """Parses JSON from strangers, of any kind: at most ``most`` bytes, 64 levels and 400,000 values.

    Raises:
        MalformedContent: it isn't.
    """
    check_json_size(content, most=most)
    if _depth(content) > _DEEPEST:
        raise MalformedContent(f"JSON nested deeper than {_DEEPEST} levels")
    try:
        document: object = json.loads(content, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise MalformedContent(f"not valid JSON: {str(error)[:100]}") from None
    return _encodable(document) if b"\\u" in content or b"\xed" in content else document


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not of JSON")


def _encodable(document: object) -> object:
    """The document with a mark for each half of a surrogate pair, which JSON can write down and no file name or page can."""
    text = json.dumps(document, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        replaced: object = json.loads(text.encode("utf-8", "replace"))
        return replaced
    return document


def check_json_size(content: bytes, *, most: int) -> None:
    """Makes sure that a document is one that `read_json` would take for its size: for those who write documents, too.

    Raises:
        MalformedContent: it is too large, or holds too many values.
    """
    if len(content) > most:
        raise MalformedContent(f"JSON of {len(content)} bytes, which is over the limit of {most}")
    if sum(map(content.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise MalformedContent(f"JSON of more than {_MOST_VALUES} values")


def read_annotations(document: Mapping[str, object]) -> Mapping[str, str]:
    """The annotations of a document whose other fields are of no interest; odd values are passed over."""
    annotations = document.get("annotations")
    if not isinstance(annotations, dict):
        return {}
    return {key: value for key, value in annotations.items() if isinstance(value, str)}


def digests_of_layers(config: bytes) -> tuple[Digest, ...]:
    """The diffIDs of an image config: digests of the uncompressed layers (OCI image spec, *Image Configuration*).

    Raises:
        MalformedContent: not an image config.
    """
    rootfs = read_json_object(config, most=LARGEST_CONFIG).get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if diff_ids is None:
        return ()
    if not isinstance(diff_ids, list):
        raise MalformedContent("the config's rootfs.diff_ids is not a list")
    return tuple(Digest.parse(item) for item in diff_ids)


def to_json_bytes(document: Mapping[str, object]) -> bytes:
    """Serialises a document of our own, the same way each time."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def make_manifest(
    media_type: str,
    config: Descriptor,
    layers: Sequence[Descriptor],
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """Builds a new image manifest."""
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    if annotations:
        document["annotations"] = dict(annotations)
    node = parse_manifest(to_json_bytes(document), media_type)
    assert isinstance(node, Manifest)
    return node


def make_index(media_type: str, manifests: Sequence[Descriptor], annotations: Mapping[str, str] | None = None) -> Index:
    """Builds a new index."""
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [manifest.to_json() for manifest in manifests],
    }
    if annotations:
        document["annotations"] = dict(annotations)
    node = parse_manifest(to_json_bytes(document), media_type)
    assert isinstance(node, Index)
    return node


def schema_1() -> MalformedContent:
    """What to say of the manifests that docker wrote before 2016."""
    return MalformedContent(
        "Docker schema 1 manifests are not supported",
        hint="an old docker that pulls the image and pushes it again writes schema 2, and so does skopeo",
    )


def _kind(document: Mapping[str, object], told: str) -> str:
    version = document.get("schemaVersion")
    own = _text_or_nothing(document.get("mediaType"))
    if version == 1 or own in media_types.SCHEMA1 or "fsLayers" in document:
        raise schema_1()
    kind = own or _guess(document, told)
    if kind in (media_types.ORAS_ARTIFACT, media_types.OCI_ARTIFACT):
        return kind
    if version != 2:
        raise MalformedContent(f"a manifest of the unknown schema version {version!r:.40}")
    if not media_types.is_manifest(kind):
        raise MalformedContent(f"not a manifest but {kind!r:.120}")
    if media_types.is_index(kind) and ("layers" in document or "manifests" not in document):
        raise MalformedContent(f"the document says that it is an index ({kind}) but is not")
    if not media_types.is_index(kind) and "manifests" in document:
        # One document that can be read as two things is an attack (CVE-2021-41190), not a manifest.
        raise MalformedContent(f"the document says that it is a manifest ({kind}) but lists manifests")
    return kind


def _guess(document: Mapping[str, object], told: str) -> str:
    if media_types.is_manifest(told):
        return told
    if "manifests" in document:
        return media_types.OCI_INDEX
    config = document.get("config")
    config_type = _text_or_nothing(config.get("mediaType")) if isinstance(config, dict) else ""
    return media_types.DOCKER_MANIFEST if config_type == media_types.DOCKER_CONFIG else media_types.OCI_MANIFEST


def _artifact_type(document: Mapping[str, object], config: Descriptor | None) -> str:
    # OCI distribution spec, Listing Referrers: the config's type stands in for an absent artifactType.
    return _text_or_nothing(document.get("artifactType")) or (config.media_type if config else "")


def _text_or_nothing(value: object) -> str:
    return value if isinstance(value, str) else ""


def _descriptors(document: Mapping[str, object], key: str) -> tuple[Descriptor, ...]:
    items = document.get(key)
    if items is None:
        return ()
    if not isinstance(items, list):
        raise MalformedContent(f"a manifest's {key} must be a list")
    return tuple(Descriptor.from_json(item) for item in items)


def _optional(document: Mapping[str, object], key: str) -> Descriptor | None:
    value = document.get(key)
    return None if value is None else Descriptor.from_json(value)


def _depth(content: bytes) -> int:
    """How deep brackets nest, strings taken into account, without building anything."""
    deepest = depth = 0
    for inside in _outside_strings(content):
        for byte in inside:
            if byte in b"[{":
                depth += 1
                deepest = max(deepest, depth)
            elif byte in b"]}":
                depth -= 1
    return deepest


def _outside_strings(content: bytes) -> Iterator[bytes]:
    if content.count(b"[") + content.count(b"{") <= _DEEPEST:
        return
    yield from content.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]
