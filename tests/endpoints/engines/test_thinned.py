"""Archives that layers are taken out of where they are written: here by this machine's own tar."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from imgmove.endpoints.archive import open_archive
from imgmove.endpoints.engines.destination import EngineImage
from imgmove.endpoints.engines.thinned import SavedLayer, ThinSave
from imgmove.errors import MalformedContent, NotFound, ServerRefused
from imgmove.model.digest import Digest
from imgmove.model.manifest import parse_manifest, to_json_bytes
from imgmove.model.platform import Platform
from imgmove.wire.files import LocalFiles
from imgmove.wire.machine import LocalMachine
from tests.endpoints.archive.tars import Item, layout_items, tar_with
from tests.images import BuiltImage, build_image, build_index, tar_of

LINUX = Platform("linux", "amd64")
LAYERS = [tar_of({"a": b"1" * 70_000}), tar_of({"b": b"2" * 9000})]
DIFF_IDS = tuple(Digest.of(layer) for layer in LAYERS)


def save(path: Path, content: bytes) -> ThinSave:
    path.write_bytes(content)
    return ThinSave(LocalMachine(), ["cat", str(path)], "docker on edge")


def docker_archive(layers: Sequence[str] = ("one/layer.tar", "two/layer.tar")) -> bytes:
    config = to_json_bytes({"rootfs": {"type": "layers", "diff_ids": [str(item) for item in DIFF_IDS]}})
    manifest = b'[{"Config":"c.json","RepoTags":["app:1"],"Layers":["%b"]}]' % '","'.join(layers).encode()
    files = {"one/layer.tar": LAYERS[0], "two/layer.tar": LAYERS[1], "c.json": config, "manifest.json": manifest}
    return tar_with(*(Item(*file) for file in files.items()))


def names_in(content: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return archive.getnames()


def test_layers_of_dockers_format_are_left_out(tmp_path: Path) -> None:
    thin = save(tmp_path / "it's saved.tar", docker_archive())
    layers = thin.layers(EngineImage(Digest.of(b"config"), DIFF_IDS))
    assert layers == [SavedLayer("one/layer.tar", DIFF_IDS[0]), SavedLayer("two/layer.tar", DIFF_IDS[1])]
    with closing(thin.without(layers[:1])) as stream:
        content = gzip.decompress(stream.read())
    assert names_in(content) == ["two/layer.tar", "c.json", "manifest.json"]
    (tmp_path / "thin.tar").write_bytes(content)
    with pytest.raises(MalformedContent, match="not there"):
        open_archive(LocalFiles(), str(tmp_path / "thin.tar"))
    with closing(open_archive(LocalFiles(), str(tmp_path / "thin.tar"), {DIFF_IDS[0]: 7})) as archive:
        (image,) = archive.images()
        with closing(archive.open(image.descriptor)) as reader:
            layer = parse_manifest(reader.read()).children[1]
        assert (layer.digest, layer.size) == (DIFF_IDS[0], 7)


def test_what_follows_the_end_of_a_save_is_taken(tmp_path: Path) -> None:
    thin = save(tmp_path / "saved.tar", docker_archive() + bytes(400_000))
    for _ in range(5):
        with closing(thin.without(thin.layers(EngineImage(Digest.of(b"config"), DIFF_IDS))[:1])) as stream:
            assert names_in(gzip.decompress(stream.read())) == ["two/layer.tar", "c.json", "manifest.json"]


@pytest.mark.parametrize(
    "built", [build_image([{"a": b"1"}]), build_index("linux/arm64", "linux/amd64")], ids=["one", "index"]
)
def test_layers_of_a_store_that_keeps_manifests_go_by_their_own_digests(built: BuiltImage, tmp_path: Path) -> None:
    thin = save(tmp_path / "saved.tar", tar_with(*layout_items(built, "app:1")))
    count = 1 if len(built.nodes) == 1 else 2
    layer = thin.blobs(EngineImage(built.root.digest, DIFF_IDS[:count]), LINUX)[0]
    assert layer.blob is not None
    assert layer.path == f"blobs/sha256/{layer.blob.digest.hex}"
    assert len(built.blobs[layer.blob.digest]) == layer.blob.size


def test_an_archive_of_something_else_is_not_taken_apart(tmp_path: Path) -> None:
    thin = save(tmp_path / "saved.tar", docker_archive(["one/layer.tar"]))
    with pytest.raises(MalformedContent, match="something else than it shows"):
        thin.layers(EngineImage(Digest.of(b"config"), DIFF_IDS))


@pytest.mark.parametrize("path", ["one/layer.tar", "two/layer.tar"])
def test_a_save_that_breaks_off_is_an_error_whatever_tar_and_gzip_say(path: str, tmp_path: Path) -> None:
    (tmp_path / "saved.tar").write_bytes(docker_archive()[:40_000])
    words = ["sh", "-c", f"cat {tmp_path}/saved.tar; echo the daemon is gone >&2; exit 3"]
    thin = ThinSave(LocalMachine(), words, "docker on edge")
    with (
        pytest.raises(ServerRefused, match=r"docker on edge: (tar: .*|.*the daemon is gone.*)") as caught,
        closing(thin.without([SavedLayer(path, DIFF_IDS[0])])) as stream,
    ):
        stream.read()
    assert "exit $" not in caught.value.message, "no script is shown"
    with pytest.raises(ServerRefused, match="docker on edge: "):
        thin.layers(EngineImage(Digest.of(b""), DIFF_IDS))


def test_no_such_member(tmp_path: Path) -> None:
    with pytest.raises((ServerRefused, NotFound), match="docker on edge: tar"):
        save(tmp_path / "saved.tar", tar_with(Item("x", b"1"))).layers(EngineImage(Digest.of(b""), DIFF_IDS))
