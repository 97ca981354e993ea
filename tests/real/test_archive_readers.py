"""Archives and layouts of every shape that we write, read by programs that share no code with us."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from imgmove.endpoints.archive import new_archive
from imgmove.endpoints.layout import Layout
from imgmove.ports import Outline, SequentialDestination
from imgmove.wire.files import LocalFiles
from tests.endpoints.archive.test_writer import outline_of
from tests.images import BuiltImage, build_artifact, build_image, build_index, put_blob
from tests.real.requirements import require

pytestmark = pytest.mark.real

FILES = LocalFiles()
ONE = build_image([{"one": b"1"}, {"shared": b"by both"}])
TWO = build_image([{"two": b"2"}, {"shared": b"by both"}])


def run(*words: str) -> str:
    require(words[0])
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def skopeo_inspect(location: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run("skopeo", "inspect", location))
    return document


def skopeo_copies(location: str, folder: Path) -> None:
    """All content of an image is read and checked."""
    run("skopeo", "--insecure-policy", "copy", "-q", location, f"dir:{folder}")


def archive_with(path: Path, *images: tuple[BuiltImage, str], is_whole: bool = True, compression: str = "none") -> None:
    archive = new_archive(FILES, str(path), compression)
    named = [(image, [name] if name else []) for image, name in images]
    archive.begin(outline_of(*named) if is_whole else Outline((), (), (), is_whole=False))
    if isinstance(archive, SequentialDestination):
        contents = {digest: content for image, _ in images for digest, content in image.blobs.items()}
        for blob in archive.order():
            put_blob(archive, blob, contents[blob.digest])
    for image, names in named:
        image.put(archive, *names)
    archive.finish()


@pytest.mark.parametrize("is_whole", [True, False])
def test_skopeo_finds_every_image_of_an_archive(is_whole: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    archive_with(path, (ONE, "app:1"), (TWO, "quay.io/team/app:2"), is_whole=is_whole)
    for image, name, full in (
        (ONE, "app:1", "docker.io/library/app:1"),
        (TWO, "quay.io/team/app:2", "quay.io/team/app:2"),
    ):
        assert skopeo_inspect(f"oci-archive:{path}:{name}")["Digest"] == str(image.root.digest)
        skopeo_copies(f"oci-archive:{path}:{name}", tmp_path / f"oci-{name[-1]}")
        assert len(skopeo_inspect(f"docker-archive:{path}:{full}")["Layers"]) == 2
        skopeo_copies(f"docker-archive:{path}:{full}", tmp_path / f"docker-{name[-1]}")


def test_skopeo_finds_its_platform_in_an_index(tmp_path: Path) -> None:
    archive_with(tmp_path / "x.tar", (build_index("linux/arm64", "linux/amd64"), "app:1"))
    assert skopeo_inspect(f"docker-archive:{tmp_path / 'x.tar'}")["Architecture"] == "amd64"
    raw = json.loads(run("skopeo", "inspect", "--raw", f"oci-archive:{tmp_path / 'x.tar'}"))
    assert len(raw["manifests"]) == 2


def test_other_programs_unpack_what_is_compressed_as_a_whole(tmp_path: Path) -> None:
    for compression in ("none", "gzip", "zstd"):
        archive_with(tmp_path / compression, (ONE, "app:1"), compression=compression)
    # GNU's, as Debian's skopeo 1.9 fails on any docker-archive that is gzipped, GNU's own output included.
    assert run("tar", "-tzf", str(tmp_path / "gzip")) == run("tar", "-tf", str(tmp_path / "none"))
    skopeo_copies(f"docker-archive:{tmp_path / 'zstd'}", tmp_path / "dir")


def test_tar_unpacks_a_layout_that_umoci_and_skopeo_take(tmp_path: Path) -> None:
    archive_with(tmp_path / "x.tar", (ONE, "app"), (build_artifact(ONE.root), ""))
    (tmp_path / "layout").mkdir()
    run("tar", "-xf", str(tmp_path / "x.tar"), "-C", str(tmp_path / "layout"))
    assert "app" in run("umoci", "ls", "--layout", str(tmp_path / "layout")).split()
    run("umoci", "unpack", "--rootless", "--image", f"{tmp_path / 'layout'}:app", str(tmp_path / "bundle"))
    assert (tmp_path / "bundle" / "rootfs" / "one").read_bytes() == b"1"
    skopeo_copies(f"oci:{tmp_path / 'layout'}:app", tmp_path / "dir")


def test_umoci_and_we_work_in_one_layout(tmp_path: Path) -> None:
    path = tmp_path / "layout"
    run("umoci", "init", "--layout", str(path))
    ONE.put(Layout.writable(FILES, str(path)), "one")
    run("umoci", "tag", "--image", f"{path}:one", "again")
    run("umoci", "new", "--image", f"{path}:empty")
    TWO.put(Layout.writable(FILES, str(path)), "two", "again")
    layout = Layout.existing(FILES, str(path))
    assert layout.resolve("one") == ONE.root
    assert layout.resolve("again").digest == TWO.root.digest
    assert sorted(run("umoci", "ls", "--layout", str(path)).split()) == ["again", "empty", "one", "two"]
    layout.delete_name("two")
    assert sorted(run("umoci", "ls", "--layout", str(path)).split()) == ["again", "empty", "one"]
    run("umoci", "unpack", "--rootless", "--image", f"{path}:again", str(tmp_path / "bundle"))


def test_what_skopeo_adds_to_our_layout_is_found(tmp_path: Path) -> None:
    path = tmp_path / "layout"
    ONE.put(Layout.writable(FILES, str(path)), "one")
    archive_with(tmp_path / "x.tar", (TWO, "app:2"))
    run("skopeo", "--insecure-policy", "copy", "-q", f"oci-archive:{tmp_path / 'x.tar'}", f"oci:{path}:two")
    layout = Layout.existing(FILES, str(path))
    assert [(item.descriptor.digest, item.names) for item in layout.images()] == [
        (ONE.root.digest, ("one",)),
        (TWO.root.digest, ("two",)),
    ]


def test_pythons_tarfile_sees_what_gnu_tar_sees(tmp_path: Path) -> None:
    archive_with(tmp_path / "x.tar", (build_index("linux/amd64", "linux/arm64", attested=True), "app:1"))
    listed = run("tar", "-tf", str(tmp_path / "x.tar")).split()
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "x.tar").read_bytes())) as archive:
        assert archive.getnames() == listed
