"""Reading a mirror file: each thing in it is checked, and what is wrong is told with its line and column."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from imgmove.errors import ConfigError, LocalError, UsageError
from imgmove.mirror.config import Mirror, MirrorFile, Pattern, Pruning, RegistryRules, names_image
from imgmove.mirror.naming import PreviousName, Renaming, compile_regex
from imgmove.mirror.select import Selection
from imgmove.mirror.version import Range
from imgmove.model.credentials import Credentials
from imgmove.model.location import LayoutLocation, Location, PathLocation, RegistryLocation, RegistryPrefix
from imgmove.model.location_grammar import parse_location
from imgmove.model.platform import Platform
from imgmove.model.reference import check_host
from imgmove.settings import SideOptions, parse_rate
from imgmove.wire.yaml.marked import Path, YamlFile, parse_yaml

if TYPE_CHECKING:
    from imgmove.mirror.schema import DefaultRules, MirrorEntry, MirrorForm, PruneRules, RegistryEntry, TagRules

Meant = TypeVar("Meant")
_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_LARGEST = 16 << 20
_PLACES = "name a repository, a registry's folder with a / at its end, or oci:DIR"


def read_mirror_file(path: str, variables: Callable[[str], str | None]) -> MirrorFile:
    """Reads and checks a mirror file.

    Args:
        variables: the value of an environment variable; None for one that is not set.

    Raises:
        LocalError: the file can't be read.
        ConfigError: it is wrong; the message names line and column.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise LocalError(f"can't read the mirror file {path}: {error.strerror}") from error
    if len(content) > _LARGEST:
        raise ConfigError(f"{path} is larger than {_LARGEST >> 20} MiB")
    return parse_mirror_file(content, path, variables)


def parse_mirror_file(content: bytes, path: str, variables: Callable[[str], str | None]) -> MirrorFile:
    """Checks the content of a mirror file; see `read_mirror_file`."""
    from imgmove.mirror.schema import read_form

    file = parse_yaml(content, path)
    return _Meaning(file, read_form(file), variables).file(content)


