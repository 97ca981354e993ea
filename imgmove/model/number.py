"""Reads decimal numbers out of texts that others wrote.

``int()`` is too generous for them (signs, blanks, other scripts' digits) and raises for very long ones.
"""

from __future__ import annotations

_MOST_DIGITS = 18
"""So many always fit into 64 bits."""


def read_decimal(text: str | None) -> int | None:
    """A number of at most 18 ASCII digits; None for no text and for any other."""
    if not text or len(text) > _MOST_DIGITS or not text.isascii() or not text.isdigit():
        return None
    return int(text)
