"""Key pairs for bundles, in files."""

from __future__ import annotations

import os
from collections.abc import Callable

from imgmove.errors import LocalError, UsageError
from imgmove.settings.user_file import read_file
from imgmove.wire.signing import PublicKey, SigningKey, load_public_key, load_signing_key, make_key_pair


def make_keys(name: str, passphrase: bytes = b"") -> tuple[str, str]:
    """Makes a pair of Ed25519 keys: ``NAME.key``, which only its owner may read, and ``NAME.pub``.

    Args:
        passphrase: encrypts the private key; empty for none.

    Returns:
        Their paths.

    Raises:
        UsageError: one is there already; a key is never overwritten.
        LocalError: they can't be written.
    """
    private_path, public_path = f"{name}.key", f"{name}.pub"
    for path in (private_path, public_path):
        if os.path.lexists(path):
            raise UsageError(f"{path} is there already, and a key is never overwritten", hint="-o gives another name")
    private, public = make_key_pair(passphrase)
    _write(private_path, private, 0o600)
    _write(public_path, public, 0o644)
    return private_path, public_path


def read_public_key(path: str) -> PublicKey:
    """A public key.

    Raises:
        LocalError, UsageError: there is none in the file.
    """
    try:
        return load_public_key(_read(path))
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", hint=error.hint) from None


def read_signing_key(
    path: str, passphrase: bytes | None = None, ask: Callable[[str], bytes] | None = None
) -> SigningKey:
    """A private key.

    Args:
        passphrase: ignored when the key is not encrypted.
        ask: asks somebody for the passphrase of a file when there is none.

    Raises:
        LocalError, UsageError: there is none in the file, or the passphrase is wrong or missing.
    """
    pem = _read(path)
    try:
        key = load_signing_key(pem, passphrase)
        if key is None and ask is not None:
            key = load_signing_key(pem, ask(path))
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", hint=error.hint) from None
    if key is None:
        raise UsageError(f"{path} is encrypted", hint="IMGMOVE_PASSPHRASE holds the passphrase")
    return key


def _read(path: str) -> bytes:
    content = read_file(path)
    if content is None:
        raise LocalError(f"{path}: no such file")
    return content


def _write(path: str, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        raise LocalError(f"{path} can't be written: {error.strerror}") from None
