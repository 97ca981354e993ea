"""What ``mirror`` says before any pass begins."""

from __future__ import annotations

import json
from pathlib import Path

from imgmove.mirror.schema import json_schema
from tests.cli.conftest import Run


def test_the_command_line(imgmove: Run, tmp_path: Path) -> None:
    shown = imgmove("mirror", "--schema")
    assert shown.status == 0
    assert json.loads(shown.stdout) == json_schema()
    assert imgmove("mirror").status == 2
    assert imgmove("mirror", "none.yaml").status == 1
    (tmp_path / "mirror.yaml").write_text("version: 1\nmirrors:\n- {name: one}\n")
    wrong = imgmove("mirror", "mirror.yaml")
    assert (wrong.status, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("imgmove: mirror.yaml:3:3: mirrors lacks source")
