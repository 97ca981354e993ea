"""One credentials file, as docker (``config.json``, ``.dockercfg``) and podman (``auth.json``) write it.

The formats are those of *containers-auth.json(5)* and of docker's *Credential helper* pages.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from imgmove.errors import ConfigError, UsageError
from imgmove.model.credentials import Credentials
from imgmove.settings.user_file import read_json_object

DOCKER_HUB = "docker.io"
DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_DOCKER_HUB_HOSTS = ("index.docker.io", "registry-1.docker.io")


def canonical_host(host: str) -> str:
    """``docker.io`` for each of Docker Hub's names, any other host in lower case."""
    lower = host.lower()
    return DOCKER_HUB if lower in _DOCKER_HUB_HOSTS else lower


def registry_host(text: str) -> str:
    """The canonical host of what a person types for a registry: a host, a URL, or either with a path."""
    return canonical_key(text).partition("/")[0]


def canonical_key(key: str) -> str:
    """The ``HOST[:PORT][/REPOSITORY]`` that a key of ``auths`` or ``credHelpers`` stands for.

    A key that is a URL, or that ends in the path of an API version, stands for the whole host.
    """
    bare = key.strip()
    is_url = "://" in bare
    host, _, path = bare.partition("://")[2].partition("/") if is_url else bare.partition("/")
    path = path.strip("/")
    if is_url or path in ("v1", "v2"):
        path = ""
    return f"{canonical_host(host)}/{path}" if path else canonical_host(host)


def keys_for(host: str, repository: str) -> Iterator[str]:
    """The canonical keys that may stand for a repository, the most specific first."""
    parts = repository.split("/") if repository else []
    for length in range(len(parts), 0, -1):
        yield "/".join((canonical_host(host), *parts[:length]))
    yield canonical_host(host)


@dataclass(frozen=True)
class AuthFile:
    """The content of one file, of which entries are judged only when they are asked for.

    Attributes:
        path: where it was read.
        content: all of it, unknown keys too.
        is_legacy: the registries are at the top level (``.dockercfg``), and paths in keys mean nothing.
    """

    path: str
    content: Mapping[str, object] = field(repr=False)
    is_legacy: bool = False

    @classmethod
    def read(cls, path: str, *, is_legacy: bool = False) -> AuthFile | None:
        """Reads a file; None when it isn't there.

        Raises:
            ConfigError, LocalError: it cannot be read, or is not a JSON object.
        """
        content = read_json_object(path)
        if content is None:
            return None
        return cls(path, content, is_legacy or _looks_legacy(content))

    @property
    def entries(self) -> Mapping[str, object]:
        """What is filed for each registry, unjudged.

        Raises:
            ConfigError: ``auths`` is not an object.
        """
        return self.content if self.is_legacy else self._section("auths")

    def keys_of(self, wanted: str) -> list[str]:
        """The keys as written that stand for a canonical key, the one that is written canonically first."""
        found = [key for key in self.entries if self._canonical(key) == wanted]
        return sorted(found, key=lambda key: key != wanted)

    def find(self, host: str, repository: str = "") -> Credentials | None:
        """What the file itself holds for a repository; the longest key wins, an empty entry counts as none.

        Raises:
            ConfigError: the entry can't be understood; the message names file and key.
        """
        for wanted in keys_for(host, repository):
            for key in self.keys_of(wanted):
                credentials = self._entry(key)
                if credentials:
                    return credentials
        return None

    def helper_for(self, host: str) -> str:
        """The name of the program that keeps the credentials of a host; empty when the file itself does.

        A helper named ``""`` for a host means that none is asked, not even the store for all hosts.

        Raises:
            ConfigError: the name is not a text.
        """
        if self.is_legacy:
            return ""
        wanted = canonical_host(host)
        helpers = self._section("credHelpers")
        found = sorted((key for key in helpers if canonical_key(key) == wanted), key=lambda key: key != wanted)
        where, name = (
            (f"credHelpers[{found[0]!r}]", helpers[found[0]])
            if found
            else ("credsStore", self.content.get("credsStore") or "")
        )
        if not isinstance(name, str):
            raise ConfigError(f"{self.path}: {where} must be the name of a credential helper")
        return name

    def _section(self, name: str) -> Mapping[str, object]:
        section = self.content.get(name)
        if section is None:
            return {}
        if not isinstance(section, dict):
            raise ConfigError(f"{self.path}: {name} must be an object")
        return section

    def _canonical(self, key: str) -> str:
        canonical = canonical_key(key)
        return canonical.partition("/")[0] if self.is_legacy else canonical

    def _entry(self, key: str) -> Credentials:
        where = f"{self.path}: the entry of {key!r:.200}"
        entry = self.entries[key]
        if not isinstance(entry, dict):
            raise ConfigError(f"{where} must be an object")
        names = ("auth", "username", "password", "identitytoken", "registrytoken")
        texts = {name: _text(entry, name, where) for name in names}
        username, password = texts["username"], texts["password"]
        if texts["auth"]:
            username, password = _decode(texts["auth"], where)
        try:
            tokens = texts["identitytoken"], texts["registrytoken"]
            return Credentials(username, password, *tokens, origin=self.path, is_stored=True)
        except UsageError as error:
            raise ConfigError(f"{where}: {error.message}") from None


def encode_entry(credentials: Credentials) -> dict[str, object]:
    """The entry that docker writes for credentials."""
    pair = f"{credentials.username}:{credentials.password}".encode()
    entry: dict[str, object] = {"auth": base64.b64encode(pair).decode()}
    if credentials.identity_token:
        entry["identitytoken"] = credentials.identity_token
    if credentials.registry_token:
        entry["registrytoken"] = credentials.registry_token
    return entry


def _looks_legacy(content: Mapping[str, object]) -> bool:
    # An old file may be handed over under any name: it has none of the modern keys, and entries alone.
    modern = {"auths", "credHelpers", "credsStore"}
    return (
        bool(content)
        and not modern & content.keys()
        and all(isinstance(entry, dict) and "auth" in entry for entry in content.values())
    )


def _text(entry: Mapping[str, object], name: str, where: str) -> str:
    value = entry.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {name} must be a text")
    return value


def _decode(text: str, where: str) -> tuple[str, str]:
    try:
        pair = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        raise ConfigError(f"{where}: auth is not base64 of USERNAME:PASSWORD") from None
    username, colon, password = pair.partition(":")
    if not colon:
        raise ConfigError(f"{where}: auth is not base64 of USERNAME:PASSWORD")
    # Docker once padded passwords with zero bytes and still drops them.
    return username, password.strip("\0")
