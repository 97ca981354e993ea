"""What names, tags and digests may look like (OCI distribution spec, *Pulling manifests*)."""

from __future__ import annotations

import re

from imgmove.errors import MalformedContent
from imgmove.model.digest import Digest
from imgmove.server.exchange import Refusal

_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_LONGEST_NAME = 255


def check_name(name: str) -> str:
    """The name of a repository, as it came.

    Raises:
        Refusal: NAME_INVALID.
    """
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise Refusal(400, "NAME_INVALID", f"{name!r:.80} is no name for a repository")
    return name


def is_tag(reference: str) -> bool:
    """Whether it may be a tag."""
    return _TAG.fullmatch(reference) is not None


def is_digest(reference: str) -> bool:
    """Whether it is meant as a digest; it may still be a wrong one."""
    return ":" in reference


def parse_digest(text: str) -> Digest:
    """The digest that a request names.

    Raises:
        Refusal: DIGEST_INVALID.
    """
    try:
        return Digest.parse(text)
    except MalformedContent as error:
        raise Refusal(400, "DIGEST_INVALID", error.message) from None
