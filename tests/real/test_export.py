"""Exported trees, entry by entry beside what umoci and podman make of the same image.

umoci's differ in nothing. Podman 4.3 gives the five folders below the time of the moment, and makes the root 0555; umoci
and GNU tar agree with us on both, and so do the layers, which have all of these folders.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import tarfile
import time
from pathlib import Path
from typing import cast

import pytest

import imgmove
from imgmove.settings import Settings
from tests.real.engines import RealEngine
from tests.real.requirements import require

pytestmark = [
    pytest.mark.real,
    pytest.mark.xdist_group("engines"),
    pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices are root's"),
]

TIMES_LOST_BY_PODMAN = {b".", b"links", b"links/d", b"perms", b"xattr"}

SPARSE_FILES = [
    "725aef3f54c1b990ca2643427dfd8c36ae965aa2cdde82cbd8b101484ab43a88",
    "5ea90d55a87f2b2b61d55753267ffcab3c18d90c405d1be032c565c11758627d",
]
"""Hashes of the content of g/sparse and p/sparse, which GNU tar wrote."""

Tree = dict[bytes, tuple[object, ...]]


def tree_of(folder: Path) -> Tree:
    """Every entry: type and mode, owner, time, attributes, content or target, device, and the names of one file."""
    root = os.fsencode(folder)
    paths = [root, *(os.path.join(top, name) for top, folders, files in os.walk(root) for name in folders + files)]
    names: dict[int, list[bytes]] = {}
    for path in paths:
        names.setdefault(os.lstat(path).st_ino, []).append(os.path.relpath(path, root))
    return {os.path.relpath(path, root): entry(path, names) for path in paths}


def as_podman_tells(tree: Tree) -> Tree:
    """Without what podman is wrong about."""
    told = {name: (*item[:3], None, *item[4:]) if name in TIMES_LOST_BY_PODMAN else item for name, item in tree.items()}
    return {name: (None, *item[1:]) if name == b"." else item for name, item in told.items()}


def without_times(tree: Tree) -> Tree:
    """For images that were built at different moments."""
    return {name: (*item[:3], None, *item[4:]) for name, item in tree.items()}


def entry(path: bytes, names: dict[int, list[bytes]]) -> tuple[object, ...]:
    found = os.lstat(path)
    content: object = None
    if stat.S_ISREG(found.st_mode):
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    elif stat.S_ISLNK(found.st_mode):
        content = os.readlink(path)
    elif stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
        content = found.st_rdev
    xattrs = {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in os.listxattr(path, follow_symlinks=False)
        if not name.startswith("trusted.overlay")
    }
    return (
        *(found.st_mode, found.st_uid, found.st_gid, found.st_mtime_ns, xattrs, content),
        sorted(names[found.st_ino]),
    )


def exported(archive: Path, folder: Path, settings: Settings) -> Tree:
    """What `-C` makes, which is what GNU tar makes of the tar too."""
    with imgmove.Session(settings) as session:
        imgmove.export(str(archive), folder=str(folder / "ours"), session=session)
        imgmove.export(str(archive), str(folder / "ours.tar"), session=session)
    (folder / "gnu").mkdir()
    words = ("tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--delay-directory-restore", "-xpf")
    subprocess.run([*words, str(folder / "ours.tar"), "-C", str(folder / "gnu")], check=True, capture_output=True)
    ours = tree_of(folder / "ours")
    assert tree_of(folder / "gnu") == ours
    return ours


@pytest.mark.parametrize("name", ["edge", "edge-sparse"])
def test_as_umoci_unpacks(name: str, images: Path, tmp_path: Path, settings: Settings) -> None:
    require("umoci")
    archive = images / f"{name}.oci.tar"
    ours = exported(archive, tmp_path, settings)
    with tarfile.open(archive) as layout:
        layout.extractall(tmp_path / "layout", filter="data")
    words = ("umoci", "unpack", "--image", f"{tmp_path / 'layout'}:latest", str(tmp_path / "bundle"))
    subprocess.run(words, check=True, capture_output=True)
    assert ours == tree_of(tmp_path / "bundle" / "rootfs")


@pytest.mark.parametrize("name", ["edge", "edge-sparse"])
def test_as_podman_mounts(name: str, images: Path, tmp_path: Path, settings: Settings, podman4: RealEngine) -> None:
    archive, began = images / f"{name}.oci.tar", time.time_ns()
    ours = exported(archive, tmp_path, settings)
    image = podman4.do("load", "-q", "-i", str(archive)).split()[-1]
    mounted = Path(podman4.do("image", "mount", image))
    try:
        theirs = tree_of(mounted)
        assert as_podman_tells(theirs) == as_podman_tells(ours)
        # What is passed over is wrong in no other way than it is said to be.
        assert all(cast("int", theirs[folder][3]) > began for folder in TIMES_LOST_BY_PODMAN)
        assert theirs[b"."][0] == stat.S_IFDIR | 0o555
    finally:
        podman4.do("image", "umount", image)
        podman4.do("rmi", image)


def test_old_sparse_files_that_engines_refuse(images: Path, tmp_path: Path, settings: Settings) -> None:
    ours = exported(images / "edge-invalid-gnusparse.oci.tar", tmp_path, settings)
    # The same layers, but with that file in the form of pax.
    with imgmove.Session(settings) as session:
        imgmove.export(str(images / "edge-sparse.oci.tar"), folder=str(tmp_path / "pax"), session=session)
    assert without_times(ours) == without_times(tree_of(tmp_path / "pax"))


def test_whiteouts_that_engines_refuse(images: Path, tmp_path: Path, settings: Settings) -> None:
    ours = exported(images / "edge-invalid-whiteout.oci.tar", tmp_path, settings)
    with imgmove.Session(settings) as session:
        imgmove.export(str(images / "edge.oci.tar"), folder=str(tmp_path / "edge"), session=session)
    added = {name: ours.pop(name) for name in (b"g/sparse", b"p/sparse")}
    assert [item[5] for item in added.values()] == SPARSE_FILES
    assert without_times(ours) == without_times(tree_of(tmp_path / "edge"))
