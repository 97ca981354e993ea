from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgmove.errors import ConfigError, LocalError
from imgmove.settings.user_file import read_file, replace_json_object


def test_a_file_far_too_large(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(8 * 1024 * 1024 + 1)
    with pytest.raises(ConfigError, match="larger than 8 MiB"):
        read_file(str(path))


def test_a_failed_replacement_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    path.write_text("before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LocalError, match=r"config\.json cannot be written: no space left on device"):
        replace_json_object(str(path), {"auths": {}})
    assert os.listdir(tmp_path) == ["config.json"]
    assert path.read_text() == "before"
