"""Tests for what one command keeps in files."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import pytest

from imgmove.endpoints.temporary import Temporary
from imgmove.errors import LocalError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_files_and_folders_go_away_with_it(folder: Path) -> None:
    temporary = Temporary()
    path = Path(temporary.file(io.BytesIO(b"content"), "a thing's"))
    (Path(temporary.folder()) / "within").write_text("")
    assert path.parent == folder
    assert path.read_bytes() == b"content"
    temporary.close()
    assert list(folder.iterdir()) == []


def test_what_somebody_else_removed_keeps_nothing_else(folder: Path) -> None:
    temporary = Temporary()
    first, _ = (Path(temporary.file(io.BytesIO(b""), "a thing's")) for _ in range(2))
    first.unlink()
    temporary.close()
    assert list(folder.iterdir()) == []


def test_what_came_before_a_failure_goes_away_too(folder: Path) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(28, "No space left on device")

    temporary = Temporary()
    with pytest.raises(LocalError, match="a thing's content can't be kept in a temporary file: No space left"):
        temporary.file(Broken(), "a thing's")
    temporary.close()
    assert list(folder.iterdir()) == []


def test_no_room_for_folders_is_said(folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(LocalError, match="no temporary folder can be made"):
        Temporary().folder()
