"""Archives out of pipes: any order, one pass, little kept, and read to the end."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import random
from collections.abc import Callable, Iterable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from imgmove.endpoints.archive import ArchivePipe, ArchiveStream
from imgmove.errors import DigestMismatch, ImgmoveError, LocalError, MalformedContent, NotFound, Truncated, UsageError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest, parse_manifest, to_json_bytes
from imgmove.ports import Arrival, ReferrerLister, SequentialSource
from tests.endpoints.archive.tars import Item, docker_items, layout_items, symlink, tar_with
from tests.endpoints.archive.test_stream import put
from tests.images import BuiltImage, build_artifact, build_image, build_index, tar_of

LAYERS = [tar_of({"a": b"1"}), tar_of({"b": random.Random(1).randbytes(9000)})]
CONFIG = to_json_bytes(
    {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer)) for layer in LAYERS]},
    }
)


class Trickle(io.RawIOBase):
    """A pipe that gives a little at a time."""

    def __init__(self, content: bytes, most: int = 700) -> None:
        self._content = io.BytesIO(content)
        self._most = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        return self._content.readinto(view[: self._most])

    @property
    def left(self) -> int:
        return len(self._content.getbuffer()) - self._content.tell()


def pipe_of(content: bytes | Iterable[Item]) -> ArchivePipe:
    return ArchivePipe(io.BytesIO(content if isinstance(content, bytes) else tar_with(*content)))


def take(pipe: ArchivePipe) -> dict[str, tuple[Arrival, bytes]]:
    """Reads everything, and tells the pipe what became of what had no digest."""
    taken = {}
    for arrival in pipe.arrivals():
        content = b"".join(iter(lambda: arrival.reader.read(1000), b""))  # noqa: B023 - read at once
        taken[arrival.key] = (arrival, content)
        assert len(content) == arrival.size
        if arrival.digest is None:
            is_plain = arrival.compression == "none"
            kind = media_types.OCI_LAYER if is_plain else media_types.OCI_LAYER_GZIP
            pipe.became(arrival.key, Descriptor.of(content, kind), Digest.of(content) if is_plain else None)
    return taken


def only_manifest(pipe: ArchivePipe) -> Manifest:
    (image,) = pipe.images()
    node = parse_manifest(pipe.open(image.descriptor).read())
    assert isinstance(node, Manifest)
    assert node.descriptor == image.descriptor
    return node


def streamed(image: BuiltImage) -> bytes:
    output = io.BytesIO()
    put(ArchiveStream(output), image, "app:1")
    return output.getvalue()


# --- orders


@pytest.mark.parametrize("order", ["docker 25", "ours", "index last", "backwards"])
def test_an_oci_archive_in_any_order(order: str) -> None:
    image = build_index("linux/amd64", "linux/arm64", attested=True)
    items = layout_items(image, "app:1")
    content = {
        "docker 25": tar_with(*items),
        "ours": streamed(image),
        "index last": tar_with(items[-1], *items[:-2], items[-2]),
        "backwards": tar_with(*reversed(items)),
    }[order]
    pipe = ArchivePipe(io.BufferedReader(Trickle(content)))
    assert isinstance(pipe, SequentialSource)
    assert isinstance(pipe, ReferrerLister)
    taken = take(pipe)
    assert [(item.descriptor, item.names) for item in pipe.images()] == [(image.root, ("app:1",))]
    for node in image.nodes:
        assert pipe.open(node.descriptor).read() == node.content
    for digest, blob in image.blobs.items():
        came = taken.get(f"blobs/sha256/{digest.hex}")
        if came:
            assert (came[0].digest, came[1]) == (digest, blob)
        else:
            assert pipe.open(Descriptor(media_types.OCTET_STREAM, digest, len(blob))).read() == blob


@pytest.mark.parametrize("reverse", [False, True])
def test_a_docker_archive(reverse: bool) -> None:
    items = docker_items(CONFIG, [("1/layer.tar", LAYERS[0]), ("2/layer.tar", LAYERS[1])], ["app:1"])
    extra = [Item("1/VERSION", b"1.0"), Item("1/json", b'{"id":"1"}'), Item("repositories", b"{}")]
    pipe = pipe_of([*reversed(items), *extra] if reverse else [*extra, *items])
    taken = take(pipe)
    assert sorted(taken) == ["1/layer.tar", "2/layer.tar"]
    assert all(arrival.digest is None for arrival, _ in taken.values())
    assert [item.names for item in pipe.images()] == [("app:1",)]
    assert only_manifest(pipe).children == (
        Descriptor.of(CONFIG, media_types.OCI_CONFIG),
        *(Descriptor.of(layer, media_types.OCI_LAYER) for layer in LAYERS),
    )


def test_podmans_names_are_guesses_at_diff_ids() -> None:
    name = f"{Digest.of(LAYERS[0]).hex}.tar"
    items = docker_items(CONFIG, [("1/layer.tar", b""), ("2/layer.tar", LAYERS[1])], ["app:1"])[1:]
    pipe = pipe_of([Item(name, LAYERS[0]), symlink("1/layer.tar", f"../{name}"), *items])
    assert take(pipe)[name][0].diff_id == Digest.of(LAYERS[0])
    assert [layer.digest for layer in only_manifest(pipe).layers] == [Digest.of(layer) for layer in LAYERS]
    packed = pipe_of([Item(name, gzip.compress(LAYERS[0]))])
    assert next(iter(packed.arrivals())).diff_id is None, "a compressed layer is named by something else"


def test_compressed_layers_in_a_docker_archive() -> None:
    packed = [gzip.compress(layer, mtime=0) for layer in LAYERS]
    items = docker_items(CONFIG, [(f"{Digest.of(layer).hex}.tar.gz", layer) for layer in packed], ["app:1"])
    pipe = pipe_of(items)
    assert {arrival.compression for arrival, _ in take(pipe).values()} == {"gzip"}
    assert only_manifest(pipe).layers == tuple(Descriptor.of(layer, media_types.OCI_LAYER_GZIP) for layer in packed)


@pytest.mark.parametrize("pack", [bytes, lambda content: gzip.compress(content, mtime=0)])
def test_layers_named_by_digest_without_an_index(pack: Callable[[bytes], bytes]) -> None:
    contents = [pack(layer) for layer in LAYERS]
    items = docker_items(CONFIG, [(f"blobs/sha256/{Digest.of(item).hex}", item) for item in contents], None)
    pipe = pipe_of([*items, Item("index.json", b'{"schemaVersion":2,"manifests":null}')])
    take(pipe)
    kind = media_types.OCI_LAYER if pack is bytes else media_types.OCI_LAYER_GZIP
    assert only_manifest(pipe).layers == tuple(Descriptor.of(content, kind) for content in contents)


# --- what contradicts itself


def test_a_layer_that_is_not_the_configs() -> None:
    other = tar_of({"other": b"layer"})
    for name in ("1/layer.tar", f"blobs/sha256/{Digest.of(other).hex}"):
        pipe = pipe_of(docker_items(CONFIG, [(name, other), ("2/layer.tar", LAYERS[1])], ["app:1"]))
        with pytest.raises(DigestMismatch, match="but the config says"):
            take(pipe)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (
            docker_items(CONFIG, [("1.tar", LAYERS[0]), ("2.tar", LAYERS[1])], None)[1:],
            r"names '1\.tar', which did not",
        ),
        (
            [symlink("1.tar", "1.tar"), *docker_items(CONFIG, [("1.tar", b"x"), ("2.tar", b"")], None)[1:]],
            "did not come",
        ),
        (docker_items(CONFIG, [("1.tar", LAYERS[0])], ["app:1"]), "app:1 has 1 layers, but its config has 2"),
        ([Item("../x", b"x")], "leads out of the archive"),
        ([symlink("x", "/etc/passwd")], "leads out of the archive"),
        ([Item("index.json", b'{"manifests":[{"digest":"x"}]}')], "."),
    ],
)
def test_an_archive_that_makes_no_sense(items: list[Item], message: str) -> None:
    with pytest.raises(MalformedContent, match=message):
        take(pipe_of(items))


# --- what is no archive


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "nothing came"),
        (b"no tar" * 1000, "no archive"),
        (tar_with(Item("etc/passwd", b"root")), "not an archive of images"),
        (tar_with(), "not an archive of images"),
        (tar_with(Item("repositories", b"{}")), "older than 1.10"),
    ],
)
def test_what_is_no_archive(content: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        take(pipe_of(content))


def test_the_end_has_to_come_first() -> None:
    with pytest.raises(LocalError, match="not been read to its end"):
        pipe_of(b"").images()


# --- ends


@given(st.data())
@settings(max_examples=60)
def test_what_came_before_a_pipe_broke_off_is_right_or_refused(data: st.DataObject) -> None:
    image = build_image([{"a": random.Random(2).randbytes(3000)}])
    content = data.draw(st.sampled_from([streamed(image), tar_with(*layout_items(image, "app:1"))]))
    pipe = pipe_of(content[: data.draw(st.integers(0, len(content) - 1))])
    try:
        taken = {arrival.digest: content for arrival, content in take(pipe).values()}
        for child in image.nodes[0].children:
            found = taken.get(child.digest) or pipe.open(child).read()
            assert Digest.of(found) == child.digest
    except (Truncated, UsageError):
        # A usage error where not even the first block came.
        return
    assert [item.descriptor for item in pipe.images()] == [image.root]


def cut_before(content: bytes, name: str) -> bytes:
    """The tar without this member and all that follow it."""
    return content[: content.index(name.encode() + b"\0")]


def test_a_pipe_that_ends_between_members() -> None:
    image = build_image([{"a": random.Random(2).randbytes(3000)}])
    layer = image.nodes[0].children[1]
    with pytest.raises(Truncated, match="the pipe ended before the archive did"):
        take(pipe_of(cut_before(tar_with(*layout_items(image, "app:1")), "index.json")))
    pipe = pipe_of(cut_before(streamed(image), f"blobs/sha256/{layer.digest.hex}"))
    take(pipe)
    with pytest.raises(Truncated, match="ended before the archive did"):
        pipe.open(layer)


def test_what_a_whole_pipe_did_not_hold() -> None:
    image = build_image()
    pipe = pipe_of(layout_items(BuiltImage(image.nodes, {}), "app:1"))
    take(pipe)
    with pytest.raises(NotFound, match="does not hold"):
        pipe.open(image.nodes[0].children[1])


@pytest.mark.parametrize("padding", [0, 9 * 512, 1 << 20])
def test_the_pipe_is_read_to_its_end(padding: int) -> None:
    source = Trickle(tar_with(*layout_items(build_image(), "app:1")) + bytes(padding), 5000)
    take(ArchivePipe(io.BufferedReader(source)))
    assert source.left == 0


def test_what_nobody_reads_is_passed_over() -> None:
    image = build_image([{"a": os.urandom(600_000)}, {"b": os.urandom(100_000)}])
    pipe = ArchivePipe(io.BufferedReader(Trickle(streamed(image), 4096)))
    for arrival in pipe.arrivals():
        arrival.reader.read(10)
    assert [item.descriptor for item in pipe.images()] == [image.root]


# --- compressed as a whole


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}


@pytest.mark.parametrize("packer", PACKERS)
def test_a_pipe_that_is_compressed(packer: str) -> None:
    image = build_index("linux/amd64", "linux/arm64")
    pipe = pipe_of(PACKERS[packer](streamed(image)))
    taken = take(pipe)
    assert [item.descriptor for item in pipe.images()] == [image.root]
    assert all(Digest.of(content) == arrival.digest for arrival, content in taken.values())


def test_the_check_at_the_end_of_a_compressed_pipe() -> None:
    packed = bytearray(gzip.compress(streamed(build_image())))
    packed[-8] ^= 1
    with pytest.raises(ImgmoveError):
        take(pipe_of(bytes(packed)))


# --- what is kept


def test_documents_are_kept_and_blobs_are_not() -> None:
    image = build_image()
    chart = build_artifact(image.root)
    odd = {
        "an object that is a layer": b'{"a": 1}',
        "text": b"plain text",
        "broken": b'{"a": ',
        "large": b'{"a": "' + b"x" * (4 << 20) + b'"}',
    }
    items = [Item(f"blobs/sha256/{Digest.of(content).hex}", content) for content in odd.values()]
    index = {"schemaVersion": 2, "manifests": [image.root.to_json(), chart.root.to_json()]}
    parts = [*layout_items(image)[:-2], *layout_items(chart)[:-2]]
    pipe = pipe_of([*items, *parts, Item("index.json", to_json_bytes(index))])
    came = {content for _, content in take(pipe).values()}
    assert came & set(odd.values()) == {odd["text"], odd["broken"], odd["large"]}
    kept = odd["an object that is a layer"]
    assert pipe.open(Descriptor.of(kept, media_types.OCTET_STREAM)).read() == kept
    assert pipe.open(Descriptor.of(kept, media_types.OCTET_STREAM), 3).read() == kept[3:]
    assert [item.descriptor for item in pipe.referrers(image.root.digest)] == [chart.root]


def test_not_too_much_is_kept() -> None:
    documents = [json.dumps({"n": number, "x": "x" * (3 << 20)}).encode() for number in range(6)]
    with pytest.raises(LocalError, match=r"more than 16 MiB.*write it to a file first"):
        take(pipe_of([Item(f"{number}.json", content) for number, content in enumerate(documents)]))


class Failing(io.RawIOBase):
    def readable(self) -> bool:
        return True

    def readinto(self, _: object, /) -> int:
        raise OSError(5, "Input/output error")


def test_a_pipe_that_fails() -> None:
    with pytest.raises(LocalError, match="can't read the pipe: Input/output error"):
        take(ArchivePipe(io.BufferedReader(Failing())))
