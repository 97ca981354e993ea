"""Asking the person at the terminal for what must not be typed into a command line."""

from __future__ import annotations

import os
import threading

_ONE_AT_A_TIME = threading.Lock()


def ask_secret(question: str) -> str | None:
    """Asks on the terminal, without showing what is typed; None where there is no terminal."""
    with _ONE_AT_A_TIME:
        try:
            os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        except OSError:
            return None
        import getpass

        from imgmove.cli.messages import clean

        try:
            return getpass.getpass(clean(question))
        except EOFError:
            return None
