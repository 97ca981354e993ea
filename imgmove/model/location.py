"""Locations: the places that images are in, as values, and how each is written (CLI contract, *Locations*).

Every location has a text (``str``) that `imgmove.model.location_grammar` reads to the same value. In a path after a
scheme only ``%3A`` is decoded, to a colon; every other percent sign is itself. Nothing here looks at the disk, so a
path stays a path until somebody does, and a ``~/`` in front of it stays as typed.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import Literal

from imgmove.model.digest import Digest
from imgmove.model.media_types import Compression
from imgmove.model.reference import Reference

ArchiveKind = Literal["archive", "oci-archive", "docker-archive"]
EngineKind = Literal["docker-daemon", "podman", "containerd"]

SSH = "+ssh"
"""What a scheme ends with whose place is on another host."""

ENGINES: tuple[EngineKind, ...] = ("docker-daemon", "podman", "containerd")
ARCHIVES: tuple[ArchiveKind, ...] = ("oci-archive", "docker-archive")
SCHEMES = ("docker", "oci", *ARCHIVES, *ENGINES, "bundle")
"""The schemes of this machine's places and of registries."""

SCHEME = re.compile(r"([a-z][a-z-]*(?:\+[a-z]+)?):(.*)", re.DOTALL)
"""A word that may be a scheme, and what is behind it."""

_SUFFIXES: tuple[tuple[str, Compression], ...] = (
    (".tar", "none"),
    (".tgz", "gzip"),
    (".tar.gz", "gzip"),
    (".tar.zst", "zstd"),
)


@dataclass(frozen=True, slots=True)
class SshHost:
    """Another host that carries a location. Empty and None mean what the user's SSH settings say."""

    host: str
    user: str = ""
    port: int | None = None

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{user}{host}" + (f":{self.port}" if self.port is not None else "")


@dataclass(frozen=True, slots=True)
class RegistryLocation:
    """An image or a repository in a registry.

    Attributes:
        has_tag: whether the tag was typed, rather than filled in.
    """

    reference: Reference
    carrier: SshHost | None = None
    has_tag: bool = field(default=True, compare=False)

    def __str__(self) -> str:
        return _registry_text(self.carrier, str(self.reference))


@dataclass(frozen=True, slots=True)
class RegistryPrefix:
    """A place below which images keep their own repository names: ``reg.example.com/team/``.

    Attributes:
        path: without slashes at its ends; empty for the registry itself.
    """

    host: str
    path: str = ""
    carrier: SshHost | None = None

    def join(self, repository: str) -> RegistryLocation:
        """A repository below this place.

        Raises:
            UsageError: the two together are no repository, as when they are too long.
        """
        path = f"{self.path}/{repository}" if self.path else repository
        return RegistryLocation(Reference.parse_at(self.host, path, default_tag=""), self.carrier, has_tag=False)

    def __str__(self) -> str:
        return _registry_text(self.carrier, f"{self.host}/{self.path}/" if self.path else f"{self.host}/")


@dataclass(frozen=True, slots=True)
class LayoutLocation:
    """An OCI image layout in a folder, or one image in it."""

    path: str
    name: str = ""
    digest: Digest | None = None
    carrier: SshHost | None = None

    def __str__(self) -> str:
        return _file_text("oci", self)


@dataclass(frozen=True, slots=True)
class ArchiveLocation:
    """An image archive in one tar file, or one image in it.

    Attributes:
        kind: ``archive`` where the person left it open.
        shown: what people call it, where its path says nothing to them, as with what came out of a pipe.
    """

    kind: ArchiveKind
    path: str
    name: str = ""
    digest: Digest | None = None
    carrier: SshHost | None = None
    shown: str = ""

    def __str__(self) -> str:
        if self.shown:
            return self.shown
        if self.kind == "archive":
            # No scheme says "some archive"; a path does, and it can't hold a name, but oci-archive: can.
            return path_text(self.path) if not (self.name or self.digest) else _file_text("oci-archive", self)
        return _file_text(self.kind, self)


@dataclass(frozen=True, slots=True)
class PathLocation:
    """A path; what it is is found by looking, and what is written there its suffix says (`archive_suffix`)."""

    path: str

    def __str__(self) -> str:
        return path_text(self.path)


@dataclass(frozen=True, slots=True)
class PipeLocation:
    """An archive on stdin or stdout."""

    def __str__(self) -> str:
        return "-"


@dataclass(frozen=True, slots=True)
class BundleLocation:
    """An air-gap bundle."""

    path: str

    def __str__(self) -> str:
        return f"bundle:{self.path.replace(':', '%3A')}"


@dataclass(frozen=True, slots=True)
class EngineLocation:
    """An image of a container engine, or one of its containers.

    Attributes:
        name: of the image, as the engine is asked for it; empty where images keep their own names.
        container: a container's name or ID instead of an image's.
        socket: where the engine listens, if not in the usual place.
        namespace: of containerd, if not the usual one.
    """

    engine: EngineKind
    name: str = ""
    container: str = ""
    socket: str = ""
    namespace: str = ""
    carrier: SshHost | None = None

    def __str__(self) -> str:
        name = f"@{self.container}" if self.container else self.name
        given = (("socket", self.socket), ("namespace", self.namespace))
        options = [f"{key}={value.replace('%', '%25').replace('&', '%26')}" for key, value in given if value]
        query = "?" + "&".join(options) if options else ""
        if self.carrier is None:
            return f"{self.engine}:{name}{query}"
        return f"{self.engine}{SSH}://{self.carrier}{'/' + name if name else ''}{query}"


Location = (
    RegistryLocation
    | RegistryPrefix
    | LayoutLocation
    | ArchiveLocation
    | PathLocation
    | PipeLocation
    | BundleLocation
    | EngineLocation
)


def archive_suffix(path: str) -> Compression | None:
    """How an archive of this name is compressed; None for names that are no archive's."""
    name = path.lower()
    return next((compression for suffix, compression in _SUFFIXES if name.endswith(suffix)), None)


def is_path(text: str) -> bool:
    """Whether a word is a path by its beginning."""
    return text.startswith(("/", "./", "../", "~/")) or text in {".", "..", "~"}


def _registry_text(carrier: SshHost | None, text: str) -> str:
    if carrier:
        return f"registry{SSH}://{carrier}/{text}"
    match = SCHEME.fullmatch(text)
    # A scheme wins over a registry of that name, such as oci:5000.
    return f"docker://{text}" if match and match.group(1) in SCHEMES else text


def _file_text(scheme: str, location: LayoutLocation | ArchiveLocation) -> str:
    path = location.path.replace(":", "%3A")
    suffix = (f":{location.name}" if location.name else "") + (f"@{location.digest}" if location.digest else "")
    if location.carrier is None:
        return f"{scheme}:{path}{suffix}"
    return f"{scheme}{SSH}://{location.carrier}/{path.removeprefix('/')}{suffix}"


def path_text(path: str) -> str:
    """A path so written that it is read as one."""
    return path if is_path(path) else f"./{path}"


def file_stem(path: str) -> str:
    """The name of a file or folder without its suffixes, for images that have only a tag."""
    return posixpath.basename(path.rstrip("/")).partition(".")[0].lower()
