"""An image whose last layer has yet to come: all that is decided before its bytes are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from imgmove.errors import MalformedContent, UsageError
from imgmove.model import media_types
from imgmove.model.changes import apply_changes
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import (
    LARGEST_CONFIG,
    Manifest,
    make_manifest,
    parse_manifest,
    read_json_object,
    to_json_bytes,
)
from imgmove.model.platform import Platform

_OF_A_CONTAINER = ("container", "container_config")
_DOCKER_LAYERS = {
    media_types.OCI_LAYER: media_types.DOCKER_LAYER,
    media_types.OCI_LAYER_GZIP: media_types.DOCKER_LAYER_GZIP,
    media_types.OCI_LAYER_ZSTD: media_types.DOCKER_LAYER_ZSTD,
}


@dataclass(frozen=True, slots=True)
class Origination:
    """What is said of how a layer came to be.

    Attributes:
        created: a time as RFC 3339 has it.
        comment: for people.
        changes: instructions that alter the image's settings, see `imgmove.model.changes`.
    """

    created: str
    comment: str
    changes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """An image without its last layer.

    Attributes:
        config: the image config, but for what the layer adds.
        history: what the layer adds to the history.
        base: the manifest of the image that the layer comes onto; None for an image of this layer alone.
    """

    config: Mapping[str, object]
    history: Mapping[str, object]
    base: Manifest | None = None

    @classmethod
    def alone(cls, platform: Platform, said: Origination) -> Draft:
        """An image of one layer, as `docker import` makes it.

        Raises:
            UsageError: a change is malformed.
        """
        settings = apply_changes({}, said.changes)
        variant = {"variant": platform.variant} if platform.variant else {}
        config = {
            "created": said.created,
            "architecture": platform.architecture,
            "os": platform.os,
            **variant,
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": []},
            "history": [],
        }
        return cls(config, _history(said))

    @classmethod
    def onto(cls, base: Manifest, config: bytes, said: Origination) -> Draft:
        """An image of one layer more, as `docker commit` makes it.

        Args:
            config: the base's config, as its bytes.

        Raises:
            UsageError: a change is malformed, or the base is no image.
            MalformedContent: the base is broken.
        """
        if not base.is_image:
            raise UsageError("a layer can't be put onto what is no image")
        document = read_json_object(config, most=LARGEST_CONFIG)
        settings = document.get("config") or {}
        if not isinstance(settings, dict):
            raise MalformedContent("the config of the base holds no settings")
        kept = {key: value for key, value in document.items() if key not in _OF_A_CONTAINER}
        changed = {**kept, "created": said.created, "config": apply_changes(settings, said.changes)}
        _listed(changed, "history")
        _diff_ids(changed)
        return cls(changed, _history(said), base)

    def complete(self, layer: Descriptor, diff_id: Digest) -> tuple[Manifest, bytes]:
        """The manifest and the config, now that the layer has come.

        Args:
            layer: in one of OCI's media types.
            diff_id: the digest of the plain layer.
        """
        rootfs = {"type": "layers", "diff_ids": [*_diff_ids(self.config), str(diff_id)]}
        history = [*_listed(self.config, "history"), dict(self.history)]
        config = to_json_bytes({**self.config, "rootfs": rootfs, "history": history})
        if self.base is None:
            described = Descriptor.of(config, media_types.OCI_CONFIG)
            return make_manifest(media_types.OCI_MANIFEST, described, [layer]), config
        return self._appended(self.base, layer, config), config

    def _appended(self, base: Manifest, layer: Descriptor, config: bytes) -> Manifest:
        if base.media_type == media_types.DOCKER_MANIFEST:
            layer = replace(layer, media_type=_DOCKER_LAYERS[layer.media_type])
        assert base.config is not None
        document: dict[str, Any] = read_json_object(base.content)
        document["config"] = Descriptor.of(config, base.config.media_type).to_json()
        document["layers"] = [*(document.get("layers") or []), layer.to_json()]
        # What the base said of another manifest is not said by this one.
        document.pop("subject", None)
        made = parse_manifest(to_json_bytes(document), base.media_type)
        assert isinstance(made, Manifest)
        return made


def _history(said: Origination) -> dict[str, object]:
    return {"created": said.created, **({"comment": said.comment} if said.comment else {})}


def _diff_ids(config: Mapping[str, object]) -> list[object]:
    rootfs = config.get("rootfs") or {}
    if not isinstance(rootfs, dict):
        raise MalformedContent("the config of the base has a rootfs that is no object")
    return _listed(rootfs, "diff_ids")


def _listed(document: Mapping[str, object], key: str) -> list[object]:
    value = document.get(key) or []
    if not isinstance(value, list):
        raise MalformedContent(f"{key} in the config of the base is not a list")
    return value
