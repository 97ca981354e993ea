"""Archives as streams: the same bytes as in a file, forwards only."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

import pytest
import zstandard

from imgmove.endpoints.archive import ArchiveFile, ArchiveStream, new_archive, open_archive
from imgmove.endpoints.archive.stream import CompressedArchiveFile
from imgmove.errors import LocalError, SizeMismatch, UsageError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.ports import Outline, SequentialDestination
from imgmove.streams import BytesReader
from imgmove.wire.files import LocalFiles
from tests.endpoints.archive.test_writer import outline_of, written
from tests.images import BuiltImage, build_index, put_blob

FILES = LocalFiles()
IMAGE = build_index("linux/amd64", "linux/arm64", attested=True)


def put(stream: ArchiveStream, image: BuiltImage, name: str) -> None:
    stream.begin(outline_of((image, [name])))
    for blob in stream.order():
        put_blob(stream, blob, image.blobs[blob.digest])
    image.put(stream, name)
    stream.finish()


def test_a_stream_has_the_bytes_of_the_file(tmp_path: Path) -> None:
    output = io.BytesIO()
    stream = ArchiveStream(output)
    assert isinstance(stream, SequentialDestination)
    put(stream, IMAGE, "app:1")
    stream.close()
    assert output.getvalue() == written(tmp_path / "x.tar", (IMAGE, ["app:1"]))


def test_a_stream_that_learns_at_the_end_what_it_is(tmp_path: Path) -> None:
    output = io.BytesIO()
    stream = ArchiveStream(output)
    stream.begin(Outline((), (), (), is_whole=False))
    IMAGE.put(stream, "app:1")
    stream.finish()
    (tmp_path / "x.tar").write_bytes(output.getvalue())
    assert open_archive(FILES, str(tmp_path / "x.tar")).resolve("app:1") == IMAGE.root


def test_sizes_have_to_be_known() -> None:
    stream = ArchiveStream(io.BytesIO())
    stream.begin(Outline((), (), (), is_whole=False))
    with pytest.raises(UsageError, match="size is known"):
        stream.put_blob(None)


@pytest.mark.parametrize("content", [b"short", b"far too long"])
def test_a_size_that_lies(content: bytes) -> None:
    output = io.BytesIO()
    stream = ArchiveStream(output)
    stream.begin(Outline((), (), (), is_whole=False))
    blob = Descriptor.of(b"as said", media_types.OCTET_STREAM)
    writer = stream.put_blob(blob)
    writer.resume()

    def finish() -> None:
        writer.write(BytesReader(content))
        writer.commit(blob)

    with pytest.raises(SizeMismatch):
        finish()
    writer.abort()
    assert not stream.has(blob)
    assert b"long" not in output.getvalue()


class Broken(io.BytesIO):
    def __init__(self, error: OSError) -> None:
        super().__init__()
        self._error = error

    def write(self, _: object, /) -> int:
        raise self._error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BrokenPipeError(32, "Broken pipe"), "whoever read stdout stopped before the end"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_a_reader_that_goes_away(error: OSError, said: str) -> None:
    with pytest.raises(LocalError, match=said):
        ArchiveStream(Broken(error)).begin(outline_of((IMAGE, ["app:1"])))


@pytest.mark.parametrize(
    ("compression", "unpack"),
    [
        ("gzip", gzip.decompress),
        ("zstd", lambda packed: zstandard.ZstdDecompressor().decompressobj().decompress(packed)),
    ],
)
def test_a_file_that_is_compressed_as_a_whole(compression: str, unpack: object, tmp_path: Path) -> None:
    made = []
    for name in ("x", "y"):
        archive = new_archive(FILES, str(tmp_path / name), compression)
        assert isinstance(archive, CompressedArchiveFile)
        put(archive, IMAGE, "app:1")
        archive.close()
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]
    assert unpack(made[0]) == written(tmp_path / "z", (IMAGE, ["app:1"]))  # type: ignore[operator]


def test_a_compressed_file_shows_when_it_is_whole(tmp_path: Path) -> None:
    archive = new_archive(FILES, str(tmp_path / "x.tar.gz"), "gzip")
    archive.close()
    archive.begin(outline_of((IMAGE, ["app:1"])))
    archive.close()
    assert os.listdir(tmp_path) == []
    assert isinstance(new_archive(FILES, str(tmp_path / "x.tar"), "none"), ArchiveFile)
