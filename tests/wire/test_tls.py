from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from imgmove.errors import ConfigError
from imgmove.model.connection import TlsFiles
from imgmove.wire import tls
from imgmove.wire.tls import make_context


class Certificates:
    """An authority, a server at ``localhost`` and two clients of it, in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.server = self.authority.issue_cert("localhost")
        self.authority.cert_pem.write_to_path(folder / "ca.pem")
        for name in ("first", "second"):
            client = self.authority.issue_cert(f"{name}@example.org", common_name=name)
            client.cert_chain_pems[0].write_to_path(folder / f"{name}.cert")
            client.private_key_pem.write_to_path(folder / f"{name}.key")

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def pair(self, name: str) -> tuple[str, str]:
        return self.path(f"{name}.cert"), self.path(f"{name}.key")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def greet(certificates: Certificates, context: ssl.SSLContext, *, asks_for_client: bool = False) -> str:
    """Connects to a TLS server that answers with the name in the client's certificate, or with nothing."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificates.server.configure_cert(server)
    if asks_for_client:
        certificates.authority.configure_trust(server)
        server.verify_mode = ssl.CERT_REQUIRED
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as connection:
                peer: Any = connection.getpeercert() or {}
                names = dict(item for group in peer.get("subject", ()) for item in group)
                connection.sendall(names.get("commonName", "").encode())
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ours, context.wrap_socket(ours, server_hostname="localhost") as connection:
            return connection.recv(100).decode()
    finally:
        thread.join()


def test_an_authority_that_is_not_known_is_refused(certificates: Certificates) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        greet(certificates, make_context(TlsFiles()))


def test_an_authority_of_an_option(certificates: Certificates) -> None:
    assert greet(certificates, make_context(TlsFiles((certificates.path("ca.pem"),)))) == ""


def test_no_verification_when_asked_for(certificates: Certificates) -> None:
    assert greet(certificates, make_context(TlsFiles(verify=False))) == ""


def test_a_file_in_place_of_the_systems_authorities(certificates: Certificates) -> None:
    assert greet(certificates, make_context(TlsFiles(roots_file=certificates.path("ca.pem")))) == ""


def test_a_client_certificate_is_shown_the_first_of_its_type(certificates: Certificates) -> None:
    files = TlsFiles((certificates.path("ca.pem"),), (certificates.pair("first"), certificates.pair("second")))
    assert greet(certificates, make_context(files), asks_for_client=True) == "first"


def test_roots_of_last_resort_only_where_the_system_has_none(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A system without authorities: nothing is loaded by default and the folder is empty.
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: None)
    for folder, trusts in ((str(tmp_path), True), (None, True), (str(certificates.folder), False)):
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda found=folder: SimpleNamespace(capath=found))
        context = make_context(TlsFiles(), fallback_roots=lambda: certificates.path("ca.pem"))
        assert bool(context.cert_store_stats()["x509_ca"]) is trusts


@pytest.mark.parametrize("content", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_an_authority_that_is_none(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    for files in (TlsFiles((str(path),)), TlsFiles(roots_file=str(path))):
        with pytest.raises(ConfigError, match=rf"^{path} cannot be used "):
            make_context(files)


@pytest.mark.parametrize("fault", ["absent", "no key", "other key", "encrypted"])
def test_a_client_certificate_that_is_none(certificates: Certificates, tmp_path: Path, fault: str) -> None:
    certificate, key = certificates.pair("first")
    if fault == "absent":
        key = str(tmp_path / "absent.key")
    elif fault == "no key":
        key = certificate
    elif fault == "other key":
        key = certificates.path("second.key")
    else:
        key = encrypted(Path(key), tmp_path / "encrypted.key")
    with pytest.raises(ConfigError, match=f"{certificate} and {key} cannot be used as a client certificate"):
        make_context(TlsFiles(client_pairs=((certificate, key),)))


def encrypted(key: Path, to: Path) -> str:
    from cryptography.hazmat.primitives import serialization

    private = serialization.load_pem_private_key(key.read_bytes(), None)
    to.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    return str(to)


def test_the_standard_library_is_enough() -> None:
    script = (
        f"import sys, {tls.__name__}; print([m for m in ('requests', 'certifi', 'cryptography') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
