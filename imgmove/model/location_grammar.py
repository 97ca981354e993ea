"""Reads what a person types for a place into a `Location` (CLI contract, *Locations*).

Everything parses here that the contract names; whether a form can be used is for the endpoints to say.
"""

from __future__ import annotations

import difflib
import re
from urllib.parse import unquote

from imgmove.errors import MalformedContent, UsageError
from imgmove.model.digest import Digest
from imgmove.model.location import (
    ARCHIVES,
    ENGINES,
    SCHEME,
    SCHEMES,
    SSH,
    ArchiveLocation,
    BundleLocation,
    EngineKind,
    EngineLocation,
    LayoutLocation,
    Location,
    PathLocation,
    PipeLocation,
    RegistryLocation,
    RegistryPrefix,
    SshHost,
    archive_suffix,
    is_path,
    path_text,
)
from imgmove.model.reference import DEFAULT_TAG, HUB, Reference, check_host, check_repository, split_host

_SSH_SCHEMES = tuple(f"{scheme}{SSH}" for scheme in ("oci", *ARCHIVES, *ENGINES, "registry"))
_ENGINES = {str(kind): kind for kind in ENGINES}
_ARCHIVES = {str(kind): kind for kind in ARCHIVES}
# What is meant as a digest, well formed or not: a slip in one must not become the name of a new folder.
_FINAL_DIGEST = re.compile(r"(.*)@((?:sha256|sha384|sha512):[^:/@]*|[A-Za-z0-9]+:[0-9a-fA-F]{32,})", re.DOTALL)
_SSH_HOST = re.compile(
    r"(?:([^/:'\"`;&<>|(){}]+)(?<!\\)@)?(\[[0-9A-Fa-f:.%a-z]+\]|[^@/:\[\]?#%'\"`;&<>|(){}$\\]+)(?::([0-9]{1,5}))?"
)
"""What means something to a shell is in no name: a ProxyCommand of the user's holds host and user (as OpenSSH refuses it)."""
_FOREIGN = {
    "dir": "oci:DIR keeps the same; docker.io/library/dir:TAG is the image",
    "ocidir": "write oci:DIR",
    "oci-dir": "write oci:DIR",
    "containers-storage": "write podman:NAME",
    "docker+ssh": "write docker-daemon+ssh://HOST/NAME, or registry+ssh://HOST/REGISTRY/NAME",
    "file": "write ./PATH or /PATH",
    "ssh": "write docker-daemon+ssh://HOST/NAME, oci+ssh://HOST/DIR, or another kind with +ssh",
    "tarball": "imgmove import FILE makes an image of a root file system",
}
"""Schemes of skopeo, regctl and others that would else be read as images on Docker Hub."""
_URL_LIKE = re.compile(r"//[^/]")
_SCP_LIKE = re.compile(r"[^/:@]+(?:@[^/:@]+)?:/.+", re.DOTALL)
_URL = re.compile(r"https?://(.*)", re.DOTALL | re.IGNORECASE)


def parse_location(text: str) -> Location:
    """Reads a location. A bare word is a registry reference, never a file.

    Raises:
        UsageError: it is none; the message says why, and what may have been meant.
    """
    if text == "-":
        return PipeLocation()
    if text and "\0" not in text and is_path(text):
        return PathLocation(text)
    if not text or "\0" in text or text != text.strip():
        raise UsageError(f"not a location: {text!r:.200}", hint="write REGISTRY/NAME:TAG, oci:DIR or ./FILE.tar")
    if url := _URL.fullmatch(text):
        raise UsageError("a registry is written without http:// or https://", hint=_without_protocol(url.group(1)))
    match = SCHEME.fullmatch(text)
    if match and match.group(1) in (*SCHEMES, *_SSH_SCHEMES):
        return _with_scheme(match.group(1), match.group(2))
    if match and (ours := _FOREIGN.get(match.group(1))):
        raise UsageError(f"there are no places of the kind {match.group(1)}:", hint=ours)
    try:
        located = _registry(text)
    except UsageError as error:
        raise _with_likely_meaning(error, text, match.group(1) if match else "") from None
    if isinstance(located, RegistryLocation) and located.reference.host == HUB:
        _check_hub(text, located.reference)
    return located


def parse_path_location(text: str) -> Location:
    """Reads a location where a file is expected: a word without a scheme is a path.

    Raises:
        UsageError: as `parse_location`.
    """
    match = SCHEME.fullmatch(text)
    if text == "-" or (match and match.group(1) in (*SCHEMES, *_SSH_SCHEMES)):
        return parse_location(text)
    if not text or "\0" in text:
        raise UsageError(f"not a path: {text!r:.200}")
    return PathLocation(path_text(text))


