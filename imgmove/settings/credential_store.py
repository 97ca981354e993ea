"""Finds a registry's credentials wherever docker and podman would look, and files them where docker would."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from functools import cached_property

from imgmove.errors import ConfigError
from imgmove.model.credentials import Credentials
from imgmove.settings.auth_file import (
    DOCKER_HUB,
    DOCKER_HUB_KEY,
    AuthFile,
    canonical_host,
    canonical_key,
    encode_entry,
    registry_host,
)
from imgmove.settings.credential_helper import CredentialHelper
from imgmove.settings.environment import Environment
from imgmove.settings.user_file import replace_json_object, sole_writer


@dataclass(frozen=True)
class CredentialStore:
    """All files and helpers together. Safe to ask from several threads; each file is read once.

    Attributes:
        environment: says where the files are.
        authfile: the one file to use instead of all others (``--authfile``); empty for none.
    """

    environment: Environment
    authfile: str = ""
    _found: dict[tuple[str, str], Credentials | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def find(self, host: str, repository: str = "") -> Credentials | None:
        """The credentials for a repository; None when it is to be asked without any.

        The files are asked in this order, and the first that knows the registry answers: ``--authfile`` alone if
        given, else ``REGISTRY_AUTH_FILE`` alone if set, else podman's files, docker's and ``~/.dockercfg``. In each
        the host's helper comes first, then the entry with the longest matching path.

        Args:
            host: ``HOST[:PORT]``.
            repository: the repository's name at that host; empty for the registry as a whole.

        Raises:
            ConfigError: a file, the entry of this registry, or its helper is wrong.
            LocalError: a file may not be read, or a helper failed.
        """
        key = (canonical_host(host), repository)
        with self._lock:
            if key not in self._found:
                self._found[key] = self._search(*key)
            return self._found[key]

    def store(self, registry: str, credentials: Credentials) -> str:
        """Files credentials for a whole registry, in place of what was there for it.

        Args:
            registry: its host, or a URL of it.
            credentials: what to keep.

        Returns:
            The file, or the helper's program, that keeps them now.

        Raises:
            ConfigError: the file that is to be changed is wrong; it is left as it is.
            LocalError: the file can't be written, or the helper failed.
        """
        host, path = registry_host(registry), self.file_to_write
        with sole_writer(path):
            file = _read_to_change(path)
            helper = self._helper(file, host)
            if helper:
                helper.store(_servers(host)[0], credentials)
            # Docker, too, leaves an empty entry in the file for what a helper keeps.
            entries = _without_host(file, host) | {_servers(host)[0]: {} if helper else encode_entry(credentials)}
            replace_json_object(path, {**file.content, "auths": entries})
        self.forget()
        return helper.program if helper else path

    def erase(self, registry: str) -> bool:
        """Forgets the credentials for a whole registry; those for single repositories stay.

        Returns:
            Whether there were any.

        Raises:
            ConfigError, LocalError: as for `store`.
        """
        host, path = registry_host(registry), self.file_to_write
        if not os.path.exists(path):
            return False
        with sole_writer(path):
            file = _read_to_change(path)
            helper = self._helper(file, host)
            was_kept = helper is not None and _erase_from(helper, host)
            entries = _without_host(file, host)
            is_listed = len(entries) < len(file.entries)
            if is_listed:
                replace_json_object(path, {**file.content, "auths": entries})
        self.forget()
        return is_listed or was_kept

    def forget(self) -> None:
        """Reads files and asks helpers anew when next asked, such as after a registry refused what a helper gave."""
        with self._lock:
            self._found.clear()
            self.__dict__.pop("_files", None)

    def check_named(self) -> None:
        """Makes sure of ``--authfile``, if it is given.

        Raises:
            ConfigError, LocalError: it is not there, is wrong, or may not be read.
        """
        if self.authfile:
            _ = self._files

    @property
    def file_to_write(self) -> str:
        """The file that `store` and `erase` change."""
        return self._only_file or self.environment.docker_file

    @property
    def _only_file(self) -> str:
        return self.authfile or self.environment["REGISTRY_AUTH_FILE"]

    @cached_property
    def _files(self) -> tuple[AuthFile, ...]:
        if self._only_file:
            only = AuthFile.read(self._only_file)
            if only is None and self.authfile:
                raise ConfigError(f"there is no credentials file {self.authfile}")
            return (only,) if only else ()
        environment = self.environment
        files = [AuthFile.read(path) for path in (*environment.containers_auth_files, environment.docker_file)]
        files.append(AuthFile.read(environment.docker_legacy_file, is_legacy=True))
        return tuple(file for file in files if file)

    def _search(self, host: str, repository: str) -> Credentials | None:
        for file in self._files:
            helper = self._helper(file, host)
            kept = (helper.get(server) for server in _servers(host)) if helper else ()
            credentials = next(filter(None, kept), None) or file.find(host, repository)
            if credentials:
                return credentials
        return None

    def _helper(self, file: AuthFile, host: str) -> CredentialHelper | None:
        name = file.helper_for(host)
        return CredentialHelper(name, file.path, self.environment.variables) if name else None


def _servers(host: str) -> tuple[str, str]:
    """The names under which a helper may know a canonical host: docker's own first, then another client's."""
    return (DOCKER_HUB_KEY, DOCKER_HUB) if host == DOCKER_HUB else (host, f"https://{host}")


def _erase_from(helper: CredentialHelper, host: str) -> bool:
    # Some helpers fail when they are to erase what they don't know.
    kept = [server for server in _servers(host) if helper.get(server)]
    for server in kept:
        helper.erase(server)
    return bool(kept)


def _read_to_change(path: str) -> AuthFile:
    # Read anew, under the lock, since another process may just have changed it.
    file = AuthFile.read(path) or AuthFile(path, {})
    if file.is_legacy:
        raise ConfigError(f"{path} is in docker's oldest format, which is not written any more")
    return file


def _without_host(file: AuthFile, host: str) -> dict[str, object]:
    return {key: entry for key, entry in file.entries.items() if canonical_key(key) != host}
