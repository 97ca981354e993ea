"""What a registry is, how it is spoken to and whether it is there: a first command that fails says which to change."""

from __future__ import annotations

import socket
import ssl

import pytest
import trustme

from tests.cli.conftest import Run
from tests.cli.test_wrong_input import one_line
from tests.endpoints.test_hostile_registry import hostile
from tests.quirks import RegistryServer

WITH_TLS = "add --no-src-plain-http or --no-dest-plain-http"


def test_tls_where_plain_http_is_the_rule(imgmove: Run) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with RegistryServer(tls=context) as server:
        server.put_image("app", "1")
        one_line(imgmove("tags", f"{server.host}/app", "--retries", "0"), 1, f"(if it speaks TLS, {WITH_TLS})")
        one_line(imgmove("tags", f"{server.host}/app", "--no-src-plain-http"), 6, "is not trusted")
        with authority.cert_pem.tempfile() as ca_file:
            assert imgmove("tags", f"{server.host}/app", "--ca", ca_file).stdout == "1\n"


@pytest.mark.parametrize(
    "said",
    [b"Client sent an HTTP request to an HTTPS server.\n", b"<p>The plain HTTP request was sent to HTTPS port</p>"],
)
@pytest.mark.parametrize("words", [("tags", "{}/app"), ("inspect", "{}/app:1"), ("login", "{}", "-u=a", "-p=b", "-q")])
def test_servers_for_tls_that_say_so(imgmove: Run, said: bytes, words: tuple[str, ...]) -> None:
    with hostile(lambda _, __: (400, {}, said)) as host:
        ran = imgmove(*(word.format(host) for word in words))
    one_line(ran, 1, f"{host} speaks TLS, not plain HTTP ({WITH_TLS})")


def test_another_bad_request_says_nothing_of_tls(imgmove: Run) -> None:
    with hostile(lambda _, __: (400, {}, b"{}")) as host:
        assert "TLS" not in imgmove("tags", f"{host}/app").stderr


def test_names_without_a_host(imgmove: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    said = "source: no such host: registry-1.docker.io (that is Docker Hub, where names without a host belong)"
    one_line(imgmove("tags", "alpine"), 1, said)
    assert "Docker Hub" not in imgmove("tags", "reg.invalid/app").stderr
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    assert "Docker Hub" not in imgmove("tags", "alpine", "--retries", "0").stderr
