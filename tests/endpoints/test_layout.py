"""Layouts in folders: what is read leniently, what is refused, and that writers don't lose each other's work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from imgmove.endpoints.layout import Layout, looks_like_layout
from imgmove.endpoints.layout_reader import INDEX, MARKER, blob_path
from imgmove.errors import LocalError, MalformedContent, NotFound, SizeMismatch, UsageError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.streams import BytesReader
from imgmove.wire.files import LocalFiles
from tests.images import build_artifact, build_image, build_index, make_manifest_from, put_blob

FILES = LocalFiles()


def new(path: Path) -> Layout:
    return Layout.writable(FILES, str(path))


def content_of(layout: Layout, descriptor: Descriptor) -> bytes:
    with closing(layout.open(descriptor)) as reader:
        return reader.read()


def test_what_is_written_is_a_layout_by_the_spec(tmp_path: Path) -> None:
    image = build_image()
    image.put(new(tmp_path / "x"), "app:1")
    assert json.loads((tmp_path / "x" / MARKER).read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((tmp_path / "x" / INDEX).read_bytes())
    assert index["schemaVersion"] == 2
    assert index["mediaType"] == media_types.OCI_INDEX
    assert index["manifests"] == [
        {
            **image.root.to_json(),
            "annotations": {
                "org.opencontainers.image.ref.name": "app:1",
                "io.containerd.image.name": "docker.io/library/app:1",
            },
        }
    ]
    held = {path.name for path in (tmp_path / "x" / "blobs" / "sha256").iterdir()}
    assert held == {digest.hex for digest in (*image.blobs, image.root.digest)}


def test_writing_the_same_again_changes_nothing(tmp_path: Path) -> None:
    image, path = build_index("linux/amd64", "linux/arm64"), tmp_path / "x"
    image.put(new(path), "app:1")
    before = {name: name.read_bytes() for name in sorted(path.rglob("*")) if name.is_file()}
    image.put(new(path), "app:1")
    assert {name: name.read_bytes() for name in sorted(path.rglob("*")) if name.is_file()} == before


# --- what may lie at a path


def test_what_is_no_layout(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter.txt").touch()
    with pytest.raises(NotFound, match="no such folder"):
        Layout.existing(FILES, str(tmp_path / "none"))
    for name in ("file", "folder"):
        for opened in (Layout.existing, Layout.writable):
            with pytest.raises(UsageError, match=name):
                opened(FILES, str(tmp_path / name))
    assert os.listdir(tmp_path / "folder") == ["letter.txt"]
    assert not looks_like_layout(FILES, str(tmp_path / "folder"))


def test_a_layout_that_does_not_say_so(tmp_path: Path) -> None:
    image = build_image()
    image.put(new(tmp_path), "1")
    (tmp_path / MARKER).unlink()
    assert looks_like_layout(FILES, str(tmp_path))
    assert Layout.existing(FILES, str(tmp_path)).resolve("") == image.root


@pytest.mark.parametrize("marker", ['{"imageLayoutVersion":"2.0.0"}', "{}", '{"imageLayoutVersion":1}', "nonsense"])
def test_a_layout_of_another_version(marker: str, tmp_path: Path) -> None:
    build_image().put(new(tmp_path), "1")
    (tmp_path / MARKER).write_text(marker)
    for opened in (Layout.existing, Layout.writable):
        with pytest.raises(MalformedContent, match=str(tmp_path)):
            opened(FILES, str(tmp_path))


def test_an_empty_folder_becomes_a_layout(tmp_path: Path) -> None:
    layout = new(tmp_path)
    assert os.listdir(tmp_path) == [], "opening alone writes nothing"
    assert layout.find("1") is None
    build_image().put(layout, "1")
    assert layout.find("1") is not None


def test_blobs_behind_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "x" / "blobs").mkdir(parents=True)
    (tmp_path / "x" / "blobs" / "sha256").symlink_to(tmp_path / "store")
    image = build_image()
    image.put(new(tmp_path / "x"), "1")
    assert content_of(Layout.existing(FILES, str(tmp_path / "x")), image.root) == image.nodes[-1].content
    assert len(os.listdir(tmp_path / "store")) == len(image.blobs) + 1


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match="file"):
        build_image().put(new(tmp_path / "file" / "below"), "1")


# --- resolving


def test_names_and_digests(tmp_path: Path) -> None:
    one, two = build_image(), build_index("linux/amd64", "linux/arm64")
    layout = new(tmp_path)
    one.put(layout, "docker.io/library/app:1", "app:latest")
    two.put(layout, "2")
    assert layout.resolve("app:1") == one.root
    assert layout.resolve("2") == two.root
    child = two.nodes[0].descriptor
    assert layout.resolve(str(child.digest)) == child, "what an index names has a digest too"
    with pytest.raises(NotFound, match=r"has no app:3.*docker\.io/library/app:1, app:latest, 2"):
        layout.resolve("app:3")
    with pytest.raises(NotFound):
        layout.resolve(str(Digest.of(b"absent")))
    with pytest.raises(UsageError, match=r"2 images.*docker\.io/library/app:1, 2"):
        layout.resolve("")


def test_a_manifest_that_nothing_leads_to_any_more(tmp_path: Path) -> None:
    one, two = build_image(), build_image([{"two": b"2"}])
    layout = new(tmp_path)
    one.put(layout, "1")
    two.put(layout, "1")
    assert layout.resolve("") == two.root
    assert layout.resolve(str(one.root.digest)) == one.root


def test_an_empty_layout_holds_no_image(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text('{"schemaVersion":2,"manifests":[]}')
    with pytest.raises(NotFound, match="no image"):
        Layout.existing(FILES, str(tmp_path)).resolve("")


def test_what_is_absent_is_named(tmp_path: Path) -> None:
    layout = new(tmp_path)
    build_image().put(layout, "1")
    absent = Descriptor.of(b"absent", media_types.OCI_LAYER)
    with pytest.raises(NotFound, match=f"does not hold blob {absent.digest}"):
        layout.open(absent)


def test_an_index_that_another_program_changes_is_read_anew(tmp_path: Path) -> None:
    one, two = build_image(), build_image([{"two": b"2"}])
    reader = new(tmp_path)
    one.put(reader, "1")
    assert reader.resolve("1") == one.root
    two.put(new(tmp_path), "1")
    assert reader.resolve("1") == two.root


@pytest.mark.parametrize(
    "content", ["", "[]", '{"manifests":[{"digest":"sha256:../../etc/passwd","size":1}]}', "{" * 99]
)
def test_a_broken_index_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(MalformedContent, match=rf"oci:{tmp_path}: {INDEX}: "):
        Layout.existing(FILES, str(tmp_path)).resolve("")


# --- referrers


def test_every_way_to_refer_is_found(tmp_path: Path) -> None:
    layout, image = new(tmp_path), build_image()
    image.put(layout, "app:1")
    untagged, tagged, listed = (build_artifact(image.root, f"application/x-{number}") for number in range(3))
    signature = build_artifact(None, "application/x-signature")
    untagged.put(layout)
    tagged.put(layout, "sbom:1")
    tag = f"sha256-{image.root.digest.hex}"
    signature.put(layout, f"{tag}.sig")
    for digest, content in listed.blobs.items():
        put_blob(layout, Descriptor(media_types.OCTET_STREAM, digest, len(content)), content)
    layout.put_manifest(listed.nodes[0].content, media_types.OCI_MANIFEST, ())
    fallback = make_manifest_from(
        {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": [listed.root.to_json()]}
    )
    layout.put_manifest(fallback.content, fallback.media_type, [tag])
    found = {item.descriptor.digest: item.names for item in layout.referrers(image.root.digest)}
    assert found == {
        untagged.root.digest: (),
        tagged.root.digest: (),
        listed.root.digest: (),
        signature.root.digest: (f"{tag}.sig",),
    }
    assert [item.names for item in layout.images()] == [("app:1",), ("sbom:1",)]
    assert layout.referrers(signature.root.digest) == []


def test_a_referrer_that_comes_later_is_found(tmp_path: Path) -> None:
    layout, image = new(tmp_path), build_image()
    image.put(layout, "app:1")
    assert layout.referrers(image.root.digest) == []
    sbom = build_artifact(image.root)
    sbom.put(new(tmp_path))
    assert [item.descriptor for item in layout.referrers(image.root.digest)] == [sbom.root]


def test_a_fallback_tag_that_leads_to_the_image_itself(tmp_path: Path) -> None:
    layout, image = new(tmp_path), build_index("linux/amd64")
    image.put(layout, "app:1", f"sha256-{image.root.digest.hex}")
    assert image.root.digest not in {item.descriptor.digest for item in layout.referrers(image.root.digest)}


def test_a_root_that_is_not_there_does_not_hide_the_others(tmp_path: Path) -> None:
    layout, image = new(tmp_path), build_image()
    image.put(layout)
    document = json.loads((tmp_path / INDEX).read_bytes())
    document["manifests"].append(Descriptor.of(b"absent", media_types.OCI_MANIFEST).to_json())
    (tmp_path / INDEX).write_text(json.dumps(document))
    assert len(layout.images()) == 2
    assert layout.referrers(image.root.digest) == []


# --- writing


def test_a_blob_is_there_only_when_it_is_whole(tmp_path: Path) -> None:
    layout, descriptor = new(tmp_path), Descriptor.of(b"content", media_types.OCI_LAYER)
    writer = layout.put_blob(descriptor)
    writer.resume()
    writer.write(BytesReader(b"cont"))
    assert writer.resume() == 4
    with pytest.raises(SizeMismatch, match="4 bytes came instead of 7"):
        writer.commit(descriptor)
    assert not layout.has(descriptor)
    writer.write(BytesReader(b"ent"))
    writer.commit(descriptor)
    writer.commit(descriptor)
    writer.abort()
    assert layout.has(descriptor)
    assert content_of(layout, descriptor) == b"content"


def test_a_blob_whose_digest_shows_at_the_end(tmp_path: Path) -> None:
    layout, descriptor = new(tmp_path), Descriptor.of(b"content", media_types.OCI_LAYER)
    writer = layout.put_blob(None)
    writer.resume()
    writer.write(BytesReader(b"content"))
    writer.commit(descriptor)
    assert content_of(layout, descriptor) == b"content"
    assert os.listdir(tmp_path / "blobs" / "sha256") == [descriptor.digest.hex]


@pytest.mark.parametrize("is_known", [True, False])
def test_other_hashes_have_folders_of_their_own(is_known: bool, tmp_path: Path) -> None:
    layout = new(tmp_path)
    descriptor = Descriptor(media_types.OCI_LAYER, Digest.of(b"x", "sha512"), 1)
    writer = layout.put_blob(descriptor if is_known else None)
    writer.write(BytesReader(b"x"))
    writer.commit(descriptor)
    assert (tmp_path / blob_path(descriptor.digest)).read_bytes() == b"x"
    assert set(os.listdir(tmp_path / "blobs")) == ({"sha512"} if is_known else {"sha256", "sha512"})
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".imgmove-")]


def test_forgetting_names_and_manifests(tmp_path: Path) -> None:
    layout, one, two = new(tmp_path), build_image(), build_image([{"two": b"2"}])
    one.put(layout, "app:1", "app:latest")
    two.put(layout, "app:2")
    layout.delete_name("app:latest")
    assert [item.names for item in layout.images()] == [("app:1",), ("app:2",)]
    layout.delete_manifest(one.root.digest)
    assert [item.names for item in layout.images()] == [("app:2",)]
    assert layout.has(one.root), "blobs stay"
    forget: list[Callable[[], None]] = [
        lambda: layout.delete_name("app:1"),
        lambda: layout.delete_name(""),
        lambda: layout.delete_manifest(one.root.digest),
    ]
    for call in forget:
        with pytest.raises(NotFound):
            call()


NAMING = """
import sys
from imgmove.endpoints.layout import Layout
from imgmove.wire.files import LocalFiles

path, media_type, content, number = sys.argv[1:]
layout = Layout.writable(LocalFiles(), path)
for count in range(3):
    layout.put_manifest(content.encode(), media_type, [f"app{number}:{count}"])
"""


def test_twenty_processes_lose_no_name(tmp_path: Path) -> None:
    node = build_image().nodes[0]
    words = [sys.executable, "-c", NAMING, str(tmp_path / "x"), node.media_type, node.content.decode()]
    processes = [subprocess.Popen([*words, str(number)]) for number in range(20)]
    assert [process.wait(60) for process in processes] == [0] * 20
    layout = Layout.existing(FILES, str(tmp_path / "x"))
    names = {name for image in layout.images() for name in image.names}
    assert names == {f"app{number}:{count}" for number in range(20) for count in range(3)}
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".imgmove-")]
