"""Where registries really are, as podman and skopeo are told (*containers-registries.conf(5)*).

Short names follow docker's rules here, so search registries and short-name aliases are not looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

from imgmove.errors import ConfigError
from imgmove.settings.environment import Environment
from imgmove.settings.user_file import read_file

PullFromMirror = Literal["all", "digest-only", "tag-only"]
_PULLS = ("all", "digest-only", "tag-only")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_LOCATION = re.compile(rf"(?:{_HOST.pattern})(?:/[^\s/:@]+)*")
_PREFIX = re.compile(rf"(?:\*\.[A-Za-z0-9._-]+|{_LOCATION.pattern}(?:[:@]\S+)?)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a repository is to be read."""

    host: str
    repository: str
    insecure: bool = False
    is_mirror: bool = True


@dataclass(frozen=True, slots=True)
class Mirror:
    """A copy of a registry, and for which names it may be asked."""

    location: str
    insecure: bool = False
    pull: PullFromMirror = "all"

    def serves(self, *, is_digest: bool) -> bool:
        """Whether it may be asked for an image by digest, or by tag."""
        return self.pull in ("all", "digest-only" if is_digest else "tag-only")


@dataclass(frozen=True, slots=True)
class Registry:
    """One ``[[registry]]`` table.

    Attributes:
        prefix: which names it is for: ``HOST[:PORT][/PATH]``, with a tag or digest if need be, or ``*.DOMAIN``.
        location: what takes the place of the prefix; empty to leave names as they are.
        configured_in: the file, for messages.
    """

    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()
    configured_in: str = ""

    def matches(self, name: str) -> bool:
        """Whether a full name, perhaps with a tag and a digest, is one that the prefix is for.

        A host without a port is not the prefix of the same host with one.
        """
        if self.prefix.startswith("*."):
            return _without_port(name.partition("/")[0]).endswith(self.prefix[1:])
        ends = ("/", ":", "@") if "/" in self.prefix else ("/",)
        return name == self.prefix or name.startswith(tuple(f"{self.prefix}{end}" for end in ends))

    def places_for(self, host: str, repository: str, *, is_digest: bool) -> Iterator[Place]:
        """The mirrors that may be asked, in order, then the location.

        Raises:
            ConfigError: a location makes no name of a repository.
        """
        for mirror in self.mirrors:
            if mirror.serves(is_digest=is_digest):
                yield self._place(mirror, host, repository)
        yield replace(self._place(Mirror(self.location, self.insecure), host, repository), is_mirror=False)

    def _place(self, at: Mirror, host: str, repository: str) -> Place:
        if not at.location:
            return Place(host, repository, at.insecure)
        # A tag or digest in the prefix chooses images; it is no part of where they are.
        replaced = _without_port(host) if self.prefix.startswith("*.") else _without_version(self.prefix)
        name = f"{host}/{repository}"
        new_host, _, new_repository = (at.location + name.removeprefix(replaced)).partition("/")
        if not new_repository or not _HOST.fullmatch(new_host):
            raise ConfigError(f"{self.configured_in}: the location {at.location!r} makes no repository of {name}")
        if new_host == "docker.io" and "/" not in new_repository:
            new_repository = f"library/{new_repository}"
        return Place(new_host, new_repository, at.insecure)


@dataclass(frozen=True, slots=True)
class Registries:
    """All tables together, of which the one with the longest prefix counts for a name."""

    tables: tuple[Registry, ...] = ()

    def choose(self, host: str, repository: str, *, tag: str = "", digest: str = "") -> Registry | None:
        """The table for an image; None when none speaks of it."""
        name = f"{host}/{repository}" + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
        matching = [table for table in self.tables if table.matches(name)]
        return max(matching, key=lambda table: len(table.prefix), default=None)


def read_registries(environment: Environment) -> Registries:
    """Reads the main file and its drop-ins; a later table replaces an earlier one for the same prefix.

    ``CONTAINERS_REGISTRIES_CONF`` names the main file; else the user's stands in for the machine's, drop-ins too.

    Raises:
        ConfigError: a file is wrong, or the file that the variable names is missing.
        LocalError: a file may not be read.
    """
    named, user = environment["CONTAINERS_REGISTRIES_CONF"], environment.user_registries_file
    system = environment.system_registries_file
    main = named or (user if os.path.exists(user) else system)
    if named and not os.path.exists(named):
        raise ConfigError(f"CONTAINERS_REGISTRIES_CONF names {named}, which does not exist")
    folders = [f"{user}.d"] if main == user else [f"{system}.d", f"{user}.d"]
    tables: dict[str, Registry] = {}
    for path in (main, *(path for folder in folders for path in _drop_ins(folder))):
        tables.update(read_registries_file(path))
    return Registries(tuple(tables.values()))


