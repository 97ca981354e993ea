"""Imports paramiko in two thirds of the time: ``invoke``, which runs what ``Match exec`` says, waits until that is asked for."""

from __future__ import annotations

import sys
from typing import Any

_NAME = "invoke"


class _Late:
    """As much of ``invoke`` as paramiko uses."""

    def run(self, *arguments: Any, **named: Any) -> Any:
        """Runs a program."""
        import invoke

        return invoke.run(*arguments, **named)


def import_paramiko() -> None:
    """Imports it, unless somebody has."""
    if "paramiko" in sys.modules or _NAME in sys.modules:
        return
    # So an import fails, which paramiko is prepared for.
    modules: dict[str, Any] = sys.modules
    modules[_NAME] = None
    try:
        import paramiko.config
    finally:
        del modules[_NAME]
    vars(paramiko.config)[_NAME] = _Late()
