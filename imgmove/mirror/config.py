"""What a mirror file means, as values: registries, mirrors, and the rules of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from imgmove.mirror.naming import PreviousName, Renaming
from imgmove.mirror.select import Selection
from imgmove.model.location import LayoutLocation, RegistryLocation, RegistryPrefix, SshHost
from imgmove.model.location_grammar import parse_location
from imgmove.model.platform import Platform
from imgmove.model.reference import check_host, split_host
from imgmove.settings import SideOptions

_BEHIND_SSH = re.compile(r"(registry\+ssh://[^/]*/[^/]*/)(.*)", re.DOTALL)
_WILDCARDS = {"**": ".*", "*": "[^/]*", "?": "[^/]"}


@dataclass(frozen=True, slots=True)
class RegistryRules:
    """What the file says of one registry."""

    options: SideOptions
    requests_per_second: float | None = None
    max_connections: int = 16
    ratelimit_floor: int | None = None
    waits_at_floor: bool = False


@dataclass(frozen=True, slots=True)
class Pattern:
    """The repositories of a registry that a glob fits: ``*`` within one part of the path, ``**`` across them."""

    host: str
    glob: str
    carrier: SshHost | None = None

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Reads ``registry/prefix/*``, which may stand behind ``registry+ssh://HOST/``.

        Raises:
            UsageError: the host in front is none.
        """
        if match := _BEHIND_SSH.fullmatch(text):
            place = parse_location(match.group(1))
            assert isinstance(place, RegistryPrefix)
            return cls(place.host, match.group(2), place.carrier)
        host, glob = split_host(text.removeprefix("docker://"))
        return cls(check_host(host), glob)

    @property
    def prefix(self) -> str:
        """The whole parts of the path before the first wildcard."""
        head = re.split(r"[*?]", self.glob, maxsplit=1)[0]
        return head.rpartition("/")[0]

    def fits(self, repository: str) -> bool:
        """Whether a repository is meant."""
        shape = "".join(_WILDCARDS.get(piece, re.escape(piece)) for piece in re.split(r"(\*\*|\*|\?)", self.glob))
        return re.fullmatch(shape, repository) is not None

    def __str__(self) -> str:
        return f"{RegistryPrefix(self.host, carrier=self.carrier)}{self.glob}"


@dataclass(frozen=True, slots=True)
class Pruning:
    """That tags are removed which no longer match, and how many at most."""

    max_delete: int


@dataclass(frozen=True)
class Mirror:
    """One entry of the file.

    Attributes:
        source: a repository (without a tag), one image, or a pattern.
        destination: a repository, a prefix or a layout; with a tag only for one image.
    """

    name: str
    source: RegistryLocation | Pattern
    destination: RegistryLocation | RegistryPrefix | LayoutLocation
    selection: Selection
    platforms: tuple[Platform, ...] = ()
    referrers: bool = True
    prune: Pruning | None = None
    keep_previous: PreviousName | None = None
    renamings: tuple[Renaming, ...] = ()

    @property
    def is_one_image(self) -> bool:
        """Whether the source names an image, not a repository."""
        return isinstance(self.source, RegistryLocation) and names_image(self.source)

    @property
    def carriers(self) -> set[SshHost | None]:
        """The hosts that reach its registries; None stands for this one."""
        destination = self.destination
        return {self.source.carrier, None if isinstance(destination, LayoutLocation) else destination.carrier}


@dataclass(frozen=True)
class MirrorFile:
    """A mirror file, checked.

    Attributes:
        content: the file's bytes, for workers on other machines, which fill in their own environment's secrets.
        hook: the command that hears of changes, and the seconds that it may take.
    """

    path: str
    content: bytes
    registries: Mapping[str, RegistryRules]
    mirrors: tuple[Mirror, ...]
    hook: tuple[tuple[str, ...], float] | None = None
    limit_rate: int | None = None


def names_image(location: RegistryLocation) -> bool:
    """Whether a location names an image, not a repository."""
    return location.has_tag or location.reference.digest is not None
