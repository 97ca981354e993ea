"""The export command as people meet it at a terminal, and as somebody who is not root."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rootfs.layers import Entry, folder, image_of, tar_of

IMGMOVE = (sys.executable, "-m", "imgmove", "export")
NOBODY = 65534
_AS_NOBODY = f"""
import os, sys
from imgmove.cli.main import main
# Once as root, as modules may lie where nobody else may look.
main([*sys.argv[1:-1], sys.argv[-1] + ".first"])
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder in which everybody may do everything; pytest's own are shut to others."""
    with tempfile.TemporaryDirectory(prefix="imgmove-test-") as path:
        os.chmod(path, 0o777)
        yield Path(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a program as somebody else")
def test_what_is_roots_alone_is_left_out_with_one_note(open_folder: Path, environment: dict[str, str]) -> None:
    environment = {**environment, "HOME": str(open_folder), "XDG_CACHE_HOME": str(open_folder)}
    tar = tar_of(
        Entry("file", text="content", mode=0o4750, pax={"uid": "1", "SCHILY.xattr.trusted.x": "y"}),
        folder("shut", mode=0o555),
        Entry("shut/in", text="inside"),
        Entry("device", "character"),
        Entry("same", "link", "device"),
    )
    place, tree = image_of(open_folder / "layout", tar), open_folder / "tree"
    words = [sys.executable, "-c", _AS_NOBODY, "export", place, "-C", str(tree)]
    ran = subprocess.run(words, capture_output=True, text=True, env=environment)
    why = "for want of rights or because the file system can't keep them"
    assert ran.stderr == f"imgmove: left out, {why}: the owners, 1 extended attributes, 2 devices\n"
    assert ran.returncode == 0
    assert sorted(os.listdir(tree)) == ["file", "shut"]
    assert (tree / "shut" / "in").read_text() == "inside"
    found = (tree / "file").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (NOBODY, 0o4750)
    assert stat.S_IMODE((tree / "shut").stat().st_mode) == 0o555


def test_a_tar_is_refused_on_a_terminal(tmp_path: Path, environment: dict[str, str]) -> None:
    place = image_of(tmp_path / "layout", tar_of(Entry("file", text="content")))
    ours, theirs = pty.openpty()
    try:
        for words in ((), ("-o", "-")):
            ran = subprocess.run([*IMGMOVE, place, *words], stdout=theirs, stderr=subprocess.PIPE, env=environment)
            assert ran.returncode == 2
            assert (
                ran.stderr == b"imgmove: a tar makes no sense on a terminal (redirect stdout, or name a file with -o)\n"
            )
        # What a terminal is told to show, it gives back behind what is still to be read.
        os.write(theirs, b"end")
        assert os.read(ours, 100) == b"end"
    finally:
        os.close(theirs)
        os.close(ours)
