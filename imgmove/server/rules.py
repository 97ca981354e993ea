"""What a registry insists on, beyond what the spec leaves no choice about."""

from __future__ import annotations

from dataclasses import dataclass

from imgmove.model.manifest import LARGEST_MANIFEST


@dataclass(frozen=True, slots=True)
class Rules:
    """The choices that the spec leaves to a registry.

    Attributes:
        checks_children: refuses a manifest whose config, layers or manifests are not here. Foreign layers and the
            subject may always be absent.
        largest_manifest: in bytes; the spec asks for at least 4 MiB.
        largest_page: entries of a list in one answer; the rest is linked.
        most_uploads: unfinished ones at a time, in all repositories.
        upload_seconds: after which an upload that nobody touched is forgotten.
    """

    checks_children: bool = True
    largest_manifest: int = LARGEST_MANIFEST
    largest_page: int = 10_000
    most_uploads: int = 1_000
    upload_seconds: float = 3_600.0
