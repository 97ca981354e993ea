"""What stands between us and a registry: client certificates, proxies, helpers and registries.conf, all real."""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import trustme

import imgmove
from imgmove.errors import AccessDenied, NetworkError
from imgmove.settings import Settings
from imgmove.settings.environment import Environment
from tests.images import build_image
from tests.real.fixtures import RealRegistry, run_registry

pytestmark = pytest.mark.real

NAME = "registry.test"
"""A name that nobody but the proxy knows."""


@pytest.fixture(scope="module")
def strict_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """With TLS, for those alone who show a certificate."""
    folder = tmp_path_factory.mktemp("strict")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued = authority.issue_cert("127.0.0.1", NAME)
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    client = authority.issue_cert("client@example.com")
    client.cert_chain_pems[0].write_to_path(str(folder / "client.cert"))
    client.private_key_pem.write_to_path(str(folder / "client.key"))
    server, ca = str(folder / "server.pem"), str(folder / "ca.pem")
    tls = {"http": {"tls": {"certificate": server, "key": server, "clientcas": [ca]}}}
    with run_registry(folder, tls, ca_file=ca) as registry:
        yield registry


def trust(settings: Settings, registry: RealRegistry, host: str, names: tuple[str, ...]) -> None:
    """Puts certificates where docker has them."""
    folder = Path(settings.environment.system, "etc", "docker", "certs.d", host)
    folder.mkdir(parents=True)
    for name in names:
        source = registry.folder / ("ca.pem" if name == "ca.crt" else name)
        (folder / name).write_bytes(source.read_bytes())


def with_variables(settings: Settings, **variables: str) -> Settings:
    known = settings.environment
    return Settings(Environment({**known.variables, **variables}, known.home, known.system), retries=0, timeout=10)


def round_trip(settings: Settings, place: str) -> None:
    """Puts an image somewhere and gets it again."""
    from imgmove.endpoints.layout import Layout
    from imgmove.wire.files import LocalFiles

    start = Path(settings.environment.home, "start")
    image = build_image()
    image.put(Layout.writable(LocalFiles(), str(start)), "app:1")
    with imgmove.Session(settings) as session:
        imgmove.copy(f"oci:{start}:app:1", place, session=session).raise_failures()
        assert not imgmove.verify(place, f"oci:{start}:app:1", session=session).differences


def test_a_client_certificate_of_certs_d(strict_registry: RealRegistry, settings: Settings) -> None:
    trust(settings, strict_registry, strict_registry.host, ("ca.crt", "client.cert", "client.key"))
    round_trip(with_variables(settings), f"{strict_registry.host}/app:1")


def test_without_a_client_certificate(strict_registry: RealRegistry, settings: Settings) -> None:
    trust(settings, strict_registry, strict_registry.host, ("ca.crt",))
    with imgmove.Session(with_variables(settings)) as session, pytest.raises(AccessDenied, match="client certificate"):
        imgmove.inspect(f"{strict_registry.host}/app:1", session=session)


# --- a proxy


@contextmanager
def tunnel(target: str, asked: list[str]) -> Iterator[str]:
    """A proxy that knows one place, wherever it is asked to go."""
    host, port = target.split(":")
    listening = socket.create_server(("127.0.0.1", 0))

    def carry(client: socket.socket) -> None:
        with closing(client), suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            asked.append(head.rpartition(b" HTTP/")[0].split(b" HTTP/")[0].decode())
            with socket.create_connection((host, int(port))) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                while True:
                    for ready in select.select([client, server], [], [], 10)[0]:
                        data = ready.recv(1 << 16)
                        if not data:
                            return
                        (server if ready is client else client).sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=carry, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def test_a_proxy_for_https_and_the_names_that_go_without(strict_registry: RealRegistry, settings: Settings) -> None:
    trust(settings, strict_registry, NAME, ("ca.crt", "client.cert", "client.key"))
    asked: list[str] = []
    with tunnel(strict_registry.host, asked) as proxy:
        round_trip(with_variables(settings, HTTPS_PROXY=f"http://{proxy}"), f"{NAME}/proxied:1")
        assert asked
        assert set(asked) == {f"CONNECT {NAME}:443"}
        asked.clear()
        direct = with_variables(settings, HTTPS_PROXY=f"http://{proxy}", NO_PROXY=f"other.test,{NAME}")
        with imgmove.Session(direct) as session, pytest.raises(NetworkError):
            imgmove.inspect(f"{NAME}/proxied:1", session=session)
        assert asked == []


def test_loopback_never_goes_through_a_proxy(plain_registry: RealRegistry, settings: Settings) -> None:
    asked: list[str] = []
    with tunnel(plain_registry.host, asked) as proxy:
        through = with_variables(settings, HTTP_PROXY=f"http://{proxy}", HTTPS_PROXY=f"http://{proxy}")
        round_trip(through, f"{plain_registry.host}/direct:1")
    assert asked == []


# --- helpers and registries.conf


@pytest.mark.parametrize("key", ["credHelpers", "credsStore"])
def test_a_credential_helper(tls_registry: RealRegistry, settings: Settings, tmp_path: Path, key: str) -> None:
    user, _, secret = tls_registry.credentials.partition(":")
    answer = json.dumps({"ServerURL": tls_registry.host, "Username": user, "Secret": secret})
    program = tmp_path / "bin" / "docker-credential-fake"
    program.parent.mkdir()
    program.write_text(f"#!{os.path.realpath(sys.executable)} -SE\nprint({answer!r})\n")
    program.chmod(0o755)
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({key: {tls_registry.host: "fake"} if key == "credHelpers" else "fake"}))
    trust(settings, tls_registry, tls_registry.host, ("ca.crt",))
    helped = with_variables(settings, PATH=str(program.parent), REGISTRY_AUTH_FILE=str(file))
    round_trip(helped, f"{tls_registry.host}/helped-{key.lower()}:1")


def test_a_location_that_is_insecure(plain_registry: RealRegistry, settings: Settings, tmp_path: Path) -> None:
    """Reading goes to the location, over plain HTTP as the file allows."""
    round_trip(with_variables(settings), f"{plain_registry.host}/located:1")
    folder = Path(settings.environment.config_folder) / "containers"
    folder.mkdir(parents=True)
    (folder / "registries.conf").write_text(
        f'[[registry]]\nprefix = "{NAME}/team"\nlocation = "{plain_registry.host}"\ninsecure = true\n'
    )
    with imgmove.Session(with_variables(settings)) as session:
        imgmove.copy(f"{NAME}/team/located:1", f"oci:{tmp_path / 'out'}", session=session).raise_failures()
