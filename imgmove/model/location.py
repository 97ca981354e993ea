"""Locations: what a person types for a place (CLI contract, *Locations*), read into values.

Everything parses here that the contract names; whether a form can be used is for the endpoints to say. Nothing here
looks at the disk, so a path stays a path until somebody does, and a ``~/`` in front of it stays as typed.

In a path after a scheme only ``%3A`` is decoded, to a colon; every other percent sign is itself. Every location that
was parsed has a text (``str``) that parses to the same value.
"""

from __future__ import annotations

import difflib
import posixpath
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

from imgmove.errors import MalformedContent, UsageError
from imgmove.model.digest import Digest
from imgmove.model.reference import DEFAULT_TAG, Reference, check_host, check_repository, split_host

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
# What is meant as a digest, well formed or not: a slip in one must not become the name of a new folder.
_FINAL_DIGEST = re.compile(r"(.*)@((?:sha256|sha384|sha512):[^:/@]*|[A-Za-z0-9]+:[0-9a-fA-F]{32,})", re.DOTALL)
_SSH_HOST = re.compile(r"(?:([^@/:]+)@)?(\[[0-9A-Fa-f:.%a-z]+\]|[^@/:\[\]?#%]+)(?::([0-9]{1,5}))?")
_URL = re.compile(r"https?://(.*)", re.DOTALL | re.IGNORECASE)


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
    if text and "\0" not in text and _is_path(text):
        return PathLocation(text)
    if not text or "\0" in text or text != text.strip():
        raise UsageError(f"not a location: {text!r:.200}", hint="write REGISTRY/NAME:TAG, oci:DIR or ./FILE.tar")
    if url := _URL.fullmatch(text):
        raise UsageError("a registry is written without http:// or https://", hint=_without_protocol(url.group(1)))
    match = _SCHEME.fullmatch(text)
    if match and match.group(1) in (*_SCHEMES, *_SSH_SCHEMES):
        return _with_scheme(match.group(1), match.group(2))
    try:
        return _registry(text)
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
    return PathLocation(_path_text(text))


def archive_suffix(path: str) -> ArchiveCompression | None:
    """How an archive of this name is compressed; None for names that are no archive's."""
    name = path.lower()
    return next((compression for suffix, compression in _SUFFIXES if name.endswith(suffix)), None)