def parse_ssh_host(text: str) -> SshHost:
    """Reads ``[USER@]HOST[:PORT]``.

    Raises:
        UsageError: it is none.
    """
    return _ssh_host(text, "ssh://[USER@]HOST[:PORT]")


def _with_scheme(scheme: str, rest: str) -> Location:
    if scheme.endswith(SSH):
        return _over_ssh(scheme.removesuffix(SSH), scheme, rest)
    if scheme == "docker":
        if not rest.startswith("//"):
            # docker:dind is an image on Docker Hub, and docker:alpine a slip for docker://alpine: nobody can tell.
            hint = f"write docker://{rest.lstrip('/')}, or docker.io/library/docker:TAG" if rest.isprintable() else ""
            raise UsageError(f"not a location: {f'docker:{rest}'!r:.200}", hint=hint)
        return _registry(rest.removeprefix("//"))
    if engine := _ENGINES.get(scheme):
        name, question, query = rest.partition("?")
        return _engine(engine, name, query if question else None)
    if scheme == "bundle":
        return BundleLocation(_path(rest, scheme))
    return _file(scheme, rest, None)


def _over_ssh(scheme: str, whole: str, rest: str) -> Location:
    form = f"{whole}://[USER@]HOST[:PORT]/…"
    if not rest.startswith("//"):
        raise UsageError(f"not a location: {whole}: without //", hint=f"write {form}")
    rest = rest.removeprefix("//")
    if engine := _ENGINES.get(scheme):
        # The options come off first: a socket's path has slashes, and there may be none before it.
        rest, question, query = rest.partition("?")
        authority, _, name = rest.partition("/")
        return _engine(engine, name, query if question else None, _ssh_host(authority, form))
    authority, _, path = rest.partition("/")
    carrier = _ssh_host(authority, form)
    if not path:
        raise UsageError(f"no path behind the host {carrier}", hint=f"write {form}")
    if scheme == "registry":
        return _registry_behind(path, carrier)
    return _file(scheme, path, carrier)


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


def _engine(engine: EngineKind, name: str, query: str | None, carrier: SshHost | None = None) -> EngineLocation:
    options = _options(engine, query) if query is not None else {}
    container = name.removeprefix("@") if name.startswith("@") else ""
    if name.startswith("@") and not container:
        raise UsageError(f"no container after {engine}:@", hint=f"write {engine}:@CONTAINER")
    # Engines' own commands would take a dash for the beginning of an option.
    if name.startswith(("/", "-", "@-")) or "://" in name or " " in name or not name.isprintable():
        hint = f"write {engine}:NAME, or {engine}{SSH}://HOST/NAME for another host"
        raise UsageError(f"not the name of an image: {name!r:.200}", hint=hint)
    socket, namespace = options.get("socket", ""), options.get("namespace", "")
    return EngineLocation(engine, "" if container else name, container, socket, namespace, carrier)


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
    if carrier is None and _URL_LIKE.match(path):
        hint = f"write {scheme}:{path[2:200]}, or {scheme}:{path[1:200]} for one in the root folder"
        raise UsageError(f"places in files have no // after {scheme}:", hint=hint)
    if carrier and path != "~" and not path.startswith("~/"):
        # /~/x is below the user's home folder there, all else is absolute.
        path = f"/{path}"
    if not name.isprintable():
        raise UsageError(f"not a name: {name!r:.200}")
    if scheme == "oci":
        return LayoutLocation(path, name, digest, carrier)
    return ArchiveLocation(_ARCHIVES[scheme], path, name, digest, carrier)


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


def _check_hub(text: str, reference: Reference) -> None:
    """Refuses what nobody has on Docker Hub, and what is therefore meant otherwise."""
    if archive_suffix(text) and reference.repository.endswith(text):
        hint = f"a file is written ./{text}, an image {reference}"
        raise UsageError(f"{text:.200} without ./ would be an image on Docker Hub", hint=hint)
    name, _, tag = text.partition(":")
    is_host = name == "localhost" or ("." in name and "/" not in name)
    if is_host and "@" not in text and (not tag or tag.isdecimal()):
        file = "" if ":" in text or name == "localhost" else f", or ./{text} for a file"
        hint = f"write {text}/NAME:TAG, or {text}/ where images keep their names{file}; imgmove repos {text} lists them"
        raise UsageError(f"{text:.200} reads as a registry without a repository", hint=hint)


def _with_likely_meaning(error: UsageError, text: str, scheme: str) -> UsageError:
    near = difflib.get_close_matches(scheme, (*SCHEMES, *_SSH_SCHEMES), n=1) if scheme else []
    if near:
        return UsageError(error.message, hint=f"did you mean {near[0]}:?")
    if _SCP_LIKE.fullmatch(text):
        return UsageError(error.message, hint="a folder on another host is written oci+ssh://[USER@]HOST/PATH")
    return error
