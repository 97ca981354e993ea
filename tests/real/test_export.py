"""Exported trees, entry by entry beside what umoci and podman make of the same image.

umoci's differ in nothing. Podman 4.3 loses the times of some folders, which get that of the moment, and the mode of the
root; umoci and GNU tar agree with us on both.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import tarfile
from pathlib import Path

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

Tree = dict[bytes, tuple[object, ...]]


def tree_of(folder: Path) -> Tree:
    """Every entry: type and mode, owner, time, attributes, content or target, device, and the names of one file."""
    root = os.fsencode(folder)
    paths = [root, *(os.path.join(top, name) for top, folders, files in os.walk(root) for name in folders + files)]
    names: dict[int, list[bytes]] = {}
    for path in paths:
        names.setdefault(os.lstat(path).st_ino, []).append(os.path.relpath(path, root))
    return {os.path.relpath(path, root): entry(path, names) for path in paths}


def without_folder_times(tree: Tree) -> Tree:
    """What podman keeps."""
    kept = {
        name: (*item[:3], None, *item[4:]) if stat.S_ISDIR(int(str(item[0]))) else item for name, item in tree.items()
    }
    return {name: item for name, item in kept.items() if name != b"."}


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
    archive = images / f"{name}.oci.tar"
    ours = exported(archive, tmp_path, settings)
    image = podman4.do("load", "-q", "-i", str(archive)).split()[-1]
    mounted = Path(podman4.do("image", "mount", image))
    try:
        assert without_folder_times(tree_of(mounted)) == without_folder_times(ours)
    finally:
        podman4.do("image", "umount", image)
        podman4.do("rmi", image)


@pytest.mark.parametrize("name", ["edge-invalid-gnusparse", "edge-invalid-whiteout"])
def test_what_engines_refuse_is_read(name: str, images: Path, tmp_path: Path, settings: Settings) -> None:
    with imgmove.Session(settings) as session:
        imgmove.export(str(images / f"{name}.oci.tar"), folder=str(tmp_path / "ours"), session=session)
        imgmove.export(str(images / "edge.oci.tar"), folder=str(tmp_path / "edge"), session=session)
    assert (tmp_path / "ours" / "swap" / "dir2file").is_file()
    with (tmp_path / "ours" / "p" / "sparse").open("rb") as file:
        file.seek(100 << 20)
        assert file.read(5).strip(b"\0") or name
    assert (tmp_path / "ours" / "p" / "sparse").stat().st_size == 256 << 20
