"""Archives in files: every format that engines wrote, compressed or not, and what is wrong with broken ones."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from imgmove.endpoints.archive import Archive, looks_like_archive, open_archive, reader
from imgmove.errors import ImgmoveError, LocalError, MalformedContent, NotFound, Truncated, UsageError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest, Node, parse_manifest, to_json_bytes
from imgmove.ports import ManifestMaker, Reader
from imgmove.wire.files import LocalFiles
from tests.endpoints.archive.tars import Item, docker_items, layout_items, symlink, tar_with
from tests.images import build_image, build_index, tar_of

FILES = LocalFiles()
LAYERS = [tar_of({"a": b"1"}), tar_of({"b": b"2" * 9000})]
CONFIG = to_json_bytes(
    {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer)) for layer in LAYERS]},
    }
)


def opened(path: Path, *items: Item) -> Archive:
    path.write_bytes(tar_with(*items))
    return open_archive(FILES, str(path))


def content_of(archive: Archive, descriptor: Descriptor) -> bytes:
    with closing(archive.open(descriptor)) as reader:
        return reader.read()


def manifest_of(archive: Archive, descriptor: Descriptor) -> Manifest:
    node: Node = parse_manifest(content_of(archive, descriptor))
    assert isinstance(node, Manifest)
    return node


def docker(
    names: Sequence[str], contents: Sequence[bytes] = LAYERS, tags: Sequence[str] | None = ("app:1",)
) -> list[Item]:
    return docker_items(CONFIG, list(zip(names, contents, strict=True)), tags)


# --- with an index


def test_a_layout_in_a_tar(tmp_path: Path) -> None:
    image = build_index("linux/amd64", "linux/arm64")
    archive = opened(tmp_path / "x.tar", *layout_items(image, "app:1"))
    assert [(item.descriptor, item.names) for item in archive.images()] == [(image.root, ("app:1",))]
    for node in image.nodes:
        assert content_of(archive, node.descriptor) == node.content
        assert not archive.is_made_up(node.descriptor.digest)
    for digest, content in image.blobs.items():
        assert content_of(archive, Descriptor(media_types.OCI_LAYER, digest, len(content))) == content


def test_the_index_is_believed_before_dockers_manifest(tmp_path: Path) -> None:
    image = build_image()
    wrong = Item("manifest.json", b'[{"Config": "none", "RepoTags": ["wrong:1"], "Layers": null}]')
    assert opened(tmp_path / "x.tar", wrong, *layout_items(image, "app:1")).resolve("") == image.root


@pytest.mark.parametrize("index", [b'{"schemaVersion":2,"manifests":null}', b'{"schemaVersion":2,"manifests":[]}'])
def test_an_empty_index_leaves_it_to_dockers_manifest(index: bytes, tmp_path: Path) -> None:
    archive = opened(tmp_path / "x.tar", *docker(["1.tar", "2.tar"]), Item("index.json", index))
    assert [item.names for item in archive.images()] == [("app:1",)]
    with pytest.raises(UsageError, match="index.json is empty"):
        opened(tmp_path / "y.tar", Item("index.json", index))


def test_an_archive_of_another_version(tmp_path: Path) -> None:
    items = [item for item in layout_items(build_image()) if item.name != "oci-layout"]
    opened(tmp_path / "x.tar", *items)
    with pytest.raises(MalformedContent, match="unknown version '3'"):
        opened(tmp_path / "y.tar", *items, Item("oci-layout", b'{"imageLayoutVersion":"3"}'))


# --- docker's own format


@pytest.mark.parametrize("reverse", [False, True])
def test_a_docker_archive_gets_a_manifest(reverse: bool, tmp_path: Path) -> None:
    items = docker(["1/layer.tar", "2/layer.tar"])
    archive = opened(tmp_path / "x.tar", *(reversed(items) if reverse else items))
    root = archive.resolve("app:1")
    manifest = manifest_of(archive, root)
    assert isinstance(archive, ManifestMaker)
    assert archive.is_made_up(root.digest)
    assert manifest.children == (
        Descriptor.of(CONFIG, media_types.OCI_CONFIG),
        *(Descriptor.of(layer, media_types.OCI_LAYER) for layer in LAYERS),
    )
    assert [content_of(archive, child) for child in manifest.children] == [CONFIG, *LAYERS]


def test_layers_behind_links(tmp_path: Path) -> None:
    plain = opened(tmp_path / "x.tar", *docker(["1.tar", "2.tar"])).resolve("")
    items = docker(["1/layer.tar", "2/layer.tar"])
    linked = [
        symlink("1/layer.tar", "../one.tar"),
        Item("one.tar", LAYERS[0]),
        Item("two.tar", LAYERS[1]),
        symlink("2/layer.tar", "../two.tar"),
        *items[2:],
    ]
    assert opened(tmp_path / "y.tar", *linked).resolve("") == plain


@pytest.mark.parametrize(
    ("pack", "kind"),
    [
        (lambda content: gzip.compress(content, mtime=0), media_types.OCI_LAYER_GZIP),
        (zstandard.ZstdCompressor().compress, media_types.OCI_LAYER_ZSTD),
    ],
)
def test_layers_that_are_compressed_stay_so(pack: Callable[[bytes], bytes], kind: str, tmp_path: Path) -> None:
    packed = [pack(layer) for layer in LAYERS]
    archive = opened(tmp_path / "x.tar", *docker(["1.tar.gz", "2.tar.gz"], packed))
    layers = manifest_of(archive, archive.resolve("")).layers
    assert layers == tuple(Descriptor.of(content, kind) for content in packed)
    assert [content_of(archive, layer) for layer in layers] == packed


def test_images_share_layers_and_names_differ(tmp_path: Path) -> None:
    one = json.loads(docker(["1.tar", "2.tar"])[-1].content)
    other_config = CONFIG.replace(b"amd64", b"arm64")
    two = {"Config": "other.json", "RepoTags": None, "Layers": ["1.tar", "2.tar"]}
    items = [*docker(["1.tar", "2.tar"])[:-1], Item("other.json", other_config)]
    archive = opened(tmp_path / "x.tar", *items, Item("manifest.json", json.dumps([*one, two]).encode()))
    assert [item.names for item in archive.images()] == [("app:1",), ()]
    with pytest.raises(UsageError, match="2 images"):
        archive.resolve("")


class CountedFiles(LocalFiles):
    """Notes what is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = 0

    def open(self, path: str, offset: int = 0) -> Reader:
        self.opened += 1
        return super().open(path, offset)


