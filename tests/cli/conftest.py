"""The command line in this process, as somebody without any files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from imgmove.cli.main import main


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it said."""

    status: int
    stdout: str
    stderr: str


Run = Callable[..., Ran]


@pytest.fixture
def imgmove(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str], environment: dict[str, str]
) -> Run:
    """Runs a command line in a folder of its own."""
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, environment[name])
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Ran:
        status = main([str(word) for word in words])
        said = capfd.readouterr()
        return Ran(status, said.out, said.err)

    return run
