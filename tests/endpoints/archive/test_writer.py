"""Archives as files: two formats in one, the same each time, and only when all is there."""

from __future__ import annotations

import io
import json
import os
import random
import tarfile
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from imgmove.endpoints.archive import ArchiveFile, new_archive, open_archive
from imgmove.endpoints.layout_reader import blob_path
from imgmove.errors import LocalError, SizeMismatch, UsageError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.ports import NamedImage, Outline, Source
from imgmove.streams import BytesReader
from imgmove.wire.files import LocalFiles
from tests.images import BuiltImage, build_artifact, build_image, build_index, put_blob

FILES = LocalFiles()
NOTHING = Outline((), (), (), is_whole=False)


def blobs_of(image: BuiltImage) -> list[Descriptor]:
    return [Descriptor(media_types.OCTET_STREAM, digest, len(content)) for digest, content in image.blobs.items()]


def outline_of(*images: tuple[BuiltImage, Sequence[str]]) -> Outline:
    return Outline(
        tuple({blob.digest: blob for image, _ in images for blob in blobs_of(image)}.values()),
        tuple({node.descriptor.digest: node for image, _ in images for node in image.nodes}.values()),
        tuple(NamedImage(image.root, tuple(names)) for image, names in images),
        is_whole=True,
    )


def written(path: Path, *images: tuple[BuiltImage, Sequence[str]]) -> bytes:
    archive = ArchiveFile(FILES, str(path))
    archive.begin(outline_of(*images))
    for image, names in images:
        image.put(archive, *names)
    archive.finish()
    archive.close()
    return path.read_bytes()


def append(archive: ArchiveFile, content: bytes, *, commit: bool = True) -> None:
    writer = archive.put_blob(None)
    writer.resume()
    writer.write(BytesReader(content))
    if commit:
        writer.commit(Descriptor.of(content, media_types.OCTET_STREAM))
    writer.abort()


def content_of(source: Source, descriptor: Descriptor) -> bytes:
    with closing(source.open(descriptor)) as reader:
        return reader.read()


