"""The HTTP door: what goes out is what was asked for, and what goes wrong is one line."""

from __future__ import annotations

import email.utils
import gc
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import AccessDenied, ImgmoveError, NetworkError, NotFound, ServerError, ServerRefused, Throttled
from imgmove.model.connection import ProxyRules, TlsFiles
from imgmove.streams import BytesReader
from imgmove.wire.auth import parse_challenges
from imgmove.wire.http import Body, HttpClient, Response, error_of
from imgmove.wire.http.errors import printable, retry_after, shown
from imgmove.wire.http.lanes import Lanes
from tests.quirks import RegistryServer


@contextmanager
def answering(*answers: bytes, context: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """A server that sends fixed answers, one a connection; gives its host and what it was sent."""
    received: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def serve() -> None:
        for answer in answers:
            try:
                plain, _ = listener.accept()
                with ExitStack() as stack:
                    connection = stack.enter_context(plain)
                    connection.settimeout(5)
                    if context is not None:
                        connection = stack.enter_context(context.wrap_socket(plain, server_side=True))
                    received.append(connection.recv(65536))
                    connection.sendall(answer)
            except OSError:
                continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", received
    finally:
        # Whoever waits for one more is done.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        listener.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"


@pytest.fixture
def client() -> Iterator[HttpClient]:
    with closing(HttpClient(timeout=5)) as client:
        yield client


def everything(response: Response) -> bytes:
    with closing(response):
        return b"".join(iter(lambda: response.read(3), b""))


def test_only_what_was_asked_for_is_sent(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / ".netrc").write_text("machine 127.0.0.1 login alice password s3cret\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with answering(OK) as (host, received):
        assert everything(client.request("GET", f"http://{host}/x", {"X-Mine": "yes"})) == b"hello"
    lines = {line.partition(b":")[0].lower() for line in received[0].split(b"\r\n")[1:] if line}
    assert lines == {b"host", b"user-agent", b"accept-encoding", b"x-mine"}
    assert b"identity" in received[0]


def test_bodies_are_not_unpacked(client: HttpClient) -> None:
    with answering(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    ) as (host, _):
        assert everything(client.request("GET", f"http://{host}/")) == b"abc"


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("http://127.0.0.1:1", "the proxy on the way to reg.example.com refused the connection"),
        ("http://no-such-host.invalid:1", "no such host: the proxy on the way to reg.example.com"),
    ],
)
def test_a_proxy_that_is_not_there_is_what_is_named(proxy: str, said: str) -> None:
    with closing(HttpClient(5, ProxyRules(https=proxy))) as client, pytest.raises(NetworkError) as caught:
        client.request("GET", "https://reg.example.com/v2/")
    assert caught.value.message == said


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        ("407 Proxy Authentication Required", AccessDenied, "wants a user name and password, or other ones"),
        ("403 Forbidden", AccessDenied, "says: status 403 Forbidden"),
        ("502 Bad Gateway", NetworkError, "says: status 502 Bad Gateway"),
    ],
)
def test_a_proxy_that_makes_no_tunnel(status: str, kind: type[ImgmoveError], said: str) -> None:
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    with (
        answering(answer) as (proxy, _),
        closing(HttpClient(5, ProxyRules(https=f"http://{proxy}"))) as client,
        pytest.raises(ImgmoveError) as caught,
    ):
        client.request("GET", "https://reg.example.com/v2/")
    assert type(caught.value) is kind
    assert caught.value.message == f"the proxy on the way to reg.example.com {said}"


def test_a_proxy() -> None:
    with answering(OK) as (proxy, received), closing(HttpClient(5, ProxyRules(http=f"http://{proxy}"))) as client:
        assert everything(client.request("GET", "http://registry.invalid/v2/")) == b"hello"
    assert received[0].startswith(b"GET http://registry.invalid/v2/ HTTP/1.1")


