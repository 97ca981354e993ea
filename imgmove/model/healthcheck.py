"""Dockerfile's HEALTHCHECK: a command that tells whether a container still works, and when it is run."""

from __future__ import annotations

import re
from collections.abc import Sequence

from imgmove.errors import UsageError
from imgmove.model.dockerfile import Instruction, read_list

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_SHORTEST_DURATION = 1_000_000
_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}
_MOST_RETRIES = 2**31 - 1


def read_healthcheck(instruction: Instruction) -> dict[str, object]:
    """What a HEALTHCHECK says, as docker's image configs hold it; times are in nanoseconds.

    Raises:
        UsageError: it is malformed.
    """
    kind, *rest = instruction.arguments.split(maxsplit=1) or [""]
    arguments = rest[0] if rest else ""
    if kind.upper() == "NONE":
        if arguments or instruction.flags:
            raise UsageError("HEALTHCHECK NONE takes nothing else")
        return {"Test": ["NONE"]}
    if kind.upper() != "CMD":
        raise UsageError(f"HEALTHCHECK takes CMD or NONE, not {kind!r:.40}")
    listed = read_list(arguments)
    command = ["CMD-SHELL", arguments] if listed is None else ["CMD", *listed]
    if command in (["CMD"], ["CMD-SHELL", ""]):
        raise UsageError("HEALTHCHECK CMD needs a command")
    return {"Test": command, **_health_options(instruction.flags)}


def _health_options(flags: Sequence[str]) -> dict[str, int]:
    options: dict[str, int] = {}
    for flag in flags:
        name, equals, value = flag.removeprefix("--").partition("=")
        key = _TIMES.get(name) or ("Retries" if name == "retries" else "")
        if not key:
            raise UsageError(f"HEALTHCHECK has no option --{name:.40}", hint=f"there are {', '.join(_TIMES)}, retries")
        if not equals or key in options:
            raise UsageError(f"HEALTHCHECK takes --{name}=VALUE once")
        options[key] = _retries(value) if name == "retries" else _duration(value, name)
    return {key: value for key, value in options.items() if value}


def _retries(text: str) -> int:
    if text and (not text.isascii() or not text.isdigit() or not 1 <= int(text[:11]) <= _MOST_RETRIES):
        raise UsageError(f"--retries must be a number of at least 1, not {text!r:.40}")
    return int(text or "0")


def _duration(text: str, option: str) -> int:
    """Nanoseconds of what Go calls a duration: ``30s``, ``1m30s``, ``1.5h``."""
    parts = list(_DURATION.finditer(text))
    if text in ("", "0"):
        return 0
    if "".join(part.group() for part in parts) != text:
        raise UsageError(f"--{option} takes a time such as 30s or 1m30s, not {text!r:.40}")
    total = sum(int(float(part.group(1)) * _NANOSECONDS[part.group(2)]) for part in parts)
    if 0 < total < _SHORTEST_DURATION or total >= 1 << 63:
        raise UsageError(f"--{option} can't be {text}", hint="a thousandth of a second is the least")
    return total
