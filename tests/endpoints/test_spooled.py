from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest

from imgmove.endpoints.spooled import SpooledSource
from imgmove.errors import DigestMismatch, NetworkError
from imgmove.model.descriptor import Descriptor
from imgmove.ports import Reader
from imgmove.streams import BytesReader

CONTENT = bytes(range(256)) * 4000
BLOB = Descriptor.of(CONTENT, "application/octet-stream")


class Breaking:
    """A source that counts, and that breaks as often as it is told."""

    def __init__(self, content: bytes = CONTENT, breaks: int = 0) -> None:
        self.content = content
        self.breaks = breaks
        self.offsets: list[int] = []
        self.asked: list[str] = []

    def resolve(self, name: str) -> Descriptor:
        self.asked.append(name)
        return BLOB

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        self.offsets.append(offset)
        if self.breaks:
            self.breaks -= 1
            return Broken(self.content[offset : offset + 300_000])
        return BytesReader(self.content[offset:])

    def close(self) -> None:
        raise AssertionError("its owner closes it")


class Broken(BytesReader):
    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data:
            raise NetworkError("cut")
        return data


def read(spooled: SpooledSource, offset: int = 0) -> bytes:
    with closing(spooled.open(BLOB, offset)) as reader:
        return reader.read()


@pytest.fixture(autouse=True)
def _temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_everything_is_read_once(tmp_path: Path) -> None:
    source = Breaking()
    spooled = SpooledSource(source)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(read(spooled))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 8
    assert read(spooled, 1000) == CONTENT[1000:]
    assert source.offsets == [0]
    assert spooled.resolve("x") == spooled.resolve("x") == BLOB
    assert source.asked == ["x"]
    spooled.close()
    assert list(tmp_path.iterdir()) == []


def test_it_goes_on_where_it_broke() -> None:
    source = Breaking(breaks=1)
    spooled = SpooledSource(source)
    with pytest.raises(NetworkError):
        spooled.open(BLOB)
    assert read(spooled) == CONTENT
    assert source.offsets[0] == 0
    assert source.offsets[1] > 0
    spooled.close()


def test_wrong_content_is_not_kept() -> None:
    source = Breaking(content=CONTENT[:-1] + b"x")
    spooled = SpooledSource(source)
    with pytest.raises(DigestMismatch):
        spooled.open(BLOB)
    source.content = CONTENT
    assert read(spooled) == CONTENT
    spooled.close()
