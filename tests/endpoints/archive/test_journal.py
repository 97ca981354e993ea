"""Which ranges an unfinished archive holds, over kills and power cuts."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies

from imgmove.endpoints.archive.journal import Journal
from imgmove.wire.files import LocalFiles


class Places:
    """Opens the same journal again and again."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / "x.tar")
        self.file = folder / ".imgmove-x.tar.abc-ranges.partial"

    def open(self) -> Journal:
        return Journal(LocalFiles().resume(self._path, "abc-ranges"))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def test_ranges_grow_and_are_remembered(places: Places) -> None:
    journal = places.open()
    journal.note(512, 1000)
    journal.note(5000, 6000)
    journal.note(1000, 2000)
    for _ in range(2):
        assert [journal.reach(start) for start in (512, 1000, 5000, 7)] == [2000, 1000, 6000, 7]
        assert not journal.is_empty
        journal.close()
        journal = places.open()
    journal.remove()
    assert not places.file.exists()


def test_what_is_not_relied_on_is_forgotten(places: Places) -> None:
    journal = places.open()
    journal.note(512, 1000)
    journal.note(5000, 6000)
    journal.forget(512)
    journal.forget(77)
    journal.note(512, 600)
    journal.close()
    journal = places.open()
    assert [journal.reach(512), journal.reach(5000)] == [600, 6000]
    journal.clear()
    assert journal.is_empty
    journal.close()
    journal = places.open()
    assert journal.is_empty
    journal.remove()


def test_a_record_that_was_cut_off(places: Places) -> None:
    journal = places.open()
    journal.note(512, 1000)
    journal.close()
    with places.file.open("ab") as file:
        file.write(b"\x00\x00\x00")
    journal = places.open()
    journal.note(1000, 2000)
    journal.close()
    journal = places.open()
    assert journal.reach(512) == 2000
    journal.remove()


def test_more_records_than_are_read_at_once(places: Places) -> None:
    count = 10_000
    places.file.write_bytes(b"".join(struct.pack(">QQ", 10 * number, 10 * number + 10) for number in range(count)))
    journal = places.open()
    assert journal.reach(0) == 10 * count
    journal.remove()


@hypothesis.given(content=strategies.binary(max_size=400))
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_any_content_is_a_journal(content: bytes, places: Places) -> None:
    places.file.write_bytes(content)
    journal = places.open()
    starts = [number for pair in struct.iter_unpack(">QQ", content[: len(content) // 16 * 16]) for number in pair]
    assert all(journal.reach(start) >= start for start in (0, 512, *starts))
    journal.note(512, 1000)
    journal.remove()


@hypothesis.given(seed=strategies.integers(0, 2**32), blobs=strategies.integers(1, 5))
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_blobs_that_grow_side_by_side(seed: int, blobs: int, places: Places) -> None:
    moments = random.Random(seed)
    ends = {10_000 * number + 512: 10_000 * number + 512 for number in range(blobs)}
    journal = places.open()
    for _ in range(moments.randrange(30)):
        start = moments.choice(list(ends))
        match moments.randrange(10):
            case 0:
                journal.forget(start)
                ends[start] = start
            case 1:
                journal.close()
                journal = places.open()
            case _:
                end = ends[start] + moments.randrange(1, 100)
                journal.note(ends[start], end)
                ends[start] = end
        assert {start: journal.reach(start) for start in ends} == ends
    journal.remove()
