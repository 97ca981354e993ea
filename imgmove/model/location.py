"""Locations: what a person types for a place (CLI contract, *Locations*), read into values.

Everything parses here that the contract names; whether a form can be used is for the endpoints to say. Nothing here
looks at the disk, so a path stays a path until somebody does.
"""

from __future__ import annotations

import difflib
import posixpath
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl

from imgmove.errors import MalformedContent, UsageError
from imgmove.model.digest import Digest
from imgmove.model.reference import HUB, Reference, check_host

ArchiveKind = Literal["archive", "oci-archive", "docker-archive"]
EngineKind = Literal["docker-daemon", "podman", "containerd"]
ArchiveCompression = Literal["none", "gzip", "zstd"]

_SSH = "+ssh"
_ENGINES = ("docker-daemon", "podman", "containerd")
_ARCHIVES = ("oci-archive", "docker-archive")
_SCHEMES = ("docker", "oci", *_ARCHIVES, *_ENGINES, "bundle")
_SSH_SCHEMES = tuple(f"{scheme}{_SSH}" for scheme in ("oci", *_ARCHIVES, *_ENGINES, "registry"))
_SUFFIXES: tuple[tuple[str, ArchiveCompression], ...] = (
    (".tar", "none"),
    (".tgz", "gzip"),
    (".tar.gz", "gzip"),
    (".tar.zst", "zstd"),
)
_SCHEME = re.compile(r"([a-z][a-z-]*(?:\+[a-z]+)?):(.*)", re.DOTALL)
_FINAL_DIGEST = re.compile(r"(.*)@((?:sha256|sha384|sha512):[0-9a-fA-F]+)", re.DOTALL)
_SSH_HOST = re.compile(r"(?:([^@/:]+)@)?(\[[0-9A-Fa-f:.%a-z]+\]|[^@/:\[\]]+)(?::([0-9]+))?")


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
        """A repository below this place."""
        path = f"{self.path}/{repository}" if self.path else repository
        return RegistryLocation(Reference(self.host, path), self.carrier, has_tag=False)

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
    """

    kind: ArchiveKind
    path: str
    name: str = ""
    digest: Digest | None = None
    carrier: SshHost | None = None

    def __str__(self) -> str:
        if self.kind == "archive":
            # No scheme says "some archive"; a path does, and it can't hold a name, but oci-archive: can.
            return _path_text(self.path) if not (self.name or self.digest) else _file_text("oci-archive", self)
        return _file_text(self.kind, self)


@dataclass(frozen=True, slots=True)
class PathLocation:
    """A path; what it is is found by looking, and what is written there its suffix says (`archive_suffix`)."""

    path: str

    def __str__(self) -> str:
        return _path_text(self.path)


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
        return f"bundle:{self.path}"


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
        options = [f"{key}={value}" for key, value in (("socket", self.socket), ("namespace", self.namespace)) if value]
        query = "?" + "&".join(options) if options else ""
        if self.carrier is None:
            return f"{self.engine}:{name}{query}"
        return f"{self.engine}{_SSH}://{self.carrier}{'/' + name if name else ''}{query}"


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


def parse_location(text: str) -> Location:
    """Reads a location. A bare word is a registry reference, never a file.

    Raises:
        UsageError: it is none; the message says why, and what may have been meant.
    """
    if text == "-":
        return PipeLocation()
    if not text or "\0" in text or text != text.strip():
        raise UsageError(f"not a location: {text!r:.200}", hint="write REGISTRY/NAME:TAG, oci:DIR or ./FILE.tar")
    if text.startswith(("/", "./", "../", "~/")) or text in (".", "..", "~"):
        return PathLocation(text)
    match = _SCHEME.fullmatch(text)
    if match and match.group(1) in (*_SCHEMES, *_SSH_SCHEMES):
        return _with_scheme(match.group(1), match.group(2))
    try:
        return _registry(text, None)
    except UsageError as error:
        raise _with_nearest_scheme(error, match.group(1) if match else "") from None


def parse_path_location(text: str) -> Location:
    """Reads a location where a file is expected: a word without a scheme is a path.

    Raises:
        UsageError: as `parse_location`.
    """
    match = _SCHEME.fullmatch(text)
    if text == "-" or (match and match.group(1) in (*_SCHEMES, *_SSH_SCHEMES)):
        return parse_location(text)
    if not text or "\0" in text:
        raise UsageError(f"not a path: {text!r:.200}")
    return PathLocation(text if text.startswith(("/", "./", "../", "~/")) else f"./{text}")


def archive_suffix(path: str) -> ArchiveCompression | None:
    """How an archive of this name is compressed; None for names that are no archive's."""
    name = path.lower()
    return next((compression for suffix, compression in _SUFFIXES if name.endswith(suffix)), None)


def _with_scheme(scheme: str, rest: str) -> Location:
    if scheme.endswith(_SSH):
        return _over_ssh(scheme.removesuffix(_SSH), scheme, rest)
    if scheme == "docker":
        if not rest.startswith("//"):
            raise UsageError(f"not a location: {f'docker:{rest}'!r:.200}", hint=f"write docker://{rest.lstrip('/')}")
        return _registry(rest.removeprefix("//"), None)
    if scheme in _ENGINES:
        return _engine(scheme, rest, None)
    if scheme == "bundle":
        return BundleLocation(_nonempty(rest, scheme))
    return _file(scheme, rest, None)


