"""Everything that a run was told, by options, environment variables and the user's files, for CLI and API alike."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from imgmove.errors import ConfigError, Side, UsageError
from imgmove.model.connection import ProxyRules, RegistryEndpoint, TlsFiles, is_loopback
from imgmove.model.credentials import Credentials
from imgmove.model.reference import HUB, HUB_ADDRESS
from imgmove.model.ssh import Ask, SshAccess, ask_nobody
from imgmove.settings.auth_file import canonical_host
from imgmove.settings.certificates import read_certificate_folders
from imgmove.settings.credential_store import CredentialStore
from imgmove.settings.engine_addresses import podman_keys
from imgmove.settings.environment import Environment
from imgmove.settings.registries_file import Registries, read_registries

_LONGEST_TIMEOUT = 1_000_000


@dataclass(frozen=True, slots=True)
class SideOptions:
    """What was asked for one side of a copy.

    Attributes:
        credentials: used instead of all files, for the host that the person names.
        plain_http: HTTP without TLS (True) or TLS even on a loopback address (False), for the host that the person
            names; None follows the rules.
        verify_tls: False takes any certificate.
        ca_files: authorities to trust besides the system's.
    """

    credentials: Credentials | None = None
    plain_http: bool | None = None
    verify_tls: bool = True
    ca_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostOptions:
    """What was asked for one registry, on whichever side it is; it counts more than what was asked for the side.

    Attributes:
        options: how it is reached.
        most_reading: how many connections the source side may have to it at a time; None for any number.
        most_writing: the same for the destination side.
    """

    options: SideOptions = SideOptions()
    most_reading: int | None = None
    most_writing: int | None = None


@dataclass(frozen=True, slots=True)
class SshOptions:
    """What was asked for hosts that are reached over SSH.

    Attributes:
        key: a private key to show first; empty for none.
        known_hosts: the one known_hosts file to use; empty for the usual ones.
        config: the one configuration file to use; empty for the usual ones.
        ask: asks a person for passwords and passphrases.
    """

    key: str = ""
    known_hosts: str = ""
    config: str = ""
    ask: Ask = ask_nobody


@dataclass(frozen=True)
class Settings:
    """What was told. Frozen; files are read when an answer needs them, once.

    Attributes:
        environment: the variables and folders that everything below is read from.
        source: options for the side that is read.
        destination: options for the side that is written.
        authfile: the one credentials file to use; empty for the usual ones.
        ssh: options for hosts that are reached over SSH.
        jobs: how many blobs move at a time.
        retries: how often something that failed without progress is tried again.
        timeout: seconds without a byte after which a connection counts as broken.
        limit_rate: bytes per second over all connections together; None for no limit.
        hosts: options for single registries, by ``HOST[:PORT]``.

    Raises:
        UsageError: a number is out of range.
    """

    environment: Environment = field(default_factory=Environment.read)
    source: SideOptions = SideOptions()
    destination: SideOptions = SideOptions()
    authfile: str = ""
    ssh: SshOptions = SshOptions()
    jobs: int = 32
    retries: int = 5
    timeout: float = 60.0
    limit_rate: int | None = None
    hosts: Mapping[str, HostOptions] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value, least in (("jobs", self.jobs, 1), ("retries", self.retries, 0)):
            if value < least:
                raise UsageError(f"{name} must be at least {least}, not {value}")
        if not 0 < self.timeout <= _LONGEST_TIMEOUT:
            raise UsageError(
                f"the timeout must be more than 0 and at most {_LONGEST_TIMEOUT} seconds, not {self.timeout:g}"
            )
        if self.limit_rate is not None and self.limit_rate < 1:
            raise UsageError("the rate limit must be at least 1 byte per second")

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] | None = None, *, home: str = "") -> Settings:
        """Settings without options, from given variables or the process's own. `dataclasses.replace` adds options."""
        return cls(Environment.read(variables, home=home))

    def for_side(self, side: Side) -> SideSettings:
        """What holds for the side that is read, or the one that is written."""
        return SideSettings(self, side)

    @property
    def knowledge_file(self) -> str:
        """Where what earlier runs learned is kept; it may be deleted at any time."""
        return os.path.join(self.environment.cache_folder, "knowledge.sqlite")

    @property
    def source_date(self) -> int | None:
        """``SOURCE_DATE_EPOCH``: seconds since 1970 to write where a time of making is wanted; None for none.

        Raises:
            UsageError: it is set to something else.
        """
        text = self.environment["SOURCE_DATE_EPOCH"]
        if text and not (text.isascii() and text.isdigit() and len(text) < 13):
            raise UsageError(f"SOURCE_DATE_EPOCH is not a number of seconds: {text!r:.40}")
        return int(text) if text else None

    @property
    def passphrase(self) -> bytes | None:
        """``IMGMOVE_PASSPHRASE``: what private keys are encrypted with; None where it is not set."""
        text = self.environment.variables.get("IMGMOVE_PASSPHRASE")
        return None if text is None else text.encode()

    @cached_property
    def ssh_access(self) -> SshAccess:
        """What an SSH client goes by, as a value that the wire can keep.

        Raises:
            ConfigError: a file that was named is not there.
        """
        environment, options = self.environment, self.ssh
        for what, path in (("private key", options.key), ("SSH configuration", options.config)):
            if path and not os.path.isfile(os.path.expanduser(path)):
                raise ConfigError(f"the {what} {path}: no such file")
        named = (os.path.expanduser(options.config),) if options.config else ()
        return SshAccess(
            home=environment.home,
            user=environment.user,
            agent=environment["SSH_AUTH_SOCK"],
            config_files=named or environment.ssh_config_files,
            key=os.path.expanduser(options.key),
            keys=podman_keys(environment),
            known_hosts=os.path.expanduser(options.known_hosts),
            timeout=self.timeout,
        )

    def check_files(self) -> None:
        """Makes sure of the files that options name, whether or not they will be needed: a slip shows nowhere else.

        Raises:
            ConfigError: one is not there, or can't be meant.
            LocalError: one may not be read.
        """
        self.credentials.check_named()
        if self.ssh.key or self.ssh.config:
            _ = self.ssh_access
        for path in (*self.source.ca_files, *self.destination.ca_files):
            if not os.path.isfile(path):
                raise ConfigError(f"the certificate authority {path}: no such file")

    @cached_property
    def proxies(self) -> ProxyRules:
        """Which proxy leads where, as a value that the wire can keep."""
        return self.environment.proxies

    def proxy_for(self, url: str) -> str | None:
        """The proxy for a URL; None for none. See `ProxyRules.proxy_for`."""
        return self.proxies.proxy_for(url)

    @cached_property
    def credentials(self) -> CredentialStore:
        """The credentials files and helpers: `CredentialStore.find`, ``store`` and ``erase``."""
        return CredentialStore(self.environment, self.authfile)

    @cached_property
    def registries(self) -> Registries:
        """What ``registries.conf`` says.

        Raises:
            ConfigError, LocalError: a file is wrong or may not be read.
        """
        return read_registries(self.environment)


