"""A root file system out of an image and into one again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_what_goes_in_comes_out(compression: str, imgmove: Run, images: Path, tmp_path: Path) -> None:
    edge = f"oci-archive:{images / 'edge.oci.tar'}"
    assert imgmove("export", edge, "-o", "one.tar").status == 0
    assert imgmove("import", "one.tar", "oci:out:1", "--compression", compression).status == 0
    assert imgmove("export", "oci:out:1", "-o", "two.tar").status == 0
    assert (tmp_path / "two.tar").read_bytes() == (tmp_path / "one.tar").read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can unpack owners and devices")
def test_a_folder_that_was_unpacked(imgmove: Run, images: Path, tmp_path: Path) -> None:
    edge = f"oci-archive:{images / 'edge.oci.tar'}"
    assert imgmove("export", edge, "-C", "one").status == 0
    assert imgmove("import", "one", "oci:out:1").status == 0
    assert imgmove("export", "oci:out:1", "-C", "two").status == 0
    assert imgmove("import", "two", "oci:out:2").status == 0
    config = [imgmove("inspect", "--json", f"oci:out:{number}").stdout for number in (1, 2)]
    layers = [text.partition('"diff_ids"')[2].partition("]")[0] for text in config]
    assert layers[0]
    assert layers[0] == layers[1]
