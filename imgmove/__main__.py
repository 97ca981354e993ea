"""``python -m imgmove``."""

from __future__ import annotations

from imgmove.cli.main import run

run()
