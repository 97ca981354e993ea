"""``WWW-Authenticate``, as servers really send it (RFC 9110, section 11.6.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PART = re.compile(rf'\s*(?:,\s*)?({_WORD})(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?')
_LONGEST = 16 << 10


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way that a server offers.

    Attributes:
        scheme: in lower case: ``basic``, ``bearer`` or something else.
        parameters: by lower-case name.
    """

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(header: str) -> list[Challenge]:
    """The challenges in a header, in its order; what can't be read is passed over."""
    found: list[tuple[str, dict[str, str]]] = []
    text, position = header[:_LONGEST], 0
    while match := _PART.match(text, position):
        name, quoted, plain = match.groups()
        if quoted is None and plain is None:
            found.append((name.lower(), {}))
        elif found:
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            found[-1][1].setdefault(name.lower(), value or "")
        position = match.end()
    return [Challenge(scheme, parameters) for scheme, parameters in found]