@dataclass(frozen=True, slots=True)
class SideSettings:
    """How one side reaches its registries."""

    settings: Settings
    side: Side

    @property
    def options(self) -> SideOptions:
        """What was asked for this side."""
        return self.settings.source if self.side == "source" else self.settings.destination

    def options_for(self, host: str) -> SideOptions:
        """What was asked for one registry, else for this side."""
        named = self.settings.hosts.get(host)
        return named.options if named is not None else self.options

    def most_connections_to(self, host: str) -> int | None:
        """How many connections there may be to ``HOST[:PORT]`` at a time; None for any number."""
        named = self.settings.hosts.get(HUB if host == HUB_ADDRESS else host)
        if named is None:
            return None
        return named.most_reading if self.side == "source" else named.most_writing

    def endpoints_for(
        self, host: str, repository: str, *, tag: str = "", digest: str = ""
    ) -> tuple[RegistryEndpoint, ...]:
        """The places to try in turn for a repository: mirrors, then its own location; where writing, itself alone.

        Mirrors and other locations come from ``registries.conf`` and hold for reading only, as in podman. Its
        ``insecure`` and ``blocked`` hold for both sides. Its search registries do not count: short names are
        docker's here.

        Raises:
            ConfigError: the registry is blocked, or a file is wrong.
            LocalError: a file may not be read.
        """
        registry = self.settings.registries.choose(host, repository, tag=tag, digest=digest)
        if registry is None:
            return (self._endpoint(host, repository),)
        if registry.blocked:
            raise ConfigError(f"{registry.configured_in} blocks {registry.prefix}, so {host}/{repository} is not used")
        if self.side == "destination":
            return (self._endpoint(host, repository, insecure=registry.insecure),)
        return tuple(
            self._endpoint(place.host, place.repository, insecure=place.insecure, is_named=not place.is_mirror)
            for place in registry.places_for(host, repository, is_digest=bool(digest))
        )

    def find_credentials(self, host: str, repository: str = "") -> Credentials | None:
        """Those of the options, else of the files, for a host that the person named. See `CredentialStore.find`."""
        return self.options_for(host).credentials or self.settings.credentials.find(host, repository)

    def credentials_for(self, endpoint: RegistryEndpoint) -> Credentials | None:
        """As `find_credentials`, but a mirror never sees the credentials that were given for the named registry."""
        if endpoint.is_named:
            return self.find_credentials(endpoint.host, endpoint.repository)
        return self.settings.credentials.find(endpoint.host, endpoint.repository)

    def tls_files_for(self, host: str, *, insecure: bool = False) -> TlsFiles:
        """Whom TLS trusts at a host: the system's authorities or ``SSL_CERT_FILE``, the options', ``certs.d``'s.

        Args:
            host: ``HOST[:PORT]``.
            insecure: any certificate will do.

        Raises:
            ConfigError: ``certs.d`` holds a client certificate without its key.
        """
        found, options = self._certificates(host), self.options_for(host)
        environment = self.settings.environment
        return replace(
            found,
            ca_files=(*options.ca_files, *found.ca_files),
            verify=options.verify_tls and not insecure,
            roots_file=environment["SSL_CERT_FILE"],
            roots_folder=environment["SSL_CERT_DIR"],
        )

    def is_plain_http(self, host: str, *, is_named: bool = True) -> bool:
        """Whether a host is spoken to without TLS.

        An option for the named host decides; else a loopback address is plain HTTP, unless there is a CA option or
        ``certs.d`` has something for it.

        Raises:
            ConfigError: ``certs.d`` holds a client certificate without its key.
        """
        options = self.options_for(host)
        if is_named and options.plain_http is not None:
            return options.plain_http
        if not is_loopback(host) or options.ca_files:
            return False
        found = self._certificates(host)
        return not (found.ca_files or found.client_pairs)

    def _certificates(self, host: str) -> TlsFiles:
        return read_certificate_folders(self.settings.environment.certificate_folders, canonical_host(host))

    def _endpoint(
        self, host: str, repository: str, *, insecure: bool = False, is_named: bool = True
    ) -> RegistryEndpoint:
        plain_http = self.is_plain_http(host, is_named=is_named)
        refuses_http = is_named and self.options_for(host).plain_http is False
        return RegistryEndpoint(
            host,
            repository,
            plain_http=plain_http,
            allows_http=insecure and not plain_http and not refuses_http,
            tls=self.tls_files_for(host, insecure=insecure),
            is_named=is_named,
        )
