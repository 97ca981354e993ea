"""The one place that makes TLS contexts, out of the files that settings chose."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable

from imgmove.errors import ConfigError
from imgmove.model.connection import TlsFiles


def make_context(files: TlsFiles, *, fallback_roots: Callable[[], str] | None = None) -> ssl.SSLContext:
    """A client's context that trusts the system's authorities and those of ``files``.

    Args:
        files: what to trust, and which client certificates to show.
        fallback_roots: names a PEM file of authorities, asked only where the system has none at all, such as a
            Python from python.org on macOS. The HTTP door passes the bundle that comes with its library.

    Raises:
        ConfigError: a file is missing, may not be read, or isn't what it should be; the message names it.
    """
    context = _context_with_roots(files)
    if not files.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif fallback_roots and not (files.roots_file or files.roots_folder) and not _has_system_roots(context):
        _trust(context, fallback_roots())
    for path in files.ca_files:
        _trust(context, path)
    # OpenSSL keeps one pair for each type of key, the last one loaded: so the first named wins.
    for certificate, key in reversed(files.client_pairs):
        _show(context, certificate, key)
    return context


def make_server_context(certificate: str, key: str) -> ssl.SSLContext:
    """A server's context that shows a certificate; ``key`` may be the same PEM file.

    Raises:
        ConfigError: a file is missing, may not be read, or isn't what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        files = certificate if certificate == key else f"{certificate} and {key}"
        hint = "--tls-key names the file of its key" if certificate == key else ""
        raise ConfigError(
            f"{files} cannot be used as a server's certificate and key: {_reason(error)}", hint=hint
        ) from None
    return context


def _context_with_roots(files: TlsFiles) -> ssl.SSLContext:
    file, folder = files.roots_file or None, files.roots_folder or None
    if file or folder:
        # Each takes the place of its own half alone, as OpenSSL and Go read SSL_CERT_FILE and SSL_CERT_DIR.
        system = ssl.get_default_verify_paths()
        file = file or (system.openssl_cafile if os.path.isfile(system.openssl_cafile) else None)
        folder = folder or system.openssl_capath
    try:
        return ssl.create_default_context(cafile=file, capath=folder)
    except (OSError, ValueError) as error:
        named = files.roots_file or files.roots_folder or "the system's certificate authorities"
        raise ConfigError(f"{named} cannot be used to verify TLS: {_reason(error)}") from None


def _trust(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be used as a certificate authority: {_reason(error)}") from None


def _show(context: ssl.SSLContext, certificate: str, key: str) -> None:
    try:
        # Without a password of ours OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{certificate} and {key} cannot be used as a client certificate: {_reason(error)}") from None


def _has_system_roots(context: ssl.SSLContext) -> bool:
    # Authorities in a folder are loaded when they are needed, and don't count before.
    if context.cert_store_stats()["x509_ca"]:
        return True
    folder = ssl.get_default_verify_paths().capath
    try:
        return bool(folder and os.listdir(folder))
    except OSError:
        return False


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"it is not as expected ({(error.reason or 'no certificate or no key in it').replace('_', ' ').lower()})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "it is not as expected"
