"""Slow lines: what gets on is waited for, what stands still is not."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from imgmove.errors import NetworkError
from imgmove.model.connection import TlsFiles
from imgmove.streams import BytesReader
from imgmove.wire.http import Body, HttpClient

SIZE = 2 << 20
STALL = 1.0


@contextmanager
def slow(context: ssl.SSLContext | None, stops_after: int) -> Iterator[str]:
    """A server that takes 16 KiB each 25 ms, up to a point."""
    over = threading.Event()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            with suppress(OSError):
                plain, _ = listener.accept()
                with context.wrap_socket(plain, server_side=True) if context else plain as connection:
                    left = stops_after
                    while left > 0:
                        left -= len(connection.recv(16 << 10))
                        time.sleep(0.025)
                    if stops_after < SIZE:
                        over.wait(20)
                    connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            thread.join(20)


@pytest.fixture(params=["http", "https"])
def secret(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ssl.SSLContext | None, TlsFiles]:
    """The scheme, and what server and client need for it."""
    if request.param == "http":
        return "http", None, TlsFiles()
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return "https", context, TlsFiles(ca_files=(str(tmp_path / "ca.pem"),))


def test_a_body_that_gets_on_takes_its_time(secret: tuple[str, ssl.SSLContext | None, TlsFiles]) -> None:
    scheme, context, files = secret
    with slow(context, SIZE) as host, closing(HttpClient(timeout=STALL, tls_for=lambda _: files)) as client:
        response = client.request("PUT", f"{scheme}://{host}/", None, Body(BytesReader(bytes(SIZE)), SIZE))
        assert response.status == 201
        response.close()


def test_a_server_that_stands_still_is_left(secret: tuple[str, ssl.SSLContext | None, TlsFiles]) -> None:
    scheme, context, files = secret
    with (
        slow(context, SIZE // 8) as host,
        closing(HttpClient(timeout=STALL, tls_for=lambda _: files)) as client,
        pytest.raises(NetworkError),
    ):
        client.request("PUT", f"{scheme}://{host}/", None, Body(BytesReader(bytes(SIZE)), SIZE))
