from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from imgmove.errors import LocalError, MalformedContent, NetworkError, Truncated
from imgmove.wire.stream_http import StreamHttp, json_lines

Serve = Callable[[Callable[[socket.socket], None]], StreamHttp]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server at the other end of a pair of sockets: a function that gets each connection."""
    with ExitStack() as stack:

        def make(answer: Callable[[socket.socket], None]) -> StreamHttp:
            def connect() -> socket.socket:
                ours, theirs = socket.socketpair()
                ours.settimeout(5)
                theirs.settimeout(5)
                thread = threading.Thread(target=_answered, args=(answer, theirs))
                thread.start()
                stack.callback(thread.join)
                return ours

            http = StreamHttp(connect, "the engine")
            stack.callback(http.close)
            return http

        yield make


def _answered(answer: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with connection:
        answer(connection)


def head(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(1)
        if not part:
            break
        data += part
    return data


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_one_connection_serves_many_requests(serve: Serve) -> None:
    connections: list[socket.socket] = []

    def answer(connection: socket.socket) -> None:
        connections.append(connection)
        while head(connection):
            connection.sendall(OK)

    http = serve(answer)
    assert http.ask("GET", "/one") == (200, b"ok")
    assert http.ask("GET", "/two") == (200, b"ok")
    assert len(connections) == 1
    http.close()


def test_a_connection_that_idled_shut_is_replaced(serve: Serve) -> None:
    def answer(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(OK)

    http = serve(answer)
    assert http.ask("GET", "/one") == (200, b"ok")
    assert http.ask("GET", "/two") == (200, b"ok")


def test_an_order_is_given_once_and_waited_for(serve: Serve) -> None:
    heads: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        heads.append(head(connection))

    with pytest.raises(NetworkError, match="the connection to the engine broke"):
        serve(answer).order("/create", {"X-Registry-Auth": "x"})
    assert len(heads) == 1
    assert b"POST /create" in heads[0]
    assert b"X-Registry-Auth: x" in heads[0]


def test_work_that_takes_long_is_waited_for() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(0.05)

    def answer(connection: socket.socket) -> None:
        with connection:
            head(connection)
            while b"0\r\n\r\n" not in connection.recv(100):
                pass
            threading.Event().wait(0.3)
            connection.sendall(OK)

    thread = threading.Thread(target=answer, args=(theirs,))
    thread.start()
    upload = StreamHttp(lambda: ours, "the engine").upload("/load")
    assert upload.finish() == (200, b"ok")
    thread.join()


def test_an_answer_that_ends_early(serve: Serve) -> None:
    def answer(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")

    status, reader = serve(answer).open("/large")
    assert status == 200
    with pytest.raises((Truncated, NetworkError)):
        reader.read()
    reader.close()


def test_an_upload(serve: Serve) -> None:
    got: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        got.append(head(connection))
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            data += connection.recv(100)
        got.append(data)
        connection.sendall(OK)

    upload = serve(answer).upload("/load", {"Content-Type": "application/x-tar"})
    upload.write(b"abc")
    upload.write(b"")
    assert upload.finish() == (200, b"ok")
    assert b"POST /load" in got[0]
    assert b"chunked" in got[0]
    assert got[1] == b"3\r\nabc\r\n0\r\n\r\n"


def test_the_last_piece_of_an_upload_waits_for_the_end(serve: Serve) -> None:
    came: list[bytes] = []
    ended = threading.Event()

    def answer(connection: socket.socket) -> None:
        head(connection)
        while data := connection.recv(1000):
            came.append(data)
        ended.set()

    upload = serve(answer).upload("/load")
    upload.write(b"first")
    upload.write(b"last")
    upload.close()
    assert ended.wait(10)
    assert b"".join(came) == b"5\r\nfirst\r\n"


def test_a_server_that_refuses_in_the_midst_of_an_upload(serve: Serve) -> None:
    def answer(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno")
        connection.shutdown(socket.SHUT_RDWR)

    upload = serve(answer).upload("/load")
    upload.write(bytes(64 << 20))
    with pytest.raises(BrokenPipeError):
        upload.write(b"more")
    assert upload.is_broken
    assert upload.finish() == (500, b"no")


def test_a_long_story_ends_with_what_counts(serve: Serve) -> None:
    def answer(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(20):
            connection.sendall(b'{"status": "%s"}\n' % (b"x" * 9000))
        connection.sendall(b'{"error": "no room"}\n')

    status, words = serve(answer).order("/create", {})
    assert status == 200
    assert list(json_lines(words))[-1] == {"error": "no room"}
    assert len(words) < 100_000


def test_a_story_without_end(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgmove.wire.stream_http._LONGEST_STORY", 100_000)

    def answer(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"x" * 9000)

    with pytest.raises(MalformedContent, match="without end"):
        serve(answer).order("/create", {})


def test_a_server_that_is_started_again_is_waited_for(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(OK)

    def gone() -> socket.socket:
        raise LocalError("nothing listens")

    http = serve(answer)
    never = StreamHttp(gone, "the engine")
    with pytest.raises(LocalError):
        never.ask("GET", "/")
    http.ask("GET", "/")
    monkeypatch.setattr(http, "_connect", gone)
    asks: list[Callable[[], object]] = [
        lambda: http.ask("GET", "/"),
        lambda: http.order("/", {}),
        lambda: http.open("/"),
        lambda: http.upload("/"),
    ]
    for ask in asks:
        with pytest.raises(NetworkError, match="nothing listens"):
            ask()


def test_a_server_that_vanishes(serve: Serve) -> None:
    def answer(connection: socket.socket) -> None:
        head(connection)

    upload = serve(answer).upload("/load")
    with pytest.raises(NetworkError):
        upload.finish()
    upload.close()


def test_a_server_that_talks_something_else(serve: Serve) -> None:
    http = serve(lambda connection: connection.sendall(b"SSH-2.0-x\r\n\r\n"))
    with pytest.raises(NetworkError):
        http.ask("GET", "/")


def test_json_lines() -> None:
    assert list(json_lines(b'{"a": 1}\r\nnoise\n[2]\n{"b": 2}')) == [{"a": 1}, {"b": 2}]
    assert list(json_lines(b"[" * 100_000 + b'\n{"a": 1}')) == [{"a": 1}]


@pytest.mark.parametrize("ask", [lambda http: http.order("/work", {}), lambda http: http.open("/much")])
def test_who_hangs_for_good_is_left_in_the_end(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, ask: Callable[[StreamHttp], object]
) -> None:
    monkeypatch.setattr("imgmove.wire.stream_http._LONGEST_WORK", 0.1)
    over = threading.Event()

    def hang(_: socket.socket) -> None:
        over.wait(10)

    http = serve(hang)
    with pytest.raises(NetworkError, match="the engine did not answer in time"):
        ask(http)
    over.set()
