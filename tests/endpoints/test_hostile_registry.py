"""What a registry that means harm can make of its answers: one clear error, in bounded time and memory."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

import imgmove
from imgmove.endpoints.registry.host import Access, RegistryHost
from imgmove.errors import AccessDenied, ContentError, ImgmoveError, MalformedContent, ServerRefused
from imgmove.model import media_types
from imgmove.model.credentials import Credentials
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.settings import Settings, SideOptions
from imgmove.wire.auth import Authenticator, Scope
from imgmove.wire.http import HttpClient, Response
from imgmove.wire.http.errors import translated
from tests.images import build_image

Answer = tuple[int, Mapping[str, str], bytes]
NOTHING: Answer = (404, {}, b"{}")


class Handler(BaseHTTPRequestHandler):
    """Asks a function what to answer."""

    protocol_version = "HTTP/1.1"
    answer: Callable[[str, str], Answer]

    def log_message(self, *arguments: object) -> None:
        """Keeps quiet."""

    def _do(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        status, headers, body = self.answer(self.command, self.path)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _do  # noqa: N815 - http.server's names


class Server(ThreadingHTTPServer):
    """One that many may come to at once, as connections that find no place in the queue are reset."""

    request_queue_size = 128


@contextmanager
def hostile(answer: Callable[[str, str], Answer]) -> Iterator[str]:
    """A registry of one's own making; its host."""
    handler = type("Bound", (Handler,), {"answer": staticmethod(answer)})
    server = Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def once(settings: Settings) -> Settings:
    """Nothing is tried a second time."""
    return replace(settings, retries=0)


IMAGE = build_image()
LISTED = {"Content-Type": media_types.OCI_INDEX}


def image_at(method: str, path: str) -> Answer:
    """A whole image, ``app:1``."""
    last = path.rpartition("/")[2]
    node = IMAGE.nodes[0]
    if "/manifests/" in path and last in ("1", str(IMAGE.root.digest)):
        headers = {"Content-Type": node.media_type, "Docker-Content-Digest": str(IMAGE.root.digest)}
        return 200, headers, node.content
    if "/blobs/sha256" in path:
        return 200, {}, IMAGE.blobs[Digest.parse(last)]
    return NOTHING


NO_ADDRESSES = [
    "http://[::1",
    "http://127.0.0.1:99999/x",
    "ftp://example.com/x",
    "file:///etc/passwd",
    "http://[",
    "x:",
]


@pytest.mark.parametrize("location", NO_ADDRESSES)
def test_an_upload_that_leads_nowhere(location: str, once: Settings, tmp_path: Path) -> None:
    from imgmove.endpoints.layout import Layout
    from imgmove.wire.files import LocalFiles

    IMAGE.put(Layout.writable(LocalFiles(), str(tmp_path / "in")), "app:1")
    begun = (202, {"Location": location}, b"")
    with (
        hostile(lambda method, _: begun if method == "POST" else NOTHING) as host,
        imgmove.Session(once) as session,
    ):
        report = imgmove.copy(f"oci:{tmp_path / 'in'}", f"{host}/app:1", session=session)
    assert isinstance(report.images[0].error, ServerRefused), report.images[0].error


@pytest.mark.parametrize("location", NO_ADDRESSES)
@pytest.mark.parametrize("credentials", [None, Credentials("alice", "s3cret")])
def test_a_token_server_that_is_nowhere(location: str, credentials: Credentials | None, once: Settings) -> None:
    told = (401, {"WWW-Authenticate": f'Bearer realm="{location}"'}, b"")
    settings = replace(once, source=SideOptions(credentials))
    with (
        hostile(lambda *_: told) as host,
        imgmove.Session(settings) as session,
        pytest.raises(ServerRefused, match="no address") as caught,
    ):
        imgmove.tags(f"{host}/app", session=session)
    assert "s3cret" not in str(caught.value)


def test_a_redirect_does_not_tell_where_credentials_go(once: Settings, tmp_path: Path) -> None:
    asked: list[str] = []

    def storage(_: str, path: str) -> Answer:
        asked.append(path)
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{elsewhere}/token"'}, b""

    def registry(method: str, path: str) -> Answer:
        moved = (307, {"Location": f"http://{elsewhere}{path}"}, b"")
        return moved if "/blobs/" in path else image_at(method, path)

    settings = replace(once, source=SideOptions(Credentials("alice", "s3cret")))
    with hostile(storage) as elsewhere, hostile(registry) as host, imgmove.Session(settings) as session:
        report = imgmove.copy(f"{host}/app:1", f"oci:{tmp_path / 'out'}", session=session)
    assert isinstance(report.images[0].error, AccessDenied)
    assert not [path for path in asked if "/token" in path]


