"""Finds the certificates that docker and podman keep for a registry (*containers-certs.d(5)*)."""

from __future__ import annotations

import os
from collections.abc import Iterable

from imgmove.errors import ConfigError
from imgmove.model.connection import TlsFiles


def read_certificate_folders(folders: Iterable[str], host: str) -> TlsFiles:
    """What all ``certs.d`` folders hold for a ``HOST[:PORT]``, united in their order.

    A folder that may not be looked into is passed over, as podman does: docker's often belongs to root alone.

    Raises:
        ConfigError: a client certificate is without its key, or a key without its certificate.
    """
    if "/" in host or host in ("", ".", ".."):
        return TlsFiles()
    authorities: list[str] = []
    pairs: list[tuple[str, str]] = []
    for parent in folders:
        folder = os.path.join(parent, host)
        names = _names(folder)
        authorities += [os.path.join(folder, name) for name in names if name.endswith(".crt")]
        pairs += _pairs(folder, set(names))
    return TlsFiles(ca_files=tuple(authorities), client_pairs=tuple(pairs))


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _pairs(folder: str, names: set[str]) -> list[tuple[str, str]]:
    certificates = {name.removesuffix(".cert") for name in names if name.endswith(".cert")}
    keys = {name.removesuffix(".key") for name in names if name.endswith(".key")}
    for name in sorted(certificates ^ keys):
        have, lack = (".cert", ".key") if name in certificates else (".key", ".cert")
        raise ConfigError(f"{os.path.join(folder, name + have)} has no {name + lack} beside it")
    return [
        (os.path.join(folder, f"{name}.cert"), os.path.join(folder, f"{name}.key")) for name in sorted(certificates)
    ]
