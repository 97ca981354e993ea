"""Key pairs for bundles, in files."""

from __future__ import annotations

import os

from imgmove.errors import LocalError, NotFound, UsageError
from imgmove.settings.user_file import read_file
from imgmove.wire.signing import PublicKey, SigningKey, load_public_key, load_signing_key, make_key_pair


def write_key_pair(name: str, passphrase: bytes) -> tuple[str, str]:
    """Makes ``NAME.key``, which only its owner may read, and ``NAME.pub``.

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
        NotFound, LocalError, UsageError: there is none in the file.
    """
    try:
        return load_public_key(_read(path))
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", hint=error.hint) from None


def read_signing_key(path: str, passphrase: bytes | None) -> SigningKey | None:
    """A private key; None when it needs a passphrase and there is none.

    Raises:
        NotFound, LocalError, UsageError: there is none in the file, or the passphrase is wrong.
    """
    try:
        return load_signing_key(_read(path), passphrase)
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", hint=error.hint) from None


def _read(path: str) -> bytes:
    content = read_file(path)
    if content is None:
        raise NotFound(f"{path}: no such file")
    return content


def _write(path: str, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        raise LocalError(f"{path} can't be written: {error.strerror}") from None
