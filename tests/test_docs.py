"""The pages: what they point at exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
_TEST = re.compile(r"`(tests/[\w/]+\.py)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_points_at_exists(page: Path) -> None:
    text = page.read_text()
    missing = [name for name in _LINK.findall(text) if not (page.parent / name).exists()]
    missing += [name for name in _TEST.findall(text) if not (ROOT / name).exists()]
    assert not missing


def test_every_page_can_be_found_from_the_readme() -> None:
    pages = {path.name: path.read_text() for path in PAGES}
    for name in sorted(set(pages) - {"README.md"}):
        assert any(f"{name})" in text for other, text in pages.items() if other != name), name
