"""What a request is about, in the words in which tests count and disturb requests."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

_RESOURCES = {
    "version": re.compile(r"/v2/?"),
    "catalog": re.compile(r"/v2/_catalog"),
    "tags": re.compile(r"/v2/.+/tags/list"),
    "referrers": re.compile(r"/v2/.+/referrers/[^/]+"),
    "manifest": re.compile(r"/v2/.+/manifests/[^/]+"),
    "upload": re.compile(r"/v2/.+/blobs/uploads/.*"),
    "blob": re.compile(r"/v2/.+/blobs/[^/]+"),
    "token": re.compile(r"/token"),
}


def kind_of(method: str, path: str) -> str:
    """Such as ``GET blob``, ``PATCH upload``, ``HEAD manifest``, ``GET tags`` or ``POST token``."""
    resource = next((name for name, shape in _RESOURCES.items() if shape.fullmatch(path)), "other")
    return f"{method} {resource}"


def is_kind(method: str, path: str, pattern: str) -> bool:
    """Whether a request is of a kind, in which ``*`` stands for anything."""
    return fnmatchcase(kind_of(method, path), pattern)