def test_many_images_of_the_same_content_cost_no_more_than_their_names(tmp_path: Path) -> None:
    packed = [gzip.compress(layer, mtime=0) for layer in LAYERS]
    items = docker(["1.tar.gz", "2.tar.gz"], packed)
    (entry,) = json.loads(items[-1].content)
    counts = []
    for count in (5, 50):
        entries = [{**entry, "RepoTags": [f"app:{number}"]} for number in range(count)]
        manifest = Item("manifest.json", json.dumps(entries).encode())
        (tmp_path / "x.tar").write_bytes(tar_with(*items[:-1], manifest))
        files = CountedFiles()
        archive = open_archive(files, str(tmp_path / "x.tar"))
        counts.append(files.opened)
        for number in range(count):
            archive.resolve(f"app:{number}")
        assert files.opened == counts[-1], "what an archive lists is read once"
        content_of(archive, Descriptor.of(CONFIG, media_types.OCI_CONFIG))
        assert files.opened == counts[-1] + 1, "configs stay in the file"
    assert counts[1] - counts[0] == 45 * 3, "a config and the beginnings of two layers; these are hashed once"


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (docker(["1.tar", "2.tar"])[1:], r"names '1\.tar', which is not there"),
        ([item for item in docker(["1.tar", "2.tar"]) if item.name != "config.json"], r"names 'config\.json'"),
        (docker(["1.tar"], LAYERS[:1]), "app:1 has 1 layers, but its config has 2"),
        ([*docker(["1.tar", "2.tar"])[:-1], Item("manifest.json", b"{")], "not valid JSON"),
        (docker(["1.tar", "2.tar"], [LAYERS[0], bz2.compress(LAYERS[1])]), "compressed with bzip2"),
        (docker_items(b"not JSON", [], ["app:1"]), "not valid JSON"),
        (docker_items(b'{"rootfs":{"diff_ids":["sha256:x"]}}', [("1.tar", LAYERS[0])], None), "not a .*digest"),
    ],
)
def test_a_docker_archive_that_contradicts_itself(items: list[Item], message: str, tmp_path: Path) -> None:
    with pytest.raises(MalformedContent, match=message):
        opened(tmp_path / "x.tar", *items)


@pytest.mark.parametrize("name", ["index.json", "manifest.json", "config.json"])
@pytest.mark.parametrize("bomb", [b'{"manifests":[' + b"[]," * 200_000 + b"0]}", b" " * (17 << 20) + b"{}"])
def test_a_document_that_would_fill_the_memory(name: str, bomb: bytes, tmp_path: Path) -> None:
    items = [item for item in docker(["1.tar", "2.tar"]) if item.name != name]
    with pytest.raises(MalformedContent, match="more than 400000 values|over the limit"):
        opened(tmp_path / "x.tar", *items, Item(name, bomb))


