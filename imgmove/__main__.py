"""``python -m imgmove``."""

from __future__ import annotations

import sys

from imgmove.cli.main import main

sys.exit(main())
