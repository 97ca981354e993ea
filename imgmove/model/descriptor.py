"""Descriptors: how content is pointed at (OCI image spec, *Content Descriptors*)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from imgmove.errors import MalformedContent
from imgmove.model import media_types
from imgmove.model.digest import DEFAULT_ALGORITHM, Digest
from imgmove.model.platform import Platform

_LARGEST = 1 << 62
_PLAIN = {"mediaType", "digest", "size"}
"""All that most descriptors say."""
_LONGEST_SHARED = 256


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Names some content: its type, its digest and its exact size in bytes.

    Equality and hashing look at digest, size and media type alone, because those say what the content is.
    """

    media_type: str
    digest: Digest
    size: int
    urls: tuple[str, ...] = field(default=(), compare=False)
    annotations: Mapping[str, str] = field(default_factory=dict, compare=False)
    platform: Platform | None = field(default=None, compare=False)
    artifact_type: str = field(default="", compare=False)
    data: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def is_manifest(self) -> bool:
        """Whether it names a manifest or an index, which registries keep apart from blobs."""
        return media_types.is_manifest(self.media_type)

    @property
    def is_index(self) -> bool:
        """Whether it names an index or a Docker manifest list."""
        return media_types.is_index(self.media_type)

    @property
    def is_foreign(self) -> bool:
        """Whether its content stays where its URLs point, and is never moved."""
        return media_types.is_foreign_layer(self.media_type)

    @classmethod
    def of(cls, content: bytes, media_type: str, algorithm: str = DEFAULT_ALGORITHM) -> Descriptor:
        """Describes content that is at hand."""
        return cls(media_type, Digest.of(content, algorithm), len(content))

    @classmethod
    def from_json(cls, value: object) -> Descriptor:
        """Reads the JSON form, as it stands in manifests and indexes.

        Raises:
            MalformedContent: a field that the spec requires is missing, or one is of the wrong kind.
        """
        if not isinstance(value, dict):
            raise MalformedContent(f"a descriptor must be an object, not a {type(value).__name__}")
        size = value.get("size")
        if not isinstance(size, int) or isinstance(size, bool):
            raise MalformedContent(f"a descriptor's size must be a whole number, not a {type(size).__name__}")
        if not 0 <= size <= _LARGEST:
            raise MalformedContent("a descriptor's size is negative or absurdly large")
        media_type = _text(value, "mediaType")
        if value.keys() == _PLAIN and len(media_type) < _LONGEST_SHARED:
            return _plain(media_type, Digest.parse(value["digest"]), size)
        platform = value.get("platform")
        return cls(
            media_type=media_type,
            digest=Digest.parse(value.get("digest")),
            size=size,
            urls=_texts(value.get("urls")),
            annotations=_annotations(value.get("annotations")),
            platform=Platform.from_json(platform) if platform is not None else None,
            artifact_type=_text(value, "artifactType"),
            data=_inline(value.get("data")),
        )

    def to_json(self) -> dict[str, object]:
        """The JSON form, with absent fields left out, in the spec's order."""
        value: dict[str, object] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.urls:
            value["urls"] = list(self.urls)
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.data is not None:
            value["data"] = base64.b64encode(self.data).decode("ascii")
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        if self.platform is not None:
            value["platform"] = self.platform.to_json()
        return value


@lru_cache(maxsize=4096)
def _plain(media_type: str, digest: Digest, size: int) -> Descriptor:
    """One object for what many manifests name alike, such as the layers of a base image."""
    return Descriptor(media_type, digest, size)


def _text(value: Mapping[str, object], key: str) -> str:
    text = value.get(key)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise MalformedContent(f"a descriptor's {key} must be text, not a {type(text).__name__}")
    return text


def _texts(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise MalformedContent("a descriptor's urls must be a list of texts")
    return tuple(value)


def _annotations(value: object) -> Mapping[str, str]:
    if not value:
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise MalformedContent("a descriptor's annotations must map texts to texts")
    return dict(value)


def _inline(value: object) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise MalformedContent("a descriptor's data must be base64 text")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedContent("a descriptor's data is not base64") from None