def _over_ssh(scheme: str, whole: str, rest: str) -> Location:
    form = f"{whole}://[USER@]HOST[:PORT]/…"
    if not rest.startswith("//"):
        raise UsageError(f"not a location: {f'{whole}:{rest}'!r:.200}", hint=f"write {form}")
    authority, slash, path = rest.removeprefix("//").partition("/")
    authority, question, query = authority.partition("?") if not slash else (authority, "", "")
    carrier = _ssh_host(authority, form)
    if scheme in _ENGINES:
        return _engine(scheme, path + question + query, carrier)
    if not path:
        raise UsageError(f"no path in {f'{whole}:{rest}'!r:.200}", hint=f"write {form}")
    if scheme == "registry":
        return _registry_behind(path, carrier)
    # /~/x is below the user's home folder, all else is absolute.
    return _file(scheme, path if path.startswith("~/") else f"/{path}", carrier)


def _ssh_host(text: str, form: str) -> SshHost:
    match = _SSH_HOST.fullmatch(text)
    port = int(match.group(3)) if match and match.group(3) else None
    # A host that begins with a dash would be an option to any ssh program that it is ever handed to.
    if not match or match.group(2).startswith("-") or (port is not None and not 0 < port < 65536):
        raise UsageError(f"not an SSH host: {text!r:.200}", hint=f"write {form}")
    return SshHost(match.group(2).strip("[]"), match.group(1) or "", port)


def _registry(text: str, carrier: SshHost | None) -> Location:
    if text.endswith("/"):
        host, _, path = text.rstrip("/").partition("/")
        if "." not in host and ":" not in host and host != "localhost":
            host, path = HUB, text.rstrip("/")
        if path:
            Reference.parse_repository(f"{host}/{path}")
        return RegistryPrefix(check_host(host), path, carrier)
    has_tag = bool(Reference.parse(text, default_tag="").tag)
    return RegistryLocation(Reference.parse(text), carrier, has_tag)


def _registry_behind(path: str, carrier: SshHost) -> Location:
    host, _, rest = path.partition("/")
    host = check_host(host)
    if not rest or rest.endswith("/"):
        return RegistryPrefix(host, rest.strip("/"), carrier)
    # The first part is the registry whatever it looks like, so the rest is parsed below a host that looks like one.
    reference = Reference.parse(f"registry.invalid/{rest}")
    has_tag = bool(Reference.parse(f"registry.invalid/{rest}", default_tag="").tag)
    return RegistryLocation(Reference(host, reference.repository, reference.tag, reference.digest), carrier, has_tag)


def _engine(scheme: str, rest: str, carrier: SshHost | None) -> EngineLocation:
    name, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    allowed = {"socket", "namespace"} if scheme == "containerd" else {"socket"}
    if unknown := set(options) - allowed:
        raise UsageError(
            f"{scheme} has no option {min(unknown)!r:.60}", hint=f"there is {' and '.join(sorted(allowed))}"
        )
    container = name.removeprefix("@") if name.startswith("@") else ""
    if name.startswith("@") and not container:
        raise UsageError(f"no container in {f'{scheme}:{rest}'!r:.200}", hint=f"write {scheme}:@CONTAINER")
    socket, namespace = options.get("socket", ""), options.get("namespace", "")
    return EngineLocation(scheme, "" if container else name, container, socket, namespace, carrier)  # type: ignore[arg-type]


def _file(scheme: str, rest: str, carrier: SshHost | None) -> LayoutLocation | ArchiveLocation:
    digest = None
    if match := _FINAL_DIGEST.fullmatch(rest):
        rest, digest = match.group(1), _digest(match.group(2))
    path, _, name = rest.partition(":")
    path = _nonempty(re.sub("%3[aA]", ":", path), scheme)
    if scheme == "oci":
        return LayoutLocation(path, name, digest, carrier)
    return ArchiveLocation(scheme, path, name, digest, carrier)  # type: ignore[arg-type]


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except MalformedContent as error:
        raise UsageError(error.message) from None


def _nonempty(path: str, scheme: str) -> str:
    if not path:
        raise UsageError(f"no path after {scheme}:", hint=f"write {scheme}:PATH")
    return path


def _with_nearest_scheme(error: UsageError, scheme: str) -> UsageError:
    near = difflib.get_close_matches(scheme, (*_SCHEMES, *_SSH_SCHEMES), n=1) if scheme else []
    return UsageError(error.message, hint=f"did you mean {near[0]}:?") if near else error


def _registry_text(carrier: SshHost | None, text: str) -> str:
    return f"registry{_SSH}://{carrier}/{text}" if carrier else text


def _file_text(scheme: str, location: LayoutLocation | ArchiveLocation) -> str:
    path = location.path.replace(":", "%3A")
    suffix = (f":{location.name}" if location.name else "") + (f"@{location.digest}" if location.digest else "")
    if location.carrier is None:
        return f"{scheme}:{path}{suffix}"
    return f"{scheme}{_SSH}://{location.carrier}/{path.removeprefix('/')}{suffix}"


def _path_text(path: str) -> str:
    return path if path.startswith(("/", "./", "../", "~/")) else f"./{path}"


def file_stem(path: str) -> str:
    """The name of a file or folder without its suffixes, for images that have only a tag."""
    return posixpath.basename(path.rstrip("/")).partition(".")[0].lower()
