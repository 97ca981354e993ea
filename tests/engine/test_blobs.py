"""Moving one blob: on from where it broke, over runs too, and anew where two contents would be put together."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Protocol

import pytest

from imgmove.endpoints.archive.stream import ArchiveStream
from imgmove.endpoints.archive.writer import ArchiveFile
from imgmove.endpoints.layout import Layout
from imgmove.endpoints.layout_reader import blob_path
from imgmove.engine.blobs import BlobMover
from imgmove.engine.limit import RateLimit
from imgmove.engine.plan import PlannedBlob
from imgmove.engine.run import RetryPolicy, Run
from imgmove.errors import ContentChanged, ContentError, DigestMismatch, ImgmoveError, Interrupted, NetworkError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.ports import BytesMoved, Destination, Event, Outline, Reader, Retrying
from imgmove.streams import BytesReader
from imgmove.wire.files import LocalFiles

SIZE = (2 << 20) + 4321
CONTENT = random.Random(5).randbytes(SIZE)
BLOB = Descriptor.of(CONTENT, media_types.OCTET_STREAM)
PATIENT = RetryPolicy(retries=3, first_delay=0.0)


class Source:
    """Gives a content, and breaks off as it is told."""

    def __init__(self, content: bytes = CONTENT, *breaks: int, error: ImgmoveError | None = None) -> None:
        self.content = content
        self.opened: list[int] = []
        self._breaks = list(breaks)
        self._error = error or NetworkError("broken")

    def resolve(self, name: str) -> Descriptor:
        raise NotImplementedError

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        self.opened.append(offset)
        if not self._breaks:
            return BytesReader(self.content[offset:])
        return _Breaking(self.content[offset : self._breaks.pop(0)], self._error)

    def close(self) -> None:
        pass


class _Breaking(BytesReader):
    def __init__(self, content: bytes, error: ImgmoveError) -> None:
        super().__init__(content)
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data:
            raise self._error
        return data


class Heard:
    def __init__(self) -> None:
        self.moved = 0
        self.retries: list[str] = []

    def on(self, event: Event, /) -> None:
        if isinstance(event, BytesMoved):
            self.moved += event.count
        elif isinstance(event, Retrying):
            self.retries.append(event.reason)


class Place(Protocol):
    """A destination for one blob, opened anew by each run."""

    def open(self) -> Destination: ...

    def finish(self, destination: Destination) -> None: ...

    def content(self) -> bytes | None: ...

    def spoil(self, how: Callable[[bytes], bytes]) -> None:
        """Changes what an unfinished run left of the blob."""


class LayoutPlace:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> Destination:
        return Layout.writable(LocalFiles(), str(self._folder / "layout"))

    def finish(self, destination: Destination) -> None:
        destination.close()

    def content(self) -> bytes | None:
        path = self._folder / "layout" / blob_path(BLOB.digest)
        return path.read_bytes() if path.exists() else None

    def spoil(self, how: Callable[[bytes], bytes]) -> None:
        (partial,) = self._folder.rglob("*.partial")
        partial.write_bytes(how(partial.read_bytes()))


class ArchivePlace:
    def __init__(self, folder: Path) -> None:
        self._path = folder / "x.tar"

    def open(self) -> Destination:
        archive = ArchiveFile(LocalFiles(), str(self._path))
        archive.begin(Outline((BLOB,), (), (), is_whole=True))
        return archive

    def finish(self, destination: Destination) -> None:
        assert isinstance(destination, ArchiveFile)
        with suppress(ImgmoveError):
            destination.finish()
        destination.close()

    def content(self) -> bytes | None:
        import tarfile

        if not self._path.exists():
            return None
        with tarfile.open(self._path) as archive:
            member = archive.extractfile(blob_path(BLOB.digest))
            assert member
            return member.read()

    def spoil(self, how: Callable[[bytes], bytes]) -> None:
        (partial,) = (path for path in self._path.parent.glob("*.partial") if "-ranges" not in path.name)
        content = partial.read_bytes()
        start = content.index(CONTENT[:1000])
        partial.write_bytes(content[:start] + how(content[start:]))


@pytest.fixture(params=[LayoutPlace, ArchivePlace])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    made: Place = request.param(tmp_path)
    return made


def partials(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".imgmove-*")]


def move(place: Place, source: Source, run: Run | None = None, **options: object) -> ImgmoveError | None:
    """One run of the command; returns what went wrong."""
    destination = place.open()
    try:
        mover = BlobMover(run or Run(retry=PATIENT), **options)  # type: ignore[arg-type]
        mover.move(PlannedBlob(source, destination, BLOB, "send"))
        return None
    except ImgmoveError as error:
        return error
    finally:
        place.finish(destination)


def begun(place: Place, size: int = 1_500_000) -> None:
    """What a run leaves that was interrupted after so many bytes."""
    assert isinstance(move(place, Source(CONTENT, size, error=Interrupted())), Interrupted)
    assert place.content() is None


def test_what_breaks_goes_on_where_it_broke(place: Place, tmp_path: Path) -> None:
    heard = Heard()
    source = Source(CONTENT, 100_000, 100_000, 900_000, 900_000)
    assert move(place, source, Run(retry=PATIENT, observer=heard)) is None
    assert source.opened == [0, 100_000, 100_000, 900_000, 900_000]
    assert place.content() == CONTENT
    assert heard.moved == SIZE
    assert partials(tmp_path) == []


def test_what_breaks_in_its_end_is_read_again_from_a_mark(place: Place) -> None:
    heard = Heard()
    source = Source(CONTENT, SIZE - 10)
    assert move(place, source, Run(retry=PATIENT, observer=heard)) is None
    assert place.content() == CONTENT
    assert source.opened[1] >= 1 << 20
    assert heard.moved == SIZE


def test_a_later_run_asks_only_for_the_rest(place: Place, tmp_path: Path) -> None:
    begun(place)
    heard, source = Heard(), Source()
    assert move(place, source, Run(retry=PATIENT, observer=heard)) is None
    assert source.opened == [1_500_000]
    assert place.content() == CONTENT
    assert heard.moved == SIZE
    assert partials(tmp_path) == []


def test_many_runs_that_end_early_add_up(place: Place) -> None:
    starts = []
    for end in (300_000, 300_001, 1_200_000, SIZE - 100_000):
        source = Source(CONTENT, end, error=Interrupted())
        assert isinstance(move(place, source), Interrupted)
        starts += source.opened
    source = Source()
    assert move(place, source) is None
    assert starts + source.opened == [0, 300_000, 300_001, 1_200_000, SIZE - 100_000]
    assert place.content() == CONTENT


def test_a_kill_right_before_the_end_costs_no_request(tmp_path: Path) -> None:
    place = LayoutPlace(tmp_path)
    begun(place)
    place.spoil(lambda held: held + CONTENT[len(held) :])
    source = Source()
    assert move(place, source) is None
    assert source.opened == []
    assert place.content() == CONTENT


@pytest.mark.parametrize(
    "how",
    [
        lambda held: bytes([held[0] ^ 1]) + held[1:],
        lambda held: held[:-1] + bytes([held[-1] ^ 1]),
        lambda held: bytes(len(held)),
        lambda held: held[:1000],
        lambda held: held[:0],
        lambda held: held + b"more" * SIZE,
        lambda held: CONTENT[: len(held)] + CONTENT[len(held) : -1] + b"?",
    ],
    ids=["first bit", "last bit", "zeros", "cut off", "gone", "longer", "whole but wrong"],
)
def test_what_an_earlier_run_left_is_not_believed(how: Callable[[bytes], bytes], place: Place, tmp_path: Path) -> None:
    begun(place)
    place.spoil(how)
    source, heard = Source(), Heard()
    assert move(place, source, Run(retry=PATIENT, observer=heard)) is None
    assert place.content() == CONTENT
    assert len(source.opened) <= 2
    assert heard.moved == SIZE
    assert partials(tmp_path) == []


def test_a_wrong_source_leaves_nothing(place: Place, tmp_path: Path) -> None:
    source = Source(CONTENT[:-1] + b"?")
    error = move(place, source)
    assert isinstance(error, DigestMismatch)
    assert error.side == "source"
    assert source.opened == [0]
    assert place.content() is None
    assert partials(tmp_path) == []


def test_a_wrong_source_after_a_right_beginning(place: Place, tmp_path: Path) -> None:
    begun(place)
    source = Source(CONTENT[:-1] + b"?")
    assert isinstance(move(place, source), ContentError)
    assert source.opened == [1_500_000, 0]
    assert place.content() is None
    assert partials(tmp_path) == []


def test_what_fails_for_now_is_kept(place: Place, tmp_path: Path) -> None:
    error = move(place, Source(CONTENT, *[700_000] * 9))
    assert isinstance(error, NetworkError)
    assert all(name.endswith(".partial") for name in partials(tmp_path))
    source = Source()
    assert move(place, source) is None
    assert source.opened == [700_000]
    assert place.content() == CONTENT


def test_nothing_is_kept_of_nothing(place: Place, tmp_path: Path) -> None:
    assert isinstance(move(place, Source(CONTENT, *[0] * 9)), NetworkError)
    assert partials(tmp_path) == []


def test_another_version_is_read_from_its_start(place: Place, tmp_path: Path) -> None:
    changed = ContentChanged("another version")
    source, heard = Source(CONTENT, 900_000, error=changed), Heard()
    assert move(place, source, Run(retry=PATIENT, observer=heard)) is None
    assert source.opened == [0, 0]
    assert place.content() == CONTENT
    assert heard.moved == SIZE
    assert heard.retries == ["source: another version"]
    restless = Source(CONTENT, *[900_000] * 9, error=ContentChanged("another version"))
    other = tmp_path / "other"
    other.mkdir()
    assert isinstance(move(type(place)(other), restless), ContentChanged)  # type: ignore[call-arg]
    assert len(restless.opened) <= 3
    assert partials(other) == []


def test_what_is_there_already_is_no_traffic(place: Place) -> None:
    begun(place)
    taken: list[int] = []

    class Counting(RateLimit):
        def reserve(self, count: int) -> float:
            taken.append(count)
            return 0.0

    assert move(place, Source(), Run(retry=PATIENT, limit=Counting(1))) is None
    assert sum(taken) == SIZE - 1_500_000


def test_a_pipe_is_not_begun_anew() -> None:
    sink = io.BytesIO()
    stream = ArchiveStream(sink)
    stream.begin(Outline((BLOB,), (), (), is_whole=True))
    source = Source(CONTENT, 900_000, error=ContentChanged("another version"))
    with pytest.raises(ContentChanged):
        BlobMover(Run(retry=PATIENT)).move(PlannedBlob(source, stream, BLOB, "send"))
    assert source.opened == [0]


@pytest.mark.parametrize(("reason", "is_kept"), [(NetworkError("x"), True), (DigestMismatch("x"), False)])
def test_what_nobody_wants_any_more(
    reason: ImgmoveError, is_kept: bool, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[PlannedBlob] = []

    def why_unwanted(blob: PlannedBlob) -> ImgmoveError | None:
        asked.append(blob)
        return reason if len(asked) > 3 else None

    error = move(place, Source(), why_unwanted=why_unwanted)
    assert isinstance(error, Interrupted)
    assert bool(partials(tmp_path)) == is_kept


def test_several_who_want_the_same_blob_fetch_it_once(tmp_path: Path) -> None:
    place = LayoutPlace(tmp_path)
    has_begun, may_go_on = threading.Event(), threading.Event()

    class Slow(Source):
        def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
            has_begun.set()
            assert may_go_on.wait(60)
            return super().open(descriptor, offset)

    sources = [Slow() for _ in range(6)]
    errors: list[ImgmoveError | None] = []
    threads = [threading.Thread(target=lambda s=source: errors.append(move(place, s))) for source in sources]
    for thread in threads:
        thread.start()
    assert has_begun.wait(60)
    may_go_on.set()
    for thread in threads:
        thread.join()
    assert errors == [None] * 6
    assert sum(len(source.opened) for source in sources) == 1
    assert place.content() == CONTENT
    assert partials(tmp_path) == []


def test_who_waited_goes_on_with_what_the_first_left(tmp_path: Path) -> None:
    place = LayoutPlace(tmp_path)
    first = place.open()
    assert isinstance(first, Layout)
    writer = first.resume_blob(BLOB)
    writer.write(BytesReader(CONTENT[:1_000_000]))
    source = Source()
    results: list[ImgmoveError | None] = []
    thread = threading.Thread(target=lambda: results.append(move(place, source)))
    thread.start()
    writer.keep()
    thread.join()
    assert results == [None]
    assert source.opened == [1_000_000]
    with closing(place.open()):
        assert place.content() == CONTENT