def read_registries_file(path: str) -> dict[str, Registry]:
    """The tables of one file by their prefix; none when there is no such file.

    Raises:
        ConfigError: it is not TOML, breaks the format, or says two things of one prefix.
        LocalError: it may not be read.
    """
    content = read_file(path)
    if content is None:
        return {}
    document = _parse(path, content)
    tables: dict[str, Registry] = {}
    for table in _old_tables(path, document) if "registries" in document else _tables(path, document):
        if tables.setdefault(table.prefix, table) != table:
            raise ConfigError(f"{path}: there are conflicting [[registry]] tables for {table.prefix}")
    return tables


def _without_port(host: str) -> str:
    return re.sub(r":[0-9]+$", "", host)


def _without_version(prefix: str) -> str:
    host, slash, path = prefix.partition("/")
    return host + slash + re.split("[:@]", path, maxsplit=1)[0]


def _drop_ins(folder: str) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".conf"))
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names]


def _parse(path: str, content: bytes) -> dict[str, object]:
    import tomllib

    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        told = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it cannot be read"
        raise ConfigError(f"{path} is not TOML: {told}") from None


def _tables(path: str, document: Mapping[str, object]) -> Iterator[Registry]:
    for table in _list_of_tables(document.get("registry"), f"{path}: registry"):
        yield _registry(path, table)


def _registry(path: str, table: Mapping[str, object]) -> Registry:
    location, prefix = _location(path, table), _text(path, table, "prefix")
    prefix = prefix or location
    where = f"{path}: the [[registry]] of {prefix or 'nothing'!r}"
    if not prefix:
        raise ConfigError(f"{path}: a [[registry]] has neither a prefix nor a location")
    if not _PREFIX.fullmatch(prefix):
        raise ConfigError(f"{where}: that is not a prefix")
    if not location and not prefix.startswith("*."):
        raise ConfigError(f"{where} has no location")
    digest_only = _truth(where, table, "mirror-by-digest-only")
    mirrors = _list_of_tables(table.get("mirror"), f"{where}: mirror")
    return Registry(
        prefix,
        location,
        insecure=_truth(where, table, "insecure"),
        blocked=_truth(where, table, "blocked"),
        mirrors=tuple(_mirror(where, mirror, digest_only=digest_only) for mirror in mirrors),
        configured_in=path,
    )


def _mirror(where: str, table: Mapping[str, object], *, digest_only: bool) -> Mirror:
    location = _location(where, table)
    if not location:
        raise ConfigError(f"{where} has a mirror without a location")
    pull = _text(where, table, "pull-from-mirror")
    if pull and digest_only:
        raise ConfigError(f"{where} has both mirror-by-digest-only and pull-from-mirror")
    if pull and pull not in _PULLS:
        raise ConfigError(f"{where}: pull-from-mirror must be one of {', '.join(_PULLS)}, not {pull!r:.80}")
    default: PullFromMirror = "digest-only" if digest_only else "all"
    return Mirror(location, _truth(where, table, "insecure"), cast(PullFromMirror, pull) if pull else default)


def _old_tables(path: str, document: Mapping[str, object]) -> Iterator[Registry]:
    """Reads version 1, which knows only lists of insecure and blocked hosts besides search registries."""
    if "registry" in document:
        raise ConfigError(f"{path} mixes versions 1 and 2 of its format")
    insecure, blocked = _old_hosts(path, document, "insecure"), _old_hosts(path, document, "block")
    for host in dict.fromkeys((*insecure, *blocked)):
        yield Registry(host, host, insecure=host in insecure, blocked=host in blocked, configured_in=path)


def _old_hosts(path: str, document: Mapping[str, object], name: str) -> list[str]:
    registries = document["registries"]
    section = registries.get(name, {}) if isinstance(registries, dict) else None
    hosts = section.get("registries", []) if isinstance(section, dict) else None
    if not isinstance(hosts, list) or not all(isinstance(host, str) and _LOCATION.fullmatch(host) for host in hosts):
        raise ConfigError(f"{path}: registries.{name}.registries must be a list of registries")
    return hosts


def _list_of_tables(value: object, where: str) -> Iterable[Mapping[str, object]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise ConfigError(f"{where} must be a list of tables")
    return value


def _location(where: str, table: Mapping[str, object]) -> str:
    location = _text(where, table, "location").rstrip("/")
    if location and not _LOCATION.fullmatch(location):
        raise ConfigError(f"{where}: the location {location!r:.80} is not HOST[:PORT][/PATH]")
    return location


def _text(where: str, table: Mapping[str, object], name: str) -> str:
    value = table.get(name, "")
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {name} must be a text")
    return value


def _truth(where: str, table: Mapping[str, object], name: str) -> bool:
    value = table.get(name, False)
    if not isinstance(value, bool):
        raise ConfigError(f"{where}: {name} must be true or false")
    return value