def test_a_body_of_known_size(client: HttpClient) -> None:
    with answering(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") as (host, received):
        client.request("PUT", f"http://{host}/", {}, Body(BytesReader(b"abc"), 3)).close()
    assert b"content-length: 3" in received[0].lower()
    assert b"transfer-encoding" not in received[0].lower()


def test_a_body_that_is_too_short_fails_at_once(client: HttpClient) -> None:
    with answering(OK) as (host, _), pytest.raises(ImgmoveError, match="not as long"):
        client.request("PUT", f"http://{host}/", {}, Body(BytesReader(b"abc"), 30))


def test_an_answer_cut_short(client: HttpClient) -> None:
    with answering(OK[:-2]) as (host, _), pytest.raises(NetworkError):
        everything(client.request("GET", f"http://{host}/"))


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
def test_answers_that_are_none(client: HttpClient, answer: bytes) -> None:
    with answering(answer) as (host, _), pytest.raises(ImgmoveError) as caught:
        everything(client.request("GET", f"http://{host}/"))
    assert "\n" not in str(caught.value)


# urllib3 leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_chunk_of_less_than_nothing(client: HttpClient) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"
    with answering(answer) as (host, _), pytest.raises(NetworkError, match="the connection to .* broke"):
        everything(client.request("GET", f"http://{host}/"))


def test_tls_errors_say_what_to_do(client: HttpClient) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with answering(OK, context=context) as (host, _), pytest.raises(AccessDenied, match="not trusted") as caught:
        client.request("GET", f"https://{host}/")
    assert "certs.d" in str(caught.value)
    with (
        answering(b"HTTP/1.0 400 Bad Request\r\n\r\n") as (host, _),
        pytest.raises(NetworkError, match="does not speak TLS"),
    ):
        client.request("GET", f"https://{host}/")
    with authority.cert_pem.tempfile() as path, answering(OK, context=context) as (host, _):
        trusting = HttpClient(5, None, lambda _: TlsFiles(ca_files=(path,)))
        with closing(trusting):
            assert everything(trusting.request("GET", f"https://{host}/")) == b"hello"
    gc.collect()


def test_redirects_do_not_leave_tls_or_http(client: HttpClient) -> None:
    for location in ("file:///etc/passwd", "ftp://x/", "http://[::bad/"):
        answer = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        with answering(answer.encode()) as (host, _), pytest.raises(ServerRefused):
            client.request("GET", f"http://{host}/")


def test_a_redirect_elsewhere_loses_the_credentials(client: HttpClient) -> None:
    with answering(OK) as (other, seen):
        answer = f"HTTP/1.1 307 X\r\nLocation: http://{other}/b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        with answering(answer.encode()) as (host, first):
            response = client.request("GET", f"http://{host}/a", {"Authorization": "Bearer t", "Range": "bytes=1-"})
            assert everything(response) == b"hello"
    assert b"Bearer t" in first[0]
    assert b"authorization" not in seen[0].lower()
    assert b"range: bytes=1-" in seen[0].lower()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, NotFound),
        (401, AccessDenied),
        (403, AccessDenied),
        (407, AccessDenied),
        (429, Throttled),
        (408, ServerError),
    ]
    + [(status, ServerError) for status in (500, 502, 503, 504, 499, 522)]
    + [(status, ServerRefused) for status in (400, 405, 409, 412, 413, 416)],
)
def test_statuses(client: HttpClient, status: int, kind: type[ImgmoveError]) -> None:
    body = b'{"errors":[{"code":"DENIED","message":"quota \\u001b[31m exceeded"}]}'
    head = f"HTTP/1.1 {status} X\r\nRetry-After: 7\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    with answering(head + body) as (host, _):
        error = error_of(client.request("GET", f"http://{host}/?token=secret"), "reading x")
    assert type(error) is kind
    assert ("the proxy on the way to" if status == 407 else "quota") in str(error)
    assert "\x1b" not in str(error)
    assert "secret" not in str(error)
    if isinstance(error, Throttled | ServerError):
        assert error.delay == 7


def test_of_several_errors_one_that_says_something_is_told(client: HttpClient) -> None:
    unknown = '{"code":"UNKNOWN","message":"unknown error"}'
    telling = '{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry","detail":"sha256:ab"}'
    for errors, said in ((f"{unknown},{telling}", "blob unknown to registry (sha256:ab)"), (unknown, "unknown error")):
        body = f'{{"errors":[{errors}]}}'
        head = f"HTTP/1.1 500 X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        with answering((head + body).encode()) as (host, _):
            assert error_of(client.request("GET", f"http://{host}/")).message.endswith(f" says: {said}")


