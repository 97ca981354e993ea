"""Reading ahead and over several connections: the same bytes in the same order, and errors where they belong."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest

from imgmove.engine import ahead, split
from imgmove.engine.ahead import ReadAhead, read_ahead
from imgmove.engine.budget import Budget
from imgmove.engine.run import RetryPolicy, Run
from imgmove.engine.split import SplitReader
from imgmove.errors import ContentChanged, NetworkError
from imgmove.ports import Reader
from imgmove.streams import BytesReader

CONTENT = random.Random(9).randbytes(3_000_017)
BLOCK = 20_000
PART = 100_000
LANES = 3


def eventually(is_so: Callable[[], bool]) -> bool:
    """Whether something comes to be; other threads may need a moment."""
    end = time.monotonic() + 20
    while not is_so() and time.monotonic() < end:
        time.sleep(0.005)
    return is_so()


class Watched(BytesReader):
    """Counts what is read, and breaks at an offset."""

    def __init__(self, content: bytes, breaks: int | None = None, error: Exception | None = None) -> None:
        super().__init__(content)
        self.taken = 0
        self.is_closed = False
        self._breaks = breaks
        self._error = error or NetworkError("broken")

    def read(self, size: int | None = -1, /) -> bytes:
        assert not self.is_closed
        if self._breaks is not None:
            if self.taken >= self._breaks:
                raise self._error
            size = min(size or 0, self._breaks - self.taken)
        data = super().read(size)
        self.taken += len(data)
        return data

    def close(self) -> None:
        self.is_closed = True


TAKEN = 70_001
"""Bytes that are read at a time; a connection is judged after the first of them."""


def taken(reader: Reader, size: int = TAKEN) -> bytes:
    return b"".join(iter(lambda: reader.read(size), b""))


def until_it_breaks(reader: Reader) -> bytes:
    came = b""
    try:
        while True:
            came += reader.read(BLOCK)
    except NetworkError as error:
        assert error.message == "broken"
        return came


def test_all_comes_in_order() -> None:
    raw = Watched(CONTENT)
    reader = ReadAhead(raw)
    assert reader.read(10) == CONTENT[:10]
    assert taken(reader) == CONTENT[10:]
    assert reader.read(1) == b""
    assert eventually(lambda: raw.is_closed)
    assert ReadAhead(Watched(CONTENT)).read() == CONTENT


def test_an_error_comes_after_the_bytes_before_it() -> None:
    raw = Watched(CONTENT, breaks=70_001)
    reader = ReadAhead(raw)
    came = until_it_breaks(reader)
    assert came == CONTENT[:70_001]
    with pytest.raises(NetworkError):
        reader.read(1)
    assert eventually(lambda: raw.is_closed)


def test_no_further_ahead_than_agreed() -> None:
    raw = Watched(CONTENT)
    reader = ReadAhead(raw, 2)
    assert eventually(lambda: raw.taken == 2 * BLOCK)
    time.sleep(0.05)
    assert raw.taken == 2 * BLOCK
    reader.read(BLOCK)
    assert eventually(lambda: raw.taken == 3 * BLOCK)
    reader.close()
    reader.close()
    assert eventually(lambda: raw.is_closed)


def test_memory_is_given_back() -> None:
    run = Run(budget=Budget(5 * BLOCK))
    readers = [read_ahead(run, Watched(CONTENT)) for _ in range(2)]
    assert readers[0] is not None
    assert readers[1] is None, "the first one has it all"
    readers[0].close()
    assert eventually(lambda: is_whole(run, 5 * BLOCK))
    whole = read_ahead(run, Watched(CONTENT))
    assert whole is not None
    assert taken(whole) == CONTENT
    assert eventually(lambda: is_whole(run, 5 * BLOCK))


# --- several connections


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reader counts as slow at once, and parts are small enough for a test."""
    for name, value in (
        ("BLOCK", BLOCK),
        ("_PART", PART),
        ("SPLIT_FROM", 4 * PART),
        ("_LOOKED_AT_AFTER", 1e-9),
        ("_FAST", 1 << 60),
    ):
        monkeypatch.setattr(split, name, value)
    monkeypatch.setattr(ahead, "BLOCK", BLOCK)


