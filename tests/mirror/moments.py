"""Points in time for tests."""

from __future__ import annotations

from datetime import UTC, datetime

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