# --- what is no archive of images


def test_what_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with pytest.raises(NotFound):
        open_archive(FILES, str(path))
    with pytest.raises(UsageError, match="older than 1.10"):
        opened(path, Item("repositories", b"{}"), Item("x/layer.tar", LAYERS[0]))
    with pytest.raises(UsageError, match="not an archive of images"):
        opened(path, Item("etc/passwd", b"root"))
    path.write_bytes(b"no tar at all" * 100)
    assert not looks_like_archive(FILES, str(path))
    with pytest.raises(MalformedContent, match="checksum"):
        open_archive(FILES, str(path))
    path.write_bytes(b"")
    with pytest.raises(Truncated):
        open_archive(FILES, str(path))


def test_an_archive_that_was_cut_between_members(tmp_path: Path) -> None:
    content = tar_with(*docker(["1.tar", "2.tar"]))
    (tmp_path / "x.tar").write_bytes(content[: 512 + len(LAYERS[0])])
    with pytest.raises(Truncated, match=r"x\.tar ends before.*cut off"):
        open_archive(FILES, str(tmp_path / "x.tar"))


# --- compressed as a whole


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "room"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("packer", PACKERS)
def test_an_archive_that_is_compressed(packer: str, tmp_path: Path, room: Path) -> None:
    image = build_image([{"big": os.urandom(600_000)}])
    path = tmp_path / "x"
    path.write_bytes(PACKERS[packer](tar_with(*layout_items(image, "app:1"))))
    assert looks_like_archive(FILES, str(path))
    archive = open_archive(FILES, str(path))
    layer = image.nodes[0].children[1]
    assert content_of(archive, layer) == image.blobs[layer.digest]
    archive.close()
    archive.close()
    assert os.listdir(room) == []


def test_nothing_is_left_of_a_compressed_archive_that_is_broken(tmp_path: Path, room: Path) -> None:
    path = tmp_path / "x.tar.gz"
    whole = gzip.compress(tar_with(*docker(["1.tar", "2.tar"])))
    for content in (whole[:-20], gzip.compress(b"no tar" * 1000), gzip.compress(tar_with(Item("x", b"x")))):
        path.write_bytes(content)
        with pytest.raises(ImgmoveError) as caught:
            open_archive(FILES, str(path))
        assert str(room) not in str(caught.value), "a person doesn't know the temporary file"
        assert os.listdir(room) == []


@pytest.mark.parametrize("packer", ["zstd", "xz", "bzip2"])
def test_a_small_file_does_not_fill_the_disk(
    packer: str, tmp_path: Path, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_NO_BOMB", 1 << 20)
    path = tmp_path / "x"
    path.write_bytes(PACKERS[packer](tar_with(Item("zeros", bytes(24 << 20)))))
    with pytest.raises(MalformedContent, match=r"unpacks to more than 1?\d MiB.*unpack it yourself"):
        open_archive(FILES, str(path))
    assert os.listdir(room) == []


def test_no_room_to_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(tar_with(*docker(["1.tar", "2.tar"]))))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(LocalError, match="TMPDIR"):
        open_archive(FILES, str(tmp_path / "x.tar.gz"))


def test_a_disk_that_gets_full_while_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(tar_with(*docker(["1.tar", "2.tar"]))))

    def full(**_: str) -> tuple[int, str]:
        return os.open("/dev/full", os.O_WRONLY), str(tmp_path / "temporary")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.raises(LocalError, match="No space left.*TMPDIR"):
        open_archive(FILES, str(tmp_path / "x.tar.gz"))


@settings(max_examples=60)
@given(st.data())
def test_a_broken_archive_only_fails(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "broken.tar"
    items = data.draw(st.sampled_from([docker(["1.tar", "2.tar"]), layout_items(build_image(), "app:1")]))
    content = io.BytesIO(tar_with(*items))
    for _ in range(data.draw(st.integers(1, 3))):
        content.seek(data.draw(st.integers(0, len(content.getvalue()))))
        content.write(data.draw(st.binary(max_size=40)))
    path.write_bytes(content.getvalue())
    try:
        archive = open_archive(FILES, str(path))
        for image in archive.images():
            content_of(archive, image.descriptor)
    except ImgmoveError as error:
        assert "\n" not in str(error)