def test_both_forms_of_retry_after() -> None:
    assert retry_after({"retry-after": "12"}) == 12
    soon = retry_after({"retry-after": email.utils.formatdate(time.time() + 30, usegmt=True)})
    assert soon is not None
    assert 0 < soon <= 30
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    for text in ("", "-1", "soon", "9" * 400, "Wed, 99 Foo 9999"):
        assert retry_after({"retry-after": text}) is None


def test_what_is_shown_of_a_url() -> None:
    assert shown("https://alice:s3cret@reg.example.com/v2/x?token=abc") == "reg.example.com/v2/x"


@given(st.text())
def test_nothing_printable_controls_a_terminal(text: str) -> None:
    clean = printable(text)
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in clean)


def test_challenges() -> None:
    header = 'Basic realm="x", Bearer realm="https://auth/token",service=reg,scope="repository:a:pull,push",error="invalid_token"'
    basic, bearer = parse_challenges(header)
    assert (basic.scheme, basic.parameters) == ("basic", {"realm": "x"})
    assert bearer.parameters == {
        "realm": "https://auth/token",
        "service": "reg",
        "scope": "repository:a:pull,push",
        "error": "invalid_token",
    }
    assert parse_challenges("") == []
    assert parse_challenges('BEARER realm="a\\"b"')[0].parameters == {"realm": 'a"b'}


@given(st.text(max_size=100))
def test_any_challenge(text: str) -> None:
    parse_challenges(text)


@contextmanager
def closing_after(*answers_each: int) -> Iterator[tuple[str, list[int]]]:
    """A server that answers so many requests on each connection and then closes it without a word."""
    served: list[int] = []
    sockets = [listener := socket.create_server(("127.0.0.1", 0))]
    listener.settimeout(10)

    def serve() -> None:
        for most in answers_each:
            with suppress(OSError):
                connection, _ = listener.accept()
                sockets.append(connection)
                with connection:
                    connection.settimeout(5)
                    served.append(0)
                    while served[-1] < most and connection.recv(65536):
                        served[-1] += 1
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                    if most:
                        # Reads the next request and leaves without an answer.
                        connection.recv(65536)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", served
    finally:
        # Whoever waits at one of them is done.
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        listener.close()


def test_a_connection_that_was_closed_while_idle_costs_nothing(client: HttpClient) -> None:
    with closing_after(2, 1) as (host, served):
        for _ in range(3):
            assert everything(client.request("GET", f"http://{host}/x")) == b"hello"
    assert served == [2, 1]


def test_a_server_that_closes_every_connection_is_an_error(client: HttpClient) -> None:
    with closing_after(1, 0, 0) as (host, served):
        assert everything(client.request("GET", f"http://{host}/x")) == b"hello"
        with pytest.raises(NetworkError, match="broke"):
            client.request("GET", f"http://{host}/x")
    assert served == [1, 0], "one new try, no more"


def test_threads_share_connections(client: HttpClient) -> None:
    with closing_after(8) as (host, served):
        for _ in range(8):
            thread = threading.Thread(target=lambda: everything(client.request("GET", f"http://{host}/x")))
            thread.start()
            thread.join()
    assert served == [8]


def test_no_more_connections_than_allowed_at_a_time(registry: RegistryServer) -> None:
    answers: list[int] = []

    def ask() -> None:
        with closing(limited.request("GET", f"{registry.url}/v2/")) as response:
            answers.append(response.status)

    with closing(HttpClient(most_for=lambda _: 2)) as limited:
        first, second = (limited.request("GET", f"{registry.url}/v2/") for _ in range(2))
        waiting = threading.Thread(target=ask)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        assert not answers
        first.close()
        waiting.join(10)
        assert answers == [200]
        second.close()


def test_nobody_waits_for_a_connection_for_ever(registry: RegistryServer) -> None:
    lanes = Lanes(lambda _: 1, patience=0.05)
    key = ("http", registry.host, None)
    lane = lanes.take(key)
    with pytest.raises(NetworkError, match="all 1 connections to .* were busy"):
        lanes.take(key)
    lanes.drop(lane)
    lanes.drop(lane)
    lanes.give_back(lanes.take(key))
    assert lanes.take(key)
    lanes.close()
