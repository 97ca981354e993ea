"""An image as containerd lists it, and all that people call it by."""

from __future__ import annotations

import re
from dataclasses import dataclass

from imgmove.model.digest import Digest

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})")
_CERTAIN_ID = re.compile(r"sha256:.*|[0-9a-f]{64}")
_TAG = re.compile(r"(:[^/:@]*)?(@.*)?$")


def is_id(text: str) -> bool:
    """Whether it can't be the name of a repository."""
    return _CERTAIN_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class ContainerdRecord:
    """A record of an image; Kubernetes makes some that have the image's ID for a name."""

    name: str
    media_type: str
    digest: Digest

    def goes_by(self, text: str) -> bool:
        """Whether a digest, the beginning of an ID, or a repository with a digest means it."""
        if found := _ID.fullmatch(text):
            start = f"sha256:{found.group(1)}"
            return self.name.startswith(start) or str(self.digest).startswith(start)
        return text == f"{_TAG.sub('', self.name)}@{self.digest}"