class _Meaning:
    """Turns the checked form into what it means; the first thing that means nothing ends it."""

    def __init__(self, file: YamlFile, form: MirrorForm, variables: Callable[[str], str | None]) -> None:
        self._file = file
        self._form = form
        self._variables = variables

    def file(self, content: bytes) -> MirrorFile:
        form = self._form
        registries: dict[str, RegistryRules] = {}
        for written, entry in form.registries.items():
            path: Path = ("registries", written)
            host = self._try(path, check_host, written, at_key=True)
            if host in registries:
                raise self._file.error(path, f"{host} is there twice", at_key=True)
            registries[host] = self._registry(entry, path)
        self._check_defaults(form.defaults)
        mirrors = [self._mirror(entry, ("mirrors", number)) for number, entry in enumerate(form.mirrors)]
        names: set[str] = set()
        for number, mirror in enumerate(mirrors):
            if mirror.name in names:
                at = ("mirrors", number, "name" if form.mirrors[number].name else "source")
                raise self._file.error(at, f"two mirrors are called {mirror.name}", "give one of them another name")
            names.add(mirror.name)
        rate = self._try(("limit_rate",), parse_rate, form.limit_rate) if form.limit_rate else None
        hook = (tuple(form.hooks.change), form.hooks.timeout) if form.hooks else None
        return MirrorFile(self._file.label, content, registries, tuple(mirrors), hook, rate)

    # --- registries

    def _registry(self, entry: RegistryEntry, path: Path) -> RegistryRules:
        credentials = self._credentials(entry, path)
        ca_files: tuple[str, ...] = ()
        if entry.ca_file:
            found = self._beside(entry.ca_file)
            if not os.path.isfile(found):
                raise self._file.error((*path, "ca_file"), f"no such file: {found}")
            ca_files = (found,)
        if entry.plain_http and (entry.ca_file or not entry.tls_verify):
            raise self._file.error((*path, "plain_http"), "plain HTTP has no certificates to check")
        options = SideOptions(credentials, entry.plain_http, entry.tls_verify, ca_files)
        return RegistryRules(
            options,
            entry.requests_per_second,
            entry.max_connections,
            entry.ratelimit_floor,
            waits_at_floor=entry.ratelimit_action == "wait",
        )

    def _credentials(self, entry: RegistryEntry, path: Path) -> Credentials | None:
        if entry.password is not None and entry.password_env is not None:
            raise self._file.error((*path, "password_env"), "password and password_env exclude one another")
        password = self._filled(entry.password or "", (*path, "password"))
        if entry.password_env is not None:
            password = self._variable(entry.password_env, (*path, "password_env"))
        if entry.username is None and not password:
            return None
        if entry.username is None or not password:
            missing = "username" if password else "password or password_env"
            raise self._file.error(path, f"credentials lack {missing}", at_key=True)
        return Credentials(self._filled(entry.username, (*path, "username")), password, origin="the mirror file")

    def _filled(self, text: str, path: Path) -> str:
        return _VARIABLE.sub(lambda match: self._variable(match.group(1), path), text)

    def _variable(self, name: str, path: Path) -> str:
        value = self._variables(name)
        if not value:
            raise self._file.error(path, f"the environment variable {name!r:.80} is not set")
        return value

    # --- mirrors

    def _check_defaults(self, rules: DefaultRules) -> None:
        self._platforms(rules.platforms, ("defaults", "platforms"))
        self._selection(rules.tags, ("defaults", "tags"))
        self._previous(rules.keep_previous, ("defaults", "keep_previous"))

    def _mirror(self, entry: MirrorEntry, path: Path) -> Mirror:
        defaults = self._form.defaults
        source = self._source(entry.source, (*path, "source"))
        is_image = isinstance(source, RegistryLocation) and names_image(source)
        if is_image and entry.tags is not None:
            raise self._file.error((*path, "tags"), "the source names one image, so there are no tags to choose from")
        if is_image and entry.prune is not None and entry.prune.enabled:
            raise self._file.error((*path, "prune"), "the source names one image, so there is nothing to prune")
        destination = self._destination(entry.destination, (*path, "destination"), source, is_image=is_image)
        tags = entry.tags or (defaults.tags if not is_image else None)
        platforms = defaults.platforms if entry.platforms is None else entry.platforms
        previous = entry.keep_previous or defaults.keep_previous
        return Mirror(
            name=entry.name or entry.source,
            source=source,
            destination=destination,
            selection=self._selection(tags, (*path, "tags")),
            platforms=self._platforms(platforms, (*path, "platforms")),
            referrers=defaults.referrers if entry.referrers is None else entry.referrers,
            prune=None if is_image else _pruning(entry.prune or defaults.prune),
            keep_previous=self._previous(previous, (*path, "keep_previous")),
            renamings=self._renamings(entry, path),
        )

    def _source(self, text: str, path: Path) -> RegistryLocation | Pattern:
        if "*" in text:
            return self._pattern(text, path)
        location = self._location(text, path)
        if not isinstance(location, RegistryLocation):
            raise self._file.error(path, f"a source is a repository, an image or a pattern, not {text}")
        return location

    def _pattern(self, text: str, path: Path) -> Pattern:
        pattern = self._try(path, Pattern.parse, text)
        if ":" in pattern.glob or "@" in pattern.glob or pattern.glob.startswith("/") or "//" in pattern.glob:
            raise self._file.error(path, f"not a pattern for repositories: {text!r:.120}", "write registry/prefix/*")
        return pattern

    def _destination(
        self, text: str, path: Path, source: RegistryLocation | Pattern, *, is_image: bool
    ) -> RegistryLocation | RegistryPrefix | LayoutLocation:
        location = self._location(text, path)
        if isinstance(location, PathLocation):
            location = LayoutLocation(location.path)
        if not isinstance(location, RegistryLocation | RegistryPrefix | LayoutLocation) or text.endswith(
            (".tar", ".tgz")
        ):
            raise self._file.error(
                path, f"a destination holds many images that can change, which {text} can't", _PLACES
            )
        if isinstance(location, LayoutLocation) and (location.name or location.digest):
            raise self._file.error(path, "images keep their own names in a layout, so it is written without one")
        if isinstance(location, LayoutLocation) and location.carrier is None:
            # One name for each folder, so that mirrors that share it know of each other.
            location = LayoutLocation(os.path.realpath(self._beside(location.path)))
        if isinstance(location, RegistryLocation):
            if location.reference.digest is not None:
                raise self._file.error(path, "a destination has no digest")
            if location.has_tag and not is_image:
                raise self._file.error(path, f"{text} is one image, and the source is many", "leave the tag out")
            if isinstance(source, Pattern):
                hint = f"write {location.reference.name}/ to keep their names"
                raise self._file.error(path, f"{text} is one repository, and the source is many", hint)
        return location

    def _beside(self, path: str) -> str:
        """A path that is relative to the mirror file, as cron's own folder is nobody's choice."""
        return os.path.join(os.path.dirname(self._file.label), os.path.expanduser(path))

    def _location(self, text: str, path: Path) -> Location:
        if "${" in text:
            raise self._file.error(path, "variables are filled into credentials only")
        return self._try(path, parse_location, text)

    def _selection(self, rules: TagRules | None, path: Path) -> Selection:
        if rules is None:
            return Selection()
        regex = self._try((*path, "regex"), compile_regex, rules.regex) if rules.regex else None
        semver = self._try((*path, "semver"), Range.parse, rules.semver) if rules.semver else None
        return Selection(tuple(rules.include), tuple(rules.exclude), regex, semver, tuple(rules.variants), rules.latest)

    def _platforms(self, texts: Sequence[str], path: Path) -> tuple[Platform, ...]:
        found = [self._try((*path, number), Platform.parse, text) for number, text in enumerate(texts)]
        return tuple(dict.fromkeys(found))

    def _previous(self, template: str | None, path: Path) -> PreviousName | None:
        return self._try(path, PreviousName.parse, template) if template else None

    def _renamings(self, entry: MirrorEntry, path: Path) -> tuple[Renaming, ...]:
        found = []
        for number, rule in enumerate(entry.rename):
            at = (*path, "rename", number)
            if (rule.tag is None) is (rule.repository is None):
                raise self._file.error(at, "a rename rule has either a tag or a repository")
            try:
                if rule.tag is not None:
                    found.append(Renaming.parse("tag", rule.tag, rule.to))
                else:
                    found.append(Renaming.parse("repository", rule.repository or "", rule.to))
            except UsageError as error:
                raise self._file.error(at, error.message, error.hint) from None
        return tuple(found)

    def _try(self, path: Path, read: Callable[[str], Meant], text: str, *, at_key: bool = False) -> Meant:
        try:
            return read(text)
        except UsageError as error:
            raise self._file.error(path, error.message, error.hint, at_key=at_key) from None


def _pruning(rules: PruneRules | None) -> Pruning | None:
    return Pruning(rules.max_delete) if rules is not None and rules.enabled else None
