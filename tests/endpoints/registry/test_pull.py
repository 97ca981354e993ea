"""Parts of blobs: of the version that was seen first, from storage or through the registry, and never cut short."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace

import pytest

from imgmove.endpoints.registry.registries import Registries
from imgmove.endpoints.registry.repository import RegistrySource
from imgmove.errors import ContentChanged, ContentError, NetworkError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.reference import Reference
from imgmove.ports import Reader
from imgmove.server import HttpServer, Listener, Request, Response
from imgmove.settings import Settings

CONTENT = random.Random(4).randbytes(300_000)
BLOB = Descriptor.of(CONTENT, media_types.OCTET_STREAM)


@dataclass
class Storage:
    """Answers requests for one blob as a test wants it."""

    content: bytes = CONTENT
    etag: str = '"one"'
    status: int = 0
    obeys_if_range: bool = True
    begins_earlier: int = 0
    location: str = ""
    hides_length: bool = False
    length: int = 0
    seen: list[Request] = field(default_factory=list)

    def __call__(self, request: Request) -> Response:
        self.seen.append(request)
        if self.status:
            return Response.of(self.status)
        if self.location:
            return Response(307, {"Location": self.location + request.path})
        headers = {"ETag": self.etag} if self.etag else {}
        wanted = request.headers.get("range", "").removeprefix("bytes=")
        if self.obeys_if_range and request.headers.get("if-range", self.etag) != self.etag:
            wanted = ""
        if not wanted:
            return self._answer(200, headers, self.content)
        first, last = wanted.split("-")
        start = max(int(first) - self.begins_earlier, 0)
        end = int(last) + 1 if last else len(self.content)
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(self.content)}"
        return self._answer(206, headers, self.content[start:end])

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> Response:
        response = Response.of(status, content)
        return replace(
            response,
            headers={**response.headers, **headers},
            size=self.length or (None if self.hides_length else len(content)),
        )


Serve = Callable[[Storage], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server and tells its ``HOST:PORT``."""
    with ExitStack() as stack:

        def start(storage: Storage) -> str:
            server = HttpServer(storage, Listener())
            server.start()
            stack.callback(server.stop)
            return server.host

        yield start


@pytest.fixture
def source(serve: Serve, settings: Settings) -> Iterator[Callable[[Storage], RegistrySource]]:
    with ExitStack() as stack:

        def make(storage: Storage) -> RegistrySource:
            registries = stack.enter_context(closing(Registries(settings)))
            made = registries.source(Reference.parse(f"{serve(storage)}/app"))
            assert isinstance(made, RegistrySource)
            return made

        yield make


Make = Callable[[Storage], RegistrySource]


def taken(reader: Reader | None) -> bytes:
    assert reader is not None
    with closing(reader):
        return b"".join(iter(lambda: reader.read(70_000), b""))


def test_parts_name_the_version_that_was_seen(source: Make) -> None:
    storage = Storage()
    place = source(storage)
    assert taken(place.open(BLOB)) == CONTENT
    assert taken(place.open(BLOB, 100_000)) == CONTENT[100_000:]
    assert taken(place.open_range(BLOB, 1000, 2000)) == CONTENT[1000:2000]
    asked = [(request.headers.get("range"), request.headers.get("if-range")) for request in storage.seen]
    assert asked[-2:] == [("bytes=100000-", '"one"'), ("bytes=1000-1999", '"one"')]


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_no_version_to_name(etag: str, source: Make) -> None:
    storage = Storage(etag=etag)
    place = source(storage)
    assert taken(place.open(BLOB)) == CONTENT
    assert taken(place.open(BLOB, 1)) == CONTENT[1:]
    assert "if-range" not in storage.seen[-1].headers


@pytest.mark.parametrize("obeys", [True, False], ids=["sends the whole", "sends the part"])
@pytest.mark.parametrize("by_parts", [True, False])
def test_a_version_that_changed_is_noticed_once(obeys: bool, by_parts: bool, source: Make) -> None:
    storage = Storage(obeys_if_range=obeys)
    place = source(storage)
    taken(place.open(BLOB))
    storage.etag = '"two"'
    with pytest.raises(ContentChanged):
        place.open_range(BLOB, 5, 10) if by_parts else place.open(BLOB, 5)
    # From then on it is for the digest to tell: some servers have a name of their own for the same bytes.
    storage.etag = '"three"'
    assert taken(place.open(BLOB)) == CONTENT
    assert taken(place.open(BLOB, 7)) == CONTENT[7:]
    assert "if-range" not in storage.seen[-1].headers


def test_more_than_was_asked_for(source: Make) -> None:
    place = source(Storage(begins_earlier=1000))
    assert taken(place.open(BLOB, 100_000)) == CONTENT[100_000:]
    assert taken(place.open_range(BLOB, 100_000, 200_000)) == CONTENT[100_000:200_000]


def test_another_range_than_was_asked_for(source: Make) -> None:
    place = source(Storage(begins_earlier=-1000))
    with pytest.raises(NetworkError, match="another range"):
        place.open(BLOB, 100_000)


def test_no_such_byte(source: Make) -> None:
    storage = Storage()
    place = source(storage)
    storage.status = 416
    with pytest.raises(ContentError, match="no byte 5"):
        place.open(BLOB, 5)


@pytest.mark.parametrize(("hides_length", "length"), [(True, 0), (False, 250_000)])
def test_an_end_that_comes_early_is_a_broken_connection(hides_length: bool, length: int, source: Make) -> None:
    storage = Storage(CONTENT[:250_000], hides_length=hides_length, length=length)
    place = source(storage)
    with closing(place.open(BLOB)) as reader:
        assert b"".join(reader.read(50_000) for _ in range(5)) == CONTENT[:250_000]
        with pytest.raises(NetworkError, match="50000 bytes early"):
            reader.read(50_000)


def test_parts_are_asked_of_the_storage_itself(source: Make, serve: Serve) -> None:
    elsewhere = Storage()
    registry = Storage(location=f"http://{serve(elsewhere)}")
    place = source(registry)
    assert taken(place.open(BLOB)) == CONTENT
    asked = len(registry.seen)
    assert taken(place.open_range(BLOB, 10, 20)) == CONTENT[10:20]
    assert len(registry.seen) == asked
    elsewhere.status = 403
    with pytest.raises(Exception, match="403"):
        place.open_range(BLOB, 10, 20)
    assert len(registry.seen) == asked + 1, "an address that has expired is asked for again"


def test_a_storage_that_went_away(source: Make, serve: Serve, settings: Settings) -> None:
    registry = Storage(location="http://127.0.0.1:1")
    place = source(registry)
    place._storage[BLOB.digest] = "http://127.0.0.1:1/gone"
    registry.location = ""
    with pytest.raises(NetworkError):
        place.open_range(BLOB, 10, 20)
    assert taken(place.open_range(BLOB, 10, 20)) == CONTENT[10:20]
