"""Platforms and the choice among them (OCI image spec, *Image Index*; containerd's matching order)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from imgmove.errors import MalformedContent, UsageError

_COMPONENT = re.compile(r"[A-Za-z0-9_.-]+")
_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "i386": "386",
    "i486": "386",
    "i586": "386",
    "i686": "386",
    "armhf": "arm",
    "armel": "arm",
    "armv6l": "arm",
    "armv7l": "arm",
    "armv8l": "arm",
    "loongarch64": "loong64",
}
_NAMED_VARIANTS = {"armhf": "v7", "armel": "v6", "armv6l": "v6", "armv7l": "v7", "armv8l": "v8"}
_VARIANT = re.compile(r"v?([0-9]{1,3})(?:\.([0-9]{1,2}))?")
_VERSION_STEP = 100
"""How much one version of a processor family weighs in a rank; more than any minor version can."""
_SYSTEMS = frozenset({"linux", "windows", "darwin", "macos", "freebsd"})
"""Which alone are no platform, while a processor alone is one of Linux."""
_DEFAULT_VARIANTS = {"arm": "v7", "arm64": "v8", "amd64": "v1"}


@dataclass(frozen=True, slots=True)
class Platform:
    """An operating system and processor that an image runs on."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Reads what a person types: ``linux/amd64``, ``linux/arm/v7``, or ``arm64`` alone for Linux.

        Raises:
            UsageError: not of that form.
        """
        if text.strip().lower() == "all":
            raise UsageError("all is not a platform", hint="where none is given, all of an index are taken")
        parts = text.strip().split("/")
        if len(parts) > 3 or text.strip().lower() in _SYSTEMS or not all(_COMPONENT.fullmatch(part) for part in parts):
            raise UsageError(f"not a platform: {text!r:.80}", hint="write it like linux/amd64 or linux/arm/v7")
        if len(parts) == 1:
            parts = ["linux", *parts]
        os, architecture = parts[0].lower(), parts[1].lower()
        variant = parts[2].lower() if len(parts) == 3 else _NAMED_VARIANTS.get(architecture, "")
        if os == "macos":
            os = "darwin"
        return cls(os, _ARCHITECTURES.get(architecture, architecture), variant)

    @classmethod
    def from_json(cls, value: object) -> Platform:
        """Reads the ``platform`` of a descriptor, or the same fields of an image config.

        Raises:
            MalformedContent: a field is of the wrong kind.
        """
        if not isinstance(value, dict):
            raise MalformedContent(f"a platform must be an object, not a {type(value).__name__}")
        features = value.get("os.features") or []
        if not isinstance(features, list) or not all(isinstance(item, str) for item in features):
            raise MalformedContent("a platform's os.features must be a list of texts")
        texts = [value.get(key) or "" for key in ("os", "architecture", "variant", "os.version")]
        if not all(isinstance(item, str) for item in texts):
            raise MalformedContent("a platform's fields must be texts")
        known = {"os", "architecture", "variant", "os.version", "os.features"}
        extra = {key: item for key, item in value.items() if key not in known}
        return cls(texts[0], texts[1], texts[2], texts[3], tuple(features), extra)

    def to_json(self) -> dict[str, object]:
        """The JSON form, with empty fields left out."""
        value: dict[str, object] = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            value["os.version"] = self.os_version
        if self.os_features:
            value["os.features"] = list(self.os_features)
        if self.variant:
            value["variant"] = self.variant
        return value | dict(self.extra)

    @property
    def is_known(self) -> bool:
        """False for ``unknown/unknown``, which marks attestations beside images."""
        return bool(self.os) and self.os != "unknown"

    def rank(self, offered: Platform) -> int | None:
        """How well ``offered`` serves a machine of this platform: 0 is exact, more is worse, None not at all.

        A newer processor runs images for older ones of its family (arm v7 runs v6 and v5, amd64 v3 runs v2 and
        v1), never the other way round.
        """
        if (self.os, self._normal_architecture()) != (offered.os, offered._normal_architecture()):
            return None
        if self.os_version and offered.os_version and not _same_release(self.os_version, offered.os_version):
            return None
        wanted, given = self._variant_version(), offered._variant_version()
        if wanted is None or given is None:
            return 0 if self._normal_variant() == offered._normal_variant() else None
        if given > wanted:
            return None
        return (wanted[0] - given[0]) * _VERSION_STEP + wanted[1] - given[1]

    def _normal_architecture(self) -> str:
        return _ARCHITECTURES.get(self.architecture, self.architecture)

    def _normal_variant(self) -> str:
        return self.variant or _DEFAULT_VARIANTS.get(self._normal_architecture(), "")

    def _variant_version(self) -> tuple[int, int] | None:
        match = _VARIANT.fullmatch(self._normal_variant())
        return (int(match.group(1)), int(match.group(2) or 0)) if match else None

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def as_platforms(given: str | Sequence[Platform | str]) -> tuple[Platform, ...]:
    """Platforms as values; texts may name several, with commas between them.

    Raises:
        UsageError: one is none.
    """
    items = [given] if isinstance(given, str) else given
    return tuple(
        platform
        for item in items
        for platform in ([Platform.parse(text) for text in item.split(",")] if isinstance(item, str) else [item])
    )


def _same_release(wanted: str, offered: str) -> bool:
    # Windows hosts run images of their own build number; the revision behind it does not matter.
    return offered.split(".")[:3] == wanted.split(".")[:3]