def names_in(content: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return archive.getnames()


def document(content: bytes, name: str) -> object:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        member = archive.extractfile(name)
        assert member
        return json.load(member)


def test_both_formats_are_in_it(tmp_path: Path) -> None:
    image = build_image([{"a": b"1"}, {"b": b"2"}])
    content = written(tmp_path / "x.tar", (image, ["app:1", "quay.io/x/app:1"]))
    assert document(content, "oci-layout") == {"imageLayoutVersion": "1.0.0"}
    assert document(content, "index.json") == {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_INDEX,
        "manifests": [
            {
                **image.root.to_json(),
                "annotations": {
                    "org.opencontainers.image.ref.name": name,
                    "io.containerd.image.name": full,
                },
            }
            for name, full in [("app:1", "docker.io/library/app:1"), ("quay.io/x/app:1", "quay.io/x/app:1")]
        ],
    }
    config, *layers = image.nodes[0].children
    assert document(content, "manifest.json") == [
        {
            "Config": blob_path(config.digest),
            "RepoTags": ["docker.io/library/app:1", "quay.io/x/app:1"],
            "Layers": [blob_path(layer.digest) for layer in layers],
        }
    ]


def test_its_front_tells_what_it_holds(tmp_path: Path) -> None:
    image = build_index("linux/amd64", "linux/arm64", attested=True)
    names = names_in(written(tmp_path / "x.tar", (image, ["app:1"])))
    assert names[:3] == ["oci-layout", "index.json", "manifest.json"]
    manifests = [blob_path(node.descriptor.digest) for node in image.nodes]
    assert names[3 : 3 + len(manifests)] == manifests
    assert len(names) == len(set(names)) == 3 + len(manifests) + len(image.blobs)


def test_a_referrer_is_listed_without_a_name(tmp_path: Path) -> None:
    image = build_image()
    sbom = build_artifact(image.root)
    content = written(tmp_path / "x.tar", (image, ["app:1"]), (sbom, []))
    index = document(content, "index.json")
    assert isinstance(index, dict)
    assert index["manifests"][1] == {**sbom.root.to_json(), "artifactType": "application/spdx+json"}
    assert len(document(content, "manifest.json")) == 1  # type: ignore[arg-type]
    assert "manifest.json" not in names_in(written(tmp_path / "y.tar", (build_artifact(), ["chart:1"])))


def test_the_same_image_makes_the_same_archive(tmp_path: Path) -> None:
    image = build_index("linux/amd64", "linux/arm64")
    first = written(tmp_path / "x.tar", (image, ["app:1"]))
    os.utime(tmp_path, (1, 1))
    assert written(tmp_path / "y.tar", (image, ["app:1"])) == first
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        about = {(item.mtime, item.uid, item.gid, item.uname, item.gname, item.mode) for item in archive}
    assert about == {(0, 0, 0, "", "", 0o644)}


def test_the_order_in_which_blobs_come_does_not_show(tmp_path: Path) -> None:
    image = build_image([{f"{number}": random.Random(number).randbytes(300_000)} for number in range(6)])
    expected = written(tmp_path / "x.tar", (image, ["app:1"]))
    archive = ArchiveFile(FILES, str(tmp_path / "y.tar"))
    archive.begin(outline_of((image, ["app:1"])))
    threads = [
        threading.Thread(target=put_blob, args=(archive, blob, image.blobs[blob.digest]))
        for blob in reversed(blobs_of(image))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    archive.finish()
    assert (tmp_path / "y.tar").read_bytes() == expected


def test_an_archive_replaces_what_lies_there_when_it_is_whole(tmp_path: Path) -> None:
    path, image = tmp_path / "x.tar", build_image()
    path.write_bytes(b"old")
    archive = ArchiveFile(FILES, str(path))
    archive.begin(outline_of((image, ["app:1"])))
    with pytest.raises(LocalError, match="2 blobs were not written"):
        archive.finish()
    archive.close()
    archive.close()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.tar"]
    written(path, (image, ["app:1"]))
    assert open_archive(FILES, str(path)).resolve("app:1") == image.root


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    for compression in ("none", "gzip"):
        with pytest.raises(UsageError, match="is a folder"):
            new_archive(FILES, str(tmp_path), compression)


def test_a_blob_keeps_to_its_place(tmp_path: Path) -> None:
    image = build_image()
    archive = ArchiveFile(FILES, str(tmp_path / "x.tar"))
    archive.begin(outline_of((image, ["app:1"])))
    blob = blobs_of(image)[0]
    writer = archive.put_blob(blob)
    with pytest.raises(SizeMismatch, match="longer"):
        writer.write(BytesReader(b"x" * (blob.size + 1)))
    with pytest.raises(SizeMismatch, match="0 bytes came"):
        writer.commit(blob)
    writer.abort()
    image.put(archive, "app:1")
    archive.finish()
    assert (tmp_path / "x.tar").read_bytes() == written(tmp_path / "y.tar", (image, ["app:1"]))


# --- what shows only while it is written


def test_blobs_whose_size_shows_at_the_end(tmp_path: Path) -> None:
    image = build_index("linux/amd64", "linux/arm64")
    archive = ArchiveFile(FILES, str(tmp_path / "x.tar"))
    archive.begin(NOTHING)
    for blob in blobs_of(image):
        writer = archive.put_blob(None)
        assert writer.resume() == 0
        writer.write(BytesReader(image.blobs[blob.digest]))
        writer.commit(blob)
        writer.commit(blob)
        writer.abort()
        assert archive.has(blob)
    image.put(archive, "app:1")
    archive.finish()
    content = (tmp_path / "x.tar").read_bytes()
    assert names_in(content)[-3:] == ["oci-layout", "index.json", "manifest.json"]
    source = open_archive(FILES, str(tmp_path / "x.tar"))
    assert source.resolve("app:1") == image.root
    for blob in blobs_of(image):
        assert content_of(source, blob) == image.blobs[blob.digest]


def test_nothing_shows_of_what_was_given_up_or_came_twice(tmp_path: Path) -> None:
    contents = [random.Random(number).randbytes(2000) for number in range(3)]
    made = []
    for name, is_clumsy in (("x.tar", False), ("y.tar", True)):
        archive = ArchiveFile(FILES, str(tmp_path / name))
        archive.begin(NOTHING)
        for content in contents:
            if is_clumsy:
                append(archive, content + b"junk" * 1000, commit=False)
                append(archive, content)
            append(archive, content)
        archive.finish()
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]
    assert made[0].endswith(bytes(1024))


def test_two_blobs_at_the_end_wait_for_each_other(tmp_path: Path) -> None:
    contents = [random.Random(number).randbytes(700_000) for number in range(4)]
    archive = ArchiveFile(FILES, str(tmp_path / "x.tar"))
    archive.begin(NOTHING)

    threads = [threading.Thread(target=append, args=(archive, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    image = build_image()
    image.put(archive, "app:1")
    archive.finish()
    source = open_archive(FILES, str(tmp_path / "x.tar"))
    for content in contents:
        assert content_of(source, Descriptor.of(content, media_types.OCTET_STREAM)) == content


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 300_000])
def test_a_name_that_needs_a_longer_header(size: int, tmp_path: Path) -> None:
    content = random.Random(1).randbytes(size)
    blob = Descriptor(media_types.OCTET_STREAM, Digest.of(content, "sha512"), size)
    made = []
    for name, outline in (("x.tar", NOTHING), ("y.tar", Outline((blob,), (), (), is_whole=True))):
        archive = ArchiveFile(FILES, str(tmp_path / name))
        archive.begin(outline)
        writer = archive.put_blob(blob if outline.is_whole else None)
        writer.resume()
        writer.write(BytesReader(content))
        writer.commit(blob)
        archive.finish()
        with tarfile.open(tmp_path / name) as tar:
            member = tar.extractfile(f"blobs/sha512/{blob.digest.hex}")
            assert member
            made.append(member.read())
    assert made == [content, content]
