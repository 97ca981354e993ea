"""A file over HTTP from servers that break, begin anew, or give something else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from imgmove.errors import AccessDenied, NetworkError, NotFound, ServerRefused
from imgmove.wire.http import Download, HttpClient

CONTENT = bytes(range(256)) * 4000


@dataclass
class Playing:
    """What a server does.

    Attributes:
        breaks_after: how many bytes of each answer but the last come before the connection breaks.
        answers: how many answers break.
    """

    breaks_after: int = 300_000
    answers: int = 2
    takes_ranges: bool = True
    tags: tuple[str, ...] = ('"one"',)
    status: int = 0
    skew: int = 0
    seen: list[tuple[str, str]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        playing: Playing = self.server.playing  # type: ignore[attr-defined]
        wanted = self.headers.get("Range", "")
        playing.seen.append((self.path, wanted))
        number = len(playing.seen) - 1
        if playing.status:
            self.send_error(playing.status)
            return
        start = int(wanted[6:-1]) if wanted and playing.takes_ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("ETag", playing.tags[min(number, len(playing.tags) - 1)])
        self.send_header("Content-Type", "application/x-tar; charset=binary")
        if start:
            self.send_header("Content-Range", f"bytes {start + playing.skew}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        if number < playing.answers:
            self.wfile.write(CONTENT[start : start + playing.breaks_after])
            self.close_connection = True
        else:
            self.wfile.write(CONTENT[start:])

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.playing = Playing()  # type: ignore[attr-defined]
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def url(server: ThreadingHTTPServer, path: str = "rootfs.tar?token=s3cret") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/{path}"


def read_all(download: Download, tries: int = 5) -> bytes:
    """Everything, each broken read once more."""
    parts: list[bytes] = []
    while True:
        try:
            data = download.read(100_000)
        except NetworkError:
            tries -= 1
            if not tries:
                raise
            continue
        if not data:
            download.close()
            return b"".join(parts)
        parts.append(data)


@pytest.fixture
def client() -> Iterator[HttpClient]:
    client = HttpClient(timeout=10)
    yield client
    client.close()


@pytest.mark.parametrize("takes_ranges", [True, False])
def test_it_goes_on_where_it_broke(takes_ranges: bool, server: ThreadingHTTPServer, client: HttpClient) -> None:
    server.playing = Playing(takes_ranges=takes_ranges, breaks_after=600_000)  # type: ignore[attr-defined]
    download = Download(client, url(server))
    assert read_all(download) == CONTENT
    seen = server.playing.seen  # type: ignore[attr-defined]
    assert len(seen) >= 2
    assert seen[0][1] == ""
    assert all(wanted.startswith("bytes=") for _, wanted in seen[1:])
    assert download.media_type == "application/x-tar"
    assert download.position == len(CONTENT)
    assert download.read(10) == b""


def test_another_file_is_not_glued_on(server: ThreadingHTTPServer, client: HttpClient) -> None:
    server.playing = Playing(tags=('"one"', '"two"'))  # type: ignore[attr-defined]
    with pytest.raises(ServerRefused, match="another file"):
        read_all(Download(client, url(server)))


def test_other_bytes_than_asked_for(server: ThreadingHTTPServer, client: HttpClient) -> None:
    server.playing = Playing(skew=5)  # type: ignore[attr-defined]
    with pytest.raises(ServerRefused, match="other bytes"):
        read_all(Download(client, url(server)))


@pytest.mark.parametrize(
    ("status", "error"), [(404, NotFound), (403, AccessDenied), (401, AccessDenied), (410, ServerRefused)]
)
def test_what_is_not_given(
    status: int, error: type[Exception], server: ThreadingHTTPServer, client: HttpClient
) -> None:
    server.playing = Playing(status=status)  # type: ignore[attr-defined]
    with pytest.raises(error, match=r"rootfs\.tar") as raised:
        Download(client, url(server)).read(10)
    assert "s3cret" not in str(raised.value)
