"""What the processes do that the tests of kills start: little to import, so that they begin at once."""

from __future__ import annotations

from pathlib import Path

import imgmove
from imgmove.settings import Settings
from imgmove.settings.environment import Environment


def copy(source: str, destination: str, home: str) -> None:
    """Copies one image, with all files of the user's below ``home``, and leaves the file ``done`` there."""
    settings = Settings(Environment({"HOME": home, "XDG_CACHE_HOME": f"{home}/cache"}, home, home))
    with imgmove.Session(settings) as session:
        imgmove.copy(source, destination, session=session).raise_failures()
    (Path(home) / "done").touch()
