"""The story of docs/airgap.md, each of its commands in order, between two real registries."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgmove.endpoints.layout import Layout
from imgmove.wire.files import LocalFiles
from tests.airgap.conftest import BASE, noise
from tests.images import build_artifact, build_image
from tests.real.fixtures import RealRegistry, run_registry
from tests.real.test_readme import _sign

pytestmark = pytest.mark.real

STORY = Path(__file__).parents[2] / "docs" / "airgap.md"


@pytest.fixture
def far_registry(tmp_path: Path) -> Iterator[RealRegistry]:
    folder = tmp_path / "far-registry"
    folder.mkdir()
    with run_registry(folder) as registry:
        yield registry


def test_the_story(
    plain_registry: RealRegistry, far_registry: RealRegistry, environment: dict[str, str], tmp_path: Path
) -> None:
    layout = Layout.writable(LocalFiles(), str(tmp_path / "seed"))
    app, app2, tools = (build_image(layers) for layers in ([BASE, noise(2)], [BASE, noise(3)], [BASE, noise(4)]))
    app.put(layout, "team/app:1")
    app2.put(layout, "team/app:2")
    tools.put(layout, "base/tools:1")
    build_artifact(app.root).put(layout)
    _sign(app, tmp_path / "cosign.pub").put(layout, f"sha256-{app.root.digest.hex}.sig")
    near = f"{plain_registry.host}/story{os.getpid()}"
    command = [sys.executable, "-m", "imgmove", "load", "-q", "-i", str(tmp_path / "seed"), "--to", f"{near}/"]
    subprocess.run(command, check=True, env=environment)
    script = "\n".join(re.findall(r"```sh\n(.*?)```", STORY.read_text(), re.DOTALL))
    replaced = {
        "registry.example.com": near,
        "registry.example.org/mirror/team": f"{far_registry.host}/mirror/story{os.getpid()}/team",
        "registry.example.org": far_registry.host,
        "address)/team": f"address)/story{os.getpid()}/team",
        "imgmove ": f"{sys.executable} -m imgmove ",
    }
    for text, real in replaced.items():
        script = script.replace(text, real)
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "valid signature" in done.stdout
    assert "volume 2 of 3 is missing" in done.stdout
    assert (tmp_path / "approve.html").read_text().startswith("<!DOCTYPE html>")