@pytest.mark.parametrize(
    "link", [*(f'<{place}>; rel="next"' for place in NO_ADDRESSES), "<http://example.com/>;rel=next"]
)
def test_a_next_page_that_is_nowhere(link: str, once: Settings) -> None:
    page = (200, {"Link": link}, b'{"tags":["1"]}')
    with hostile(lambda *_: page) as host, imgmove.Session(once) as session, pytest.raises(ServerRefused):
        imgmove.tags(f"{host}/app", session=session)


@pytest.mark.parametrize("link", ["<>;" * 20_000, "<" * 60_000, "<>; " + "rel=" * 15_000])
def test_a_header_that_would_take_for_ever(link: str, once: Settings) -> None:
    page = (200, {"Link": link}, b'{"tags":["1"]}')
    with hostile(lambda *_: page) as host, imgmove.Session(once) as session:
        assert imgmove.tags(f"{host}/app", session=session) == ["1"]


NO_NUMBERS = ["\u00b2", "9" * 5000, "-1", "1_0", "0x10"]


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_sizes_that_are_no_numbers(number: str, once: Settings, tmp_path: Path) -> None:
    from imgmove.endpoints.layout import Layout
    from imgmove.wire.files import LocalFiles

    def answer(method: str, path: str) -> Answer:
        if method == "HEAD":
            status, headers, _ = image_at(method, path)
            return status, {**headers, "Content-Length": number}, b""
        if method == "POST":
            return 202, {"Location": "/v2/app/blobs/uploads/1", "OCI-Chunk-Min-Length": number}, b""
        if "/uploads/" in path:
            return (201, {}, b"") if method == "PUT" else (204, {"Range": f"0-{number}"}, b"")
        return (201, {}, b"") if method == "PUT" else image_at(method, path)

    IMAGE.put(Layout.writable(LocalFiles(), str(tmp_path / "in")), "app:1")
    with hostile(answer) as host, imgmove.Session(once) as session:
        for report in (
            imgmove.copy(f"{host}/app:1", f"oci:{tmp_path / 'out'}", session=session),
            imgmove.copy(f"oci:{tmp_path / 'in'}", f"{host}/app:1", session=session),
        ):
            assert report.images[0].error is None or isinstance(report.images[0].error, ImgmoveError)


