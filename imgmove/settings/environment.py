"""The one place that looks at environment variables, and that knows where users' files lie."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from imgmove.errors import UsageError
from imgmove.model.connection import ProxyRules
from imgmove.model.platform import Platform

_LONGEST_DATE = 11
"""Digits; the year 5138 has to do."""


@dataclass(frozen=True)
class Environment:
    """What the process was started with. Nothing is read from the disk here; paths may lead nowhere.

    Attributes:
        variables: the environment variables; they may hold secrets and are not shown.
        home: the user's folder.
        system: the folder below which ``etc`` and ``run`` lie.
    """

    variables: Mapping[str, str] = field(repr=False)
    home: str
    system: str = "/"

    @classmethod
    def read(cls, variables: Mapping[str, str] | None = None, *, home: str = "", system: str = "/") -> Environment:
        """Takes the process's own variables and home folder, where no others are given."""
        known = dict(os.environ if variables is None else variables)
        return cls(known, home or known.get("HOME") or os.path.expanduser("~"), system)

    def __getitem__(self, name: str) -> str:
        """A variable, or nothing, for one that is not set."""
        return self.variables.get(name, "")

    def first(self, *names: str) -> str:
        """The first of several variables that is set to something."""
        return next((self[name] for name in names if self[name]), "")

    @property
    def config_folder(self) -> str:
        """Where the user's programs keep their settings (XDG base directory specification)."""
        return self["XDG_CONFIG_HOME"] or self._at_home(".config")

    @property
    def docker_file(self) -> str:
        """Docker's own file, to which `docker login` writes."""
        return os.path.join(self["DOCKER_CONFIG"] or self._at_home(".docker"), "config.json")

    @property
    def docker_legacy_file(self) -> str:
        """What docker wrote before version 1.7: registries at the top level."""
        return self._at_home(".dockercfg")

    @property
    def containers_auth_files(self) -> tuple[str, ...]:
        """Where podman, skopeo and buildah keep credentials, in the order in which they look."""
        runtime = self["XDG_RUNTIME_DIR"]
        first = (
            os.path.join(runtime, "containers", "auth.json")
            if runtime
            else self._in_system("run", "containers", str(os.getuid()), "auth.json")
        )
        return (first, os.path.join(self.config_folder, "containers", "auth.json"))

    @property
    def certificate_folders(self) -> tuple[str, ...]:
        """The ``certs.d`` folders of docker and podman, the user's own first."""
        user = (os.path.join(self.config_folder, engine, "certs.d") for engine in ("containers", "docker"))
        system = (self._in_system("etc", engine, "certs.d") for engine in ("containers", "docker"))
        return (*user, *system)

    @property
    def user_registries_file(self) -> str:
        """The user's ``registries.conf``, which replaces the system's."""
        return os.path.join(self.config_folder, "containers", "registries.conf")

    @property
    def system_registries_file(self) -> str:
        """The machine's ``registries.conf``."""
        return self._in_system("etc", "containers", "registries.conf")

    @property
    def user(self) -> str:
        """The name of the user; empty where nobody knows."""
        if named := self.first("LOGNAME", "USER"):
            return named
        import pwd

        try:
            return pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            return ""

    @property
    def ssh_config_files(self) -> tuple[str, ...]:
        """OpenSSH's client configuration, the user's before the machine's."""
        return (self._at_home(".ssh", "config"), self._in_system("etc", "ssh", "ssh_config"))

    @property
    def cache_folder(self) -> str:
        """Where what may be deleted at any time is kept."""
        cache = self["XDG_CACHE_HOME"]
        if not cache:
            cache = self._at_home("Library", "Caches") if sys.platform == "darwin" else self._at_home(".cache")
        return os.path.join(cache, "imgmove")

    @property
    def source_date(self) -> int | None:
        """``SOURCE_DATE_EPOCH``: seconds since 1970 that stand for now, so that builds can be repeated.

        Raises:
            UsageError: it is set to something else.
        """
        text = self["SOURCE_DATE_EPOCH"]
        if not text:
            return None
        if not text.isascii() or not text.isdigit() or len(text) > _LONGEST_DATE:
            raise UsageError(f"SOURCE_DATE_EPOCH is {text!r:.40}, not a number of seconds since 1970")
        return int(text)

    @property
    def platform(self) -> Platform:
        """What images for this machine are for; containers are Linux, whatever runs them."""
        return Platform.parse(f"linux/{os.uname().machine}")

    @property
    def proxies(self) -> ProxyRules:
        """``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY``, in capitals or not (capitals win, as in docker)."""
        entries = self.first("NO_PROXY", "no_proxy").split(",")
        return ProxyRules(
            http=self.first("HTTP_PROXY", "http_proxy"),
            https=self.first("HTTPS_PROXY", "https_proxy"),
            no_proxy=tuple(entry.strip() for entry in entries if entry.strip()),
        )

    def _at_home(self, *parts: str) -> str:
        return os.path.join(self.home, *parts)

    def _in_system(self, *parts: str) -> str:
        return os.path.join(self.system, *parts)
