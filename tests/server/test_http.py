"""The server under the registry: limits, bodies, connections, and its end."""

from __future__ import annotations

import io
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPSConnection, IncompleteRead

import pytest
import trustme

from imgmove.errors import ContentError, LocalError
from imgmove.server import Exchange, Handler, HttpServer, Limits, Listener, Request, Response
from imgmove.server.exchange import Hangup


def echo(request: Request) -> Response:
    """Answers with what came."""
    return Response.of(200, request.body.read(), {"X-Path": request.path, "X-Query": request.query})


@contextmanager
def serving(handler: Handler, listener: Listener | None = None) -> Iterator[tuple[HttpServer, list[Exchange]]]:
    log: list[Exchange] = []
    with HttpServer(handler, listener, log.append) as server:
        yield server, log


@contextmanager
def speaking(server: HttpServer, sent: bytes) -> Iterator[socket.socket]:
    """A connection over which these bytes were sent."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(sent)
        yield connection


def heard(server: HttpServer, sent: bytes) -> bytes:
    """All that the server says to these bytes, until it closes the connection."""
    with speaking(server, sent) as connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_path_is_decoded_and_the_query_is_not() -> None:
    with serving(echo) as (server, _):
        connection = HTTPConnection(server.host)
        connection.request("GET", "/a%2Fb%20c?x=%2F")
        answer = connection.getresponse()
        assert (answer.headers["X-Path"], answer.headers["X-Query"]) == ("/a/b c", "x=%2F")
        connection.close()


def test_one_connection_serves_many_requests() -> None:
    with serving(echo) as (server, log):
        connection = HTTPConnection(server.host)
        for number in range(50):
            connection.request("POST", f"/{number}", b"x" * number)
            assert len(connection.getresponse().read()) == number
            if number == 0:
                ours = connection.sock
            assert connection.sock is ours
        connection.close()
        assert [exchange.path for exchange in log] == [f"/{number}" for number in range(50)]


def test_pipelined_requests_are_answered_in_order() -> None:
    with serving(echo) as (server, _):
        first = b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none"
        second = b"GET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        text = heard(server, first + second)
        assert text.index(b"X-Path: /1") < text.index(b"one") < text.index(b"X-Path: /2")


def test_a_chunked_body_is_put_together() -> None:
    with serving(echo) as (server, log):
        connection = HTTPConnection(server.host)
        for _ in range(2):
            connection.request("POST", "/", iter([b"one", b"two" * 100_000]), encode_chunked=True)
            assert connection.getresponse().read() == b"one" + b"two" * 100_000
        connection.close()
        assert log[0].received == 300_003


def test_chunk_extensions_and_trailers_are_passed_over() -> None:
    with serving(echo) as (server, _):
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        assert heard(server, head + b"3;a=b\r\nabc\r\n0\r\nX-T: 1\r\n\r\n").endswith(b"\r\n\r\nabc")


@pytest.mark.parametrize(
    "chunks",
    [
        b"x\r\n",
        b"-1\r\n",
        b"0x3\r\nabc\r\n",
        b"1_0\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"\r\n",
        b"f" * 5000,
        b"1" * 17 + b"\r\n",
        b"0\r\n" + b"a: b\r\n" * 40,
    ],
)
def test_broken_chunks_are_refused(chunks: bytes) -> None:
    with serving(echo) as (server, _):
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert heard(server, head + chunks).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"Content-Length: 3\r\nTransfer-Encoding: chunked", 400),
        (b"Content-Length: 3\r\nContent-Length: 4", 400),
        (b"Content-Length: -3", 400),
        (b"Content-Length: +3", 400),
        (b"Content-Length: 3 4", 400),
        (b"Content-Length: \xb2", 400),
        (b"Content-Length: " + b"9" * 30, 400),
        (b"Transfer-Encoding: gzip, chunked", 501),
        (b"Transfer-Encoding: identity", 501),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 501),
        (b"Transfer-Encoding:\r\nTransfer-Encoding: chunked", 501),
        (b"no header\r\nContent-Length: 3", 400),
        (b"X : y\r\nContent-Length: 3", 400),
        (b"X: " + b"x" * 70_000, 431),
        (b"X: y\r\n" * 200 + b"Z: z", 431),
    ],
)
def test_heads_that_cannot_be_trusted_are_refused(lines: bytes, status: int) -> None:
    with serving(echo) as (server, _):
        text = heard(server, b"POST / HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n\r\n")
        assert text.startswith(f"HTTP/1.1 {status} ".encode())
        assert b'{"errors":[{"code":' in text
        assert b"Connection: close" in text


@pytest.mark.parametrize("line", [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"x" * 70_000 + b"\r\n"])
def test_what_is_no_request_is_refused(line: bytes) -> None:
    with serving(echo) as (server, _):
        assert heard(server, line).partition(b"\r\n")[0].split()[1] in (b"400", b"414", b"505")


def test_a_header_cannot_be_smuggled_into_the_answer() -> None:
    with serving(echo) as (server, _):
        text = heard(server, b"GET /a%0d%0aSet-Cookie:x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"\r\nSet-Cookie" not in text


def test_the_go_ahead_waits_until_somebody_reads() -> None:
    with serving(echo) as (server, _):
        head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
        with speaking(server, head) as connection:
            assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b"abc")
            assert b"".join(iter(lambda: connection.recv(1000), b"")).endswith(b"abc")


def test_a_refused_upload_gets_no_go_ahead() -> None:
    with serving(lambda _: Response.of(401)) as (server, _):
        head = b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n"
        text = heard(server, head)
        assert text.startswith(b"HTTP/1.1 401 ")
        assert b"Connection: close" in text


def test_a_small_body_that_nobody_read_does_not_end_the_connection() -> None:
    with serving(lambda _: Response.of(404)) as (server, log):
        connection = HTTPConnection(server.host)
        for _ in range(2):
            connection.request("PUT", "/", b"x" * 5000)
            answer = connection.getresponse()
            assert (answer.status, answer.read(), answer.headers["Connection"]) == (404, b"", None)
        connection.close()
        assert [exchange.received for exchange in log] == [5000, 5000]


def test_a_large_body_that_nobody_read_ends_the_connection() -> None:
    with serving(lambda _: Response.of(403)) as (server, log):
        connection = HTTPConnection(server.host)
        connection.request("PUT", "/", b"x" * (3 << 20))
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Connection"], answer.read()) == (403, "close", b"")
        connection.close()
        assert log[0].received == 0


def test_an_answer_that_breaks_off_ends_the_connection() -> None:
    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if block := super().read(10):
                return block
            raise ContentError("the disk is bad")

    with serving(lambda _: Response(200, {}, Breaking(b"0123456789"), 1000)) as (server, log):
        connection = HTTPConnection(server.host)
        connection.request("GET", "/")
        with pytest.raises(IncompleteRead) as caught:
            connection.getresponse().read()
        assert caught.value.partial == b"0123456789"
        connection.close()
        assert (log[0].status, log[0].sent) == (200, 10)


def test_a_handler_may_hang_up() -> None:
    def hang_up(request: Request) -> Response:
        raise Hangup

    with serving(hang_up) as (server, log):
        assert heard(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        assert log[0].status == 0


def test_an_answer_of_unknown_length_ends_with_the_connection() -> None:
    with serving(lambda _: Response(200, {}, io.BytesIO(b"abc"), None)) as (server, _):
        connection = HTTPConnection(server.host)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert (answer.headers["Content-Length"], answer.read()) == (None, b"abc")
        connection.close()


def test_our_own_errors_become_the_specs() -> None:
    def fail(request: Request) -> Response:
        raise LocalError("no space")

    with serving(fail) as (server, _):
        connection = HTTPConnection(server.host)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (500, b'{"errors":[{"code":"UNKNOWN","message":"no space"}]}')
        connection.close()


def test_a_client_sees_its_own_line_in_the_log() -> None:
    with serving(echo) as (server, log):
        connection = HTTPConnection(server.host)
        for size in (0, 10, 3 << 20):
            connection.request("POST", "/x?y", b"x" * size)
            connection.getresponse().read()
            last = log[-1]
            assert (last.method, last.path, last.query, last.status) == ("POST", "/x", "y", 200)
            assert (last.received, last.sent) == (size, size)
        connection.close()


def test_a_slow_head_ends_the_connection() -> None:
    with serving(echo, Listener(limits=Limits(head_seconds=0.2))) as (server, log):
        assert heard(server, b"GET / HTTP/1.1\r\nHost:") == b""
        assert log == []


def test_dripping_bytes_do_not_extend_the_time_for_a_head() -> None:
    with (
        serving(echo, Listener(limits=Limits(head_seconds=0.3))) as (server, _),
        speaking(server, b"GET / HTTP/1.1\r\n") as connection,
    ):
        connection.settimeout(0.02)
        while True:
            try:
                connection.sendall(b"X: y\r\n")
                assert connection.recv(100) == b""
                break
            except TimeoutError:
                continue
            except OSError:
                break


def test_a_stalled_body_ends_the_connection() -> None:
    with serving(echo, Listener(limits=Limits(stall_seconds=0.2))) as (server, _):
        assert heard(server, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc") == b""


def test_a_client_that_does_not_read_ends_the_connection() -> None:
    ended = threading.Event()

    class Endless(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return b"x" * (1 << 16)

        def close(self) -> None:
            ended.set()

    limits = Limits(stall_seconds=0.2)
    with (
        serving(lambda _: Response(200, {}, Endless(), None), Listener(limits=limits)) as (server, _),
        speaking(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ):
        assert ended.wait(20)


def test_more_connections_than_allowed_wait_their_turn() -> None:
    with serving(echo, Listener(limits=Limits(connections=2))) as (server, _):
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
        with speaking(server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as waiting:
            waiting.settimeout(0.3)
            with pytest.raises(TimeoutError):
                waiting.recv(100)
            idle[0].close()
            waiting.settimeout(10)
            assert waiting.recv(100).startswith(b"HTTP/1.1 200")
        idle[1].close()


def test_idle_connections_give_their_place_to_those_who_ask() -> None:
    with serving(echo, Listener(limits=Limits(connections=2, idle_seconds=0.05))) as (server, _):
        busy = HTTPConnection(server.host, timeout=20)
        busy.request("POST", "/", headers={"Content-Length": "2"})
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4)]
        idle[0].sendall(b"GET / HTT")
        asked = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert heard(server, asked).startswith(b"HTTP/1.1 200")
        busy.send(b"ok")
        assert busy.getresponse().status == 200
        busy.close()
        for connection in idle:
            connection.close()


def test_stop_lets_a_running_request_end() -> None:
    is_in, may_end = threading.Event(), threading.Event()

    def slow(request: Request) -> Response:
        is_in.set()
        may_end.wait(20)
        return Response.of(200, b"done")

    server = HttpServer(slow).start()
    connection = HTTPConnection(server.host, timeout=20)
    connection.request("GET", "/")
    assert is_in.wait(20)
    stopping = threading.Thread(target=server.stop, args=(20.0,))
    stopping.start()
    may_end.set()
    answer = connection.getresponse()
    assert (answer.read(), answer.headers["Connection"]) == (b"done", "close")
    stopping.join(20)
    assert not stopping.is_alive()
    connection.close()


def test_stop_cuts_what_does_not_end() -> None:
    class Endless(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return b"x" * 1000

    server = HttpServer(lambda _: Response(200, {}, Endless(), None)).start()
    with speaking(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") as connection:
        connection.recv(10)
        server.stop(patience=0.1)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_stop_closes_idle_connections_at_once_and_can_be_called_twice() -> None:
    server = HttpServer(echo).start()
    connection = HTTPConnection(server.host, timeout=10)
    connection.request("GET", "/")
    connection.getresponse().read()
    server.stop(patience=60)
    server.stop()
    assert connection.sock.recv(1) == b""
    connection.close()


def test_a_server_in_the_foreground_is_stopped_by_another_thread() -> None:
    server = HttpServer(echo)
    serving_thread = threading.Thread(target=server.serve)
    serving_thread.start()
    connection = HTTPConnection(server.host, timeout=20)
    connection.request("GET", "/")
    assert connection.getresponse().status == 200
    connection.close()
    server.stop()
    serving_thread.join(20)
    assert not serving_thread.is_alive()


def test_a_server_that_never_started_can_be_stopped() -> None:
    HttpServer(echo).stop()


def test_a_port_in_use_is_a_clear_error() -> None:
    with (
        serving(echo) as (server, _),
        pytest.raises(
            LocalError, match=rf"can't listen on 127\.0\.0\.1:{server.port}: Address already in use \(port 0 takes"
        ),
    ):
        HttpServer(echo, Listener(port=server.port))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_of_another_machine_is_a_clear_error(host: str) -> None:
    with pytest.raises(LocalError, match="can't listen on"):
        HttpServer(echo, Listener(host=host))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_tls(authority: trustme.CA, server_tls: ssl.SSLContext) -> None:
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)
    is_secure: list[bool] = []

    def note(request: Request) -> Response:
        is_secure.append(request.is_secure)
        return echo(request)

    with serving(note, Listener(tls=server_tls)) as (server, _):
        connection = HTTPSConnection("127.0.0.1", server.port, context=client_tls)
        for size in (5, 2 << 20):
            connection.request("POST", "/", b"x" * size)
            assert connection.getresponse().read() == b"x" * size
        connection.close()
    assert is_secure == [True, True]


def test_who_speaks_no_tls_holds_nobody_up(authority: trustme.CA, server_tls: ssl.SSLContext) -> None:
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)
    with serving(echo, Listener(tls=server_tls)) as (server, _), speaking(server, b""):
        with pytest.raises(OSError, match="reset"):
            heard(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 100)
        connection = HTTPSConnection("127.0.0.1", server.port, context=client_tls, timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()


def test_ipv6() -> None:
    with serving(echo, Listener(host="::1")) as (server, _):
        assert server.host == f"[::1]:{server.port}"
        connection = HTTPConnection("::1", server.port)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()


def test_requests_run_side_by_side() -> None:
    together = threading.Barrier(16, timeout=20)

    def meet(request: Request) -> Response:
        together.wait()
        return Response.of(200)

    statuses: list[int] = []

    def ask(server: HttpServer) -> None:
        connection = HTTPConnection(server.host, timeout=20)
        connection.request("GET", "/")
        statuses.append(connection.getresponse().status)
        connection.close()

    with serving(meet) as (server, _):
        threads = [threading.Thread(target=ask, args=(server,)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == [200] * 16
