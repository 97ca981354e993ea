"""Media types of the OCI and Docker formats, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Compression = Literal["none", "gzip", "zstd"]
"""How layers and archives are compressed that we write."""

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
OCI_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar"

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_ZSTD = DOCKER_LAYER + ".zstd"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar"

DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
ORAS_ARTIFACT = "application/vnd.cncf.oras.artifact.manifest.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"

OCTET_STREAM = "application/octet-stream"

INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
SCHEMA1 = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST, ORAS_ARTIFACT, OCI_ARTIFACT})
IMAGE_CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
ACCEPTED = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST, OCI_ARTIFACT, ORAS_ARTIFACT)
"""What a client says that it takes, the preferred first."""


def is_index(media_type: str) -> bool:
    """Whether content of this type lists other manifests."""
    return media_type in INDEXES


def is_manifest(media_type: str) -> bool:
    """Whether registries keep content of this type under ``/manifests/`` (indexes and schema 1 included)."""
    return media_type in MANIFESTS or media_type in INDEXES or media_type in SCHEMA1


def is_foreign_layer(media_type: str) -> bool:
    """Whether a layer of this type stays at its own URLs (OCI image spec, *Non-distributable layers*)."""
    return media_type.startswith((OCI_FOREIGN_LAYER, DOCKER_FOREIGN_LAYER))


_COMPRESSIONS: Mapping[str, Compression] = {
    OCI_LAYER: "none",
    OCI_LAYER_GZIP: "gzip",
    OCI_LAYER_ZSTD: "zstd",
    DOCKER_LAYER: "none",
    DOCKER_LAYER_GZIP: "gzip",
    DOCKER_LAYER_ZSTD: "zstd",
}


def layer_compression(media_type: str) -> Compression | None:
    """``none``, ``gzip`` or ``zstd`` for a file system layer; None for anything else.

    Encrypted, foreign and unknown layers answer None: they are moved as they are, never converted.
    """
    return _COMPRESSIONS.get(media_type)
