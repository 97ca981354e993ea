"""Rates and sizes as people write them."""

from __future__ import annotations

import re

from imgmove.errors import UsageError

_BYTES = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kKmMgGtT]?)(i?)[bB]?")


def parse_rate(text: str) -> int:
    """Bytes per second: ``500k``, ``20M`` and ``1.5G`` count in thousands as networks do, ``20Mi`` in 1024s.

    Raises:
        UsageError: not a rate.
    """
    return _bytes(text.strip().removesuffix("/s"), f"not a rate: {text!r:.40}")


def parse_size(text: str) -> int:
    """Bytes, written as in `parse_rate`.

    Raises:
        UsageError: not a size.
    """
    return _bytes(text.strip(), f"not a size: {text!r:.40}")


def _bytes(text: str, complaint: str) -> int:
    match = _BYTES.fullmatch(text)
    if not match:
        raise UsageError(complaint, hint="write it like 500k, 20M or 1.5G")
    number, unit, binary = match.groups()
    factor = (1024 if binary else 1000) ** ("kmgt".index(unit.lower()) + 1) if unit else 1
    return int(float(number) * factor)