def _is_path(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~/")) or text in {".", "..", "~"}


def _with_scheme(scheme: str, rest: str) -> Location:
    if scheme.endswith(_SSH):
        return _over_ssh(scheme.removesuffix(_SSH), scheme, rest)
    if scheme == "docker":
        if not rest.startswith("//"):
            # docker:dind is an image on Docker Hub, and docker:alpine a slip for docker://alpine: nobody can tell.
            hint = f"write docker://{rest.lstrip('/')}, or docker.io/library/docker:TAG" if rest.isprintable() else ""
            raise UsageError(f"not a location: {f'docker:{rest}'!r:.200}", hint=hint)
        return _registry(rest.removeprefix("//"))
    if scheme in _ENGINES:
        name, question, query = rest.partition("?")
        return _engine(scheme, name, query if question else None)
    if scheme == "bundle":
        return BundleLocation(_path(rest, scheme))
    return _file(scheme, rest, None)


def _over_ssh(scheme: str, whole: str, rest: str) -> Location:
    form = f"{whole}://[USER@]HOST[:PORT]/…"
    if not rest.startswith("//"):
        raise UsageError(f"not a location: {whole}: without //", hint=f"write {form}")
    rest = rest.removeprefix("//")
    if scheme in _ENGINES:
        # The options come off first: a socket's path has slashes, and there may be none before it.
        rest, question, query = rest.partition("?")
        authority, _, name = rest.partition("/")
        return _engine(scheme, name, query if question else None, _ssh_host(authority, form))
    authority, _, path = rest.partition("/")
    carrier = _ssh_host(authority, form)
    if not path:
        raise UsageError(f"no path behind the host {carrier}", hint=f"write {form}")
    if scheme == "registry":
        return _registry_behind(path, carrier)
    return _file(scheme, path, carrier)


def parse_ssh_host(text: str) -> SshHost:
    """Reads ``[USER@]HOST[:PORT]``.

    Raises:
        UsageError: it is none.
    """
    return _ssh_host(text, "ssh://[USER@]HOST[:PORT]")


def _ssh_host(text: str, form: str) -> SshHost:
    if ":" in text.rpartition("@")[0]:
        # Nothing of it is repeated in the message.
        raise UsageError("an SSH location can't hold a password", hint="use a key or an SSH agent")
    match = _SSH_HOST.fullmatch(text)
    is_clean = text.isprintable() and " " not in text
    user, host, port = match.groups(default="") if match and is_clean else ("", "", "")
    # What begins with a dash would be an option to any ssh program that it is ever handed to.
    if not host or host.startswith("-") or user.startswith("-") or (port and not 0 < int(port) < 65536):
        raise UsageError(f"not an SSH host: {text!r:.200}", hint=f"write {form}")
    return SshHost(host.strip("[]"), user, int(port) if port else None)


def _registry(text: str) -> Location:
    if text.endswith("/"):
        host, path = split_host(text)
        return _prefix(host, path, None)
    return _image(Reference.parse(text, default_tag=""), None)


def _registry_behind(path: str, carrier: SshHost) -> Location:
    host, _, rest = path.partition("/")
    if not rest or rest.endswith("/"):
        return _prefix(check_host(host), rest, carrier)
    return _image(Reference.parse_at(host, rest, default_tag=""), carrier)


def _prefix(host: str, path: str, carrier: SshHost | None) -> RegistryPrefix:
    if path:
        check_repository(path.removesuffix("/"), path)
    return RegistryPrefix(host, path.removesuffix("/"), carrier)


def _image(reference: Reference, carrier: SshHost | None) -> RegistryLocation:
    is_complete = reference.tag or reference.digest
    filled = reference if is_complete else reference.with_tag(DEFAULT_TAG)
    return RegistryLocation(filled, carrier, bool(reference.tag))


def _engine(scheme: str, name: str, query: str | None, carrier: SshHost | None = None) -> EngineLocation:
    options = _options(scheme, query) if query is not None else {}
    container = name.removeprefix("@") if name.startswith("@") else ""
    if name.startswith("@") and not container:
        raise UsageError(f"no container after {scheme}:@", hint=f"write {scheme}:@CONTAINER")
    if name.startswith("/") or " " in name or not name.isprintable():
        hint = f"write {scheme}:NAME, or {scheme}{_SSH}://HOST/NAME for another host"
        raise UsageError(f"not the name of an image: {name!r:.200}", hint=hint)
    socket, namespace = options.get("socket", ""), options.get("namespace", "")
    return EngineLocation(scheme, "" if container else name, container, socket, namespace, carrier)  # type: ignore[arg-type]


def _options(scheme: str, query: str) -> dict[str, str]:
    """Reads ``key=value&key=value``; ``%XX`` is decoded, and a plus sign is a plus sign."""
    allowed = ("namespace", "socket") if scheme == "containerd" else ("socket",)
    options: dict[str, str] = {}
    for item in query.split("&"):
        key, _, text = item.partition("=")
        value = unquote(text)
        if key not in allowed:
            raise UsageError(f"{scheme} has no option {key!r:.60}", hint=f"there is {' and '.join(allowed)}")
        if not value or not value.isprintable() or key in options:
            raise UsageError(f"the option {key} takes one value: {query!r:.200}")
        options[key] = value
    return options


def _file(scheme: str, rest: str, carrier: SshHost | None) -> LayoutLocation | ArchiveLocation:
    digest = None
    if match := _FINAL_DIGEST.fullmatch(rest):
        rest, digest = match.group(1), _digest(match.group(2))
    typed, _, name = rest.partition(":")
    path = _path(typed, scheme)
    if carrier and path != "~" and not path.startswith("~/"):
        # /~/x is below the user's home folder there, all else is absolute.
        path = f"/{path}"
    if not name.isprintable():
        raise UsageError(f"not a name: {name!r:.200}")
    if scheme == "oci":
        return LayoutLocation(path, name, digest, carrier)
    return ArchiveLocation(scheme, path, name, digest, carrier)  # type: ignore[arg-type]


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except MalformedContent as error:
        raise UsageError(error.message) from None


def _path(typed: str, scheme: str) -> str:
    if not typed:
        raise UsageError(f"no path after {scheme}:", hint=f"write {scheme}:PATH")
    return re.sub("%3[aA]", ":", typed)


def _without_protocol(rest: str) -> str:
    try:
        return f"write {Reference.parse(rest, default_tag='')}; --src-plain-http and --dest-plain-http choose HTTP"
    except UsageError:
        return "write HOST[:PORT]/NAME:TAG; --src-plain-http and --dest-plain-http choose HTTP"


def _with_nearest_scheme(error: UsageError, scheme: str) -> UsageError:
    near = difflib.get_close_matches(scheme, (*_SCHEMES, *_SSH_SCHEMES), n=1) if scheme else []
    return UsageError(error.message, hint=f"did you mean {near[0]}:?") if near else error


def _registry_text(carrier: SshHost | None, text: str) -> str:
    if carrier:
        return f"registry{_SSH}://{carrier}/{text}"
    match = _SCHEME.fullmatch(text)
    # A scheme wins over a registry of that name, such as oci:5000.
    return f"docker://{text}" if match and match.group(1) in _SCHEMES else text


def _file_text(scheme: str, location: LayoutLocation | ArchiveLocation) -> str:
    path = location.path.replace(":", "%3A")
    suffix = (f":{location.name}" if location.name else "") + (f"@{location.digest}" if location.digest else "")
    if location.carrier is None:
        return f"{scheme}:{path}{suffix}"
    return f"{scheme}{_SSH}://{location.carrier}/{path.removeprefix('/')}{suffix}"


def _path_text(path: str) -> str:
    return path if _is_path(path) else f"./{path}"


def file_stem(path: str) -> str:
    """The name of a file or folder without its suffixes, for images that have only a tag."""
    return posixpath.basename(path.rstrip("/")).partition(".")[0].lower()
