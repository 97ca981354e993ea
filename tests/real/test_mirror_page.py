"""The report's page in a real browser: nothing to complain about, and the figures of the JSON report."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import pytest

from imgmove.mirror.page import page_parts
from imgmove.mirror.report import MirrorSummary, PassReport
from imgmove.mirror.state import PastPass
from imgmove.mirror.work import Action, Failure, Record
from tests.real.requirements import require

pytestmark = pytest.mark.real

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOSTILE = '<script>console.error("no")</script><img src=x onerror="console.error(1)">'


@pytest.fixture
def report() -> PassReport:
    """One with everything in it, and names as an evil registry would have them."""

    def record(number: int, action: Action, failure: Failure | None = None) -> Record:
        made = Record("app", f"r.io/app:{number}", f"q.io/app:{number}", action, reason=HOSTILE)
        made.digest, made.bytes_sent = "sha256:" + f"{number:064x}", 1000 * number
        if failure is not None:
            made.status, made.failure = "failed", failure
        return made

    counts: dict[Action, int] = {"copy": 3, "update": 2, "keep": 7, "prune": 1}
    actions = [action for action, count in counts.items() for _ in range(count)]
    records = [record(number, action) for number, action in enumerate(actions)]
    records += [record(100 + number, "copy", Failure(f"source: {HOSTILE}")) for number in range(4)]
    mirror = MirrorSummary("app", "r.io/app", "q.io/app", 1, 17, [HOSTILE], [Failure("no list")])
    days = [BEGAN - timedelta(days=number) for number in range(300, -1, -1)]
    history = [
        PastPass(day.timestamp(), 1.0, 17, 1, 0, 10, 1_000_000 + 50_000 * number) for number, day in enumerate(days)
    ]
    return PassReport(
        "/etc/mirror.yaml", BEGAN, False, 12.34, [mirror], records, 123_456, 16_000_000, [Failure("hook")], history
    )


def opened(page: Path, home: Path) -> tuple[str, list[str]]:
    """The document as Chromium built it, and what its console said."""
    require("chromium")
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={home}"]
    done = subprocess.run(
        ["chromium", *words, "--enable-logging=stderr", "--log-level=0", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def figure(document: str, name: str) -> int:
    found = re.search(rf'<b id="{name}"(?: data-bytes="(\d+)")?>([^<]*)</b>', document)
    assert found, name
    return int(found.group(1) or found.group(2))


def test_the_page_in_chromium(report: PassReport, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("".join(page_parts(report)))
    document, complaints = opened(page, tmp_path / "home")
    assert complaints == []
    totals = json.loads("\n".join(report.json_lines()))["totals"]
    for name in ("copied", "updated", "pruned", "kept", "failed", "bytes_sent", "bytes_total"):
        assert figure(document, name) == totals[name], name
    changes = document[document.index('id="changes"') : document.index('id="mirrors"')]
    assert changes.count("<tr>") - 1 == totals["copied"] + totals["updated"] + totals["pruned"]
    columns = [
        int(cell) for cell in re.findall(r'<td class="number">(\d+)</td>', document[document.index('id="mirrors"') :])
    ]
    assert columns == [1, *(totals[name] for name in ("copied", "updated", "pruned", "kept", "failed"))]
    assert document.count('class="tag-error"') == totals["failed"]
    assert document.count('class="mirror-error"') == document.count('class="hook-error"') == 1
    assert document.count("<circle") == 101
    assert "<script>" not in document
    assert HOSTILE in unescape(document)
    assert "object at 0x" not in document
    # Self-contained: nothing is fetched from anywhere.
    assert not re.findall(r'(?:src|href)="(?!data:)', document.replace("&lt;img src", ""))


def test_a_complaint_would_be_heard(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text('<script>console.error("heard")</script>')
    assert "heard" in str(opened(page, tmp_path / "home")[1])