class Server:
    """Serves ranges of a content as it is told."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.asked: list[tuple[int, int]] = []
        self.readers: list[Watched] = []
        self.breaks: list[int] = []
        self.serves_ranges = True
        self.error: Exception | None = None
        self._lock = threading.Lock()

    def open_range(self, start: int, end: int) -> Reader | None:
        with self._lock:
            self.asked.append((start, end))
            if not self.serves_ranges:
                return None
            reader = Watched(self.content[start:end], self.breaks.pop() if self.breaks else None, self.error)
            self.readers.append(reader)
            return reader


def is_whole(run: Run, size: int = LANES * PART) -> bool:
    """Whether all memory was given back."""
    return run.budget._left == size


def splitting(server: Server, run: Run, start: int = 0, first: Watched | None = None) -> SplitReader:
    first = first or Watched(server.content[start:])
    return SplitReader(run, first, server.open_range, start, len(server.content))


def a_run(memory: int = LANES * PART) -> Run:
    return Run(retry=RetryPolicy(retries=3, first_delay=0.0), budget=Budget(memory))


@pytest.mark.parametrize("start", [0, 12_345])
def test_parts_come_in_order(start: int) -> None:
    server, run = Server(), a_run()
    first = Watched(server.content[start:])
    reader = splitting(server, run, start, first)
    assert taken(reader) == CONTENT[start:]
    reader.close()
    begin = start + TAKEN + PART
    assert server.asked[0][0] == begin, "the first connection goes on up to where the parts begin"
    assert sorted(server.asked) == [(at, min(at + PART, len(CONTENT))) for at in range(begin, len(CONTENT), PART)]
    assert first.taken + sum(part.taken for part in server.readers) == len(CONTENT) - start, "nothing comes twice"
    assert eventually(lambda: all(part.is_closed for part in (first, *server.readers)))
    assert eventually(lambda: is_whole(run))


def test_a_part_that_breaks_goes_on_where_it_broke() -> None:
    server, run = Server(), a_run()
    server.breaks = [10_000, 20_000, 2, 50_000]
    assert taken(splitting(server, run)) == CONTENT
    assert sum(part.taken for part in server.readers) == len(CONTENT) - TAKEN - PART
    assert len([start for start, _ in server.asked if (start - TAKEN) % PART]) == 4


def test_a_first_connection_that_breaks_costs_none_of_the_parts() -> None:
    server, run = Server(), a_run()
    first = Watched(server.content, PART - 30_000)
    assert taken(splitting(server, run, first=first)) == CONTENT
    assert first.taken + sum(part.taken for part in server.readers) == len(CONTENT)
    assert eventually(lambda: is_whole(run))


def test_a_part_that_keeps_breaking_ends_it() -> None:
    server, run = Server(), a_run()
    server.breaks = [0] * 100
    reader = splitting(server, run)
    came = until_it_breaks(reader)
    assert CONTENT.startswith(came)
    assert len(came) >= PART
    reader.close()
    assert eventually(lambda: is_whole(run))


def test_what_will_not_change_is_raised_at_once() -> None:
    server = Server()
    server.breaks, server.error = [10], ContentChanged("another version")
    reader = splitting(server, a_run())
    with pytest.raises(ContentChanged):
        taken(reader)
    assert len(server.asked) <= 1 + LANES
    reader.close()


def test_no_ranges() -> None:
    server, run = Server(), a_run()
    server.serves_ranges = False
    assert taken(splitting(server, run)) == CONTENT
    assert len(server.asked) == 1
    assert is_whole(run)


def test_ranges_that_cannot_be_had_are_no_error() -> None:
    def refuse(start: int, end: int) -> Reader | None:
        raise NetworkError("too many connections")

    run = a_run()
    reader = SplitReader(run, Watched(CONTENT), refuse, 0, len(CONTENT))
    assert taken(reader) == CONTENT
    assert is_whole(run)


def test_no_memory_for_parts() -> None:
    server, run = Server(), a_run(PART - 1)
    assert taken(splitting(server, run)) == CONTENT
    assert server.asked == []
    assert run.budget.take(1, PART - 1) == 1


def test_memory_for_one_part_at_a_time() -> None:
    server, run = Server(), a_run(PART)
    assert taken(splitting(server, run)) == CONTENT
    assert len(server.asked) > 1
    assert eventually(lambda: is_whole(run, PART))


def test_no_further_ahead_than_there_are_lanes() -> None:
    server, run = Server(), a_run()
    reader = splitting(server, run)
    came = reader.read(10) + reader.read(10)
    assert eventually(lambda: sum(part.taken for part in server.readers) == LANES * PART)
    time.sleep(0.05)
    assert sum(part.taken for part in server.readers) == LANES * PART
    assert came + taken(reader) == CONTENT


def test_closing_early() -> None:
    server, run = Server(), a_run()
    reader = splitting(server, run)
    reader.read(PART)
    reader.read(1)
    reader.close()
    reader.close()
    assert eventually(lambda: all(part.is_closed for part in server.readers))
    assert eventually(lambda: is_whole(run))
    asked = len(server.asked)
    time.sleep(0.05)
    assert len(server.asked) == asked


def test_cancelling() -> None:
    server, run = Server(), a_run()
    reader = splitting(server, run)
    reader.read(1)
    run.cancelled.set()
    with pytest.raises(BaseException, match="interrupted"):
        taken(reader)
    reader.close()
    assert eventually(lambda: is_whole(run))


def test_a_server_that_ends_its_ranges_early() -> None:
    server, run = Server(), a_run()
    whole = server.open_range

    def short(start: int, end: int) -> Reader | None:
        return whole(start, min(end, start + 40_000))

    server.open_range = short  # type: ignore[method-assign]
    assert taken(splitting(server, run)) == CONTENT