@pytest.mark.parametrize("lifetime", ["1e999", "NaN", "-1", "9" * 400, "-Infinity"])
def test_tokens_of_absurd_lifetimes(lifetime: str, once: Settings, tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(method: str, path: str) -> Answer:
        if path.startswith("/token"):
            asked.append(path)
            return 200, {}, f'{{"token":"t","expires_in":{lifetime}}}'.encode()
        if len(asked) == 0:
            return 401, {"WWW-Authenticate": f'Bearer realm="http://{host}/token"'}, b""
        return image_at(method, path)

    with hostile(answer) as host, imgmove.Session(once) as session:
        error = imgmove.copy(f"{host}/app:1", f"oci:{tmp_path / 'out'}", session=session).images[0].error
    assert error is None or isinstance(error, MalformedContent)
    assert len(asked) == 1


def test_tags_that_are_too_long(once: Settings) -> None:
    page: Answer = (200, {}, json.dumps({"tags": ["9" * 5000]}).encode())
    with hostile(lambda *_: page) as host, imgmove.Session(once) as session, pytest.raises(MalformedContent):
        imgmove.tags(f"{host}/app", session=session)


def test_lists_without_end(once: Settings) -> None:
    numbers = itertools.count()

    def answer(_: str, path: str) -> Answer:
        page = {"tags": [f"t{next(numbers)}" for _ in range(100_000)]}
        return 200, {"Link": f"</v2/app/tags/list?last={next(numbers)}>; rel=next"}, json.dumps(page).encode()

    with hostile(answer) as host, imgmove.Session(once) as session, pytest.raises(ServerRefused, match="more than"):
        imgmove.tags(f"{host}/app", session=session)


@pytest.mark.parametrize("body", [b'{"tags":[' + b'"a",' * 1_000_000 + b'"a"]}', b"[" * 100_000, b" " * (9 << 20)])
def test_lists_that_are_bombs(body: bytes, once: Settings, tmp_path: Path) -> None:
    def answer(method: str, path: str) -> Answer:
        return (200, LISTED, body) if "/tags/" in path or "_catalog" in path else image_at(method, path)

    with hostile(answer) as host, imgmove.Session(once) as session:
        with pytest.raises(MalformedContent):
            imgmove.tags(f"{host}/app", session=session)
        with pytest.raises(MalformedContent):
            imgmove.repos(host, session=session)
        # Where tags can't be listed each is asked for.
        imgmove.copy(f"{host}/app:1", f"oci:{tmp_path / 'out'}", session=session).raise_failures()


def test_referrers_of_referrers_without_end(once: Settings, tmp_path: Path) -> None:
    numbers, made = itertools.count(), dict[str, bytes]()

    def answer(method: str, path: str) -> Answer:
        last = path.rpartition("/")[2]
        if "/manifests/" in path and last in made:
            return 200, {"Content-Type": media_types.OCI_MANIFEST, "Docker-Content-Digest": last}, made[last]
        if "/referrers/" not in path:
            return image_at(method, path)
        document = json.loads(IMAGE.nodes[0].content) | {"annotations": {"number": str(next(numbers))}}
        content = json.dumps(document).encode()
        made[str(Digest.of(content))] = content
        entry = {"mediaType": media_types.OCI_MANIFEST, "digest": str(Digest.of(content)), "size": len(content)}
        return 200, LISTED, json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()

    with hostile(answer) as host, imgmove.Session(once) as session:
        report = imgmove.copy(f"{host}/app:1", f"oci:{tmp_path / 'out'}", session=session)
        assert isinstance(report.images[0].error, MalformedContent)
        with pytest.raises(ContentError, match="deep"):
            imgmove.verify(f"{host}/app:1", session=session)
    assert next(numbers) < 100


def test_manifests_that_would_fill_the_memory(once: Settings, tmp_path: Path) -> None:
    made = {}
    for number in range(6):
        document = json.loads(IMAGE.nodes[0].content) | {"annotations": {str(number): "x" * (3 << 20)}}
        content = json.dumps(document).encode()
        made[str(Digest.of(content))] = content
    entries = [Descriptor(media_types.OCI_MANIFEST, Digest.parse(name), len(made[name])).to_json() for name in made]
    index = json.dumps({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": entries}).encode()
    asked: list[str] = []

    def answer(method: str, path: str) -> Answer:
        last = path.rpartition("/")[2]
        if "/manifests/" in path and last in made:
            asked.append(last)
            return 200, {"Content-Type": media_types.OCI_MANIFEST}, made[last]
        if path.endswith(("/manifests/many", f"/manifests/{Digest.of(index)}")):
            return 200, {**LISTED, "Docker-Content-Digest": str(Digest.of(index))}, index
        return image_at(method, path)

    with hostile(answer) as host, imgmove.Session(once) as session:
        report = imgmove.copy(f"{host}/app:many", f"oci:{tmp_path / 'out'}", session=session)
        assert "over the limit" in str(report.images[0].error)
        with pytest.raises(MalformedContent, match="over the limit"):
            imgmove.verify(f"{host}/app:many", session=session)
        with pytest.raises(MalformedContent, match="over the limit"):
            imgmove.inspect(f"{host}/app:many", session=session)
    assert len(asked) <= 3 * 2


def test_headers_that_contradict_each_other() -> None:
    with pytest.raises(ServerRefused, match="headers that make no sense"), translated("http://reg.example.com/v2/"):
        raise requests.exceptions.InvalidHeader("Content-Length contained multiple unmatching values (5, 6)")


def test_uploads_stay_in_tls() -> None:
    client = HttpClient()
    host = RegistryHost(Access("reg.example.com:5000", plain_http=False, allows_http=False, credentials=_none), client)
    here = Response(202, "https://reg.example.com:5000/v2/app/blobs/uploads/", {}, None)
    for location in ("/v2/x?a=b", "http://reg.example.com/v2/x?a=b", "http://reg.example.com:5000/v2/x?a=b"):
        assert host.following(here, location) == "https://reg.example.com:5000/v2/x?a=b"
    assert host.following(here, "https://storage.example.com/x") == "https://storage.example.com/x"
    with pytest.raises(ServerRefused, match="out of TLS"):
        host.following(here, "http://storage.example.com/x")


def test_a_token_server_does_not_lead_out_of_tls() -> None:
    authenticator = Authenticator(HttpClient(), "reg.example.com", lambda _: Credentials("alice", "s3cret"))
    headers = {"www-authenticate": 'Bearer realm="http://reg.example.com/token"'}
    scopes = (Scope("repository", "app", "pull"),)
    authenticator.challenged(_Closed(401, "https://reg.example.com/v2/", headers, None), scopes, None)
    with pytest.raises(AccessDenied, match="unencrypted"):
        authenticator.header(scopes)


class _Closed(Response):
    def close(self) -> None:
        """Nothing is open."""


def _none(_: str) -> None:
    return None
