"""The three standard streams: what becomes of those that were closed before we began, and what stdout can carry."""

from __future__ import annotations

import os
import sys

from imgmove.errors import UsageError


def replace_closed() -> None:
    """Gives what was closed (``>&-``) to nobody; no file or connection takes its number, where others would write to it."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open until the end


def check_carries(content: str) -> None:
    """Makes sure that stdout can carry content.

    Args:
        content: what it is, with its article.

    Raises:
        UsageError: it can't.
    """
    if sys.stdout.isatty():
        raise UsageError(f"{content} makes no sense on a terminal", hint="redirect stdout, or name a file with -o")
    # That of a redirection has no such name.
    if getattr(sys.stdout, "name", "") == os.devnull:
        raise UsageError(f"{content} has nowhere to go: stdout is closed", hint="redirect it, or name a file with -o")
