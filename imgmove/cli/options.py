"""The options of the commands, and the settings that they come to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated

import typer

from imgmove.cli.asking import ask_secret
from imgmove.model.credentials import Credentials
from imgmove.settings import Settings, SideOptions, SshOptions, parse_rate
from imgmove.stages.options import CopyOptions


class Compression(StrEnum):
    """For typer, which shows the choices."""

    keep = "keep"
    gzip = "gzip"
    zstd = "zstd"
    none = "none"


class Format(StrEnum):
    """For typer, which shows the choices."""

    keep = "keep"
    oci = "oci"
    docker = "docker"


class ProgressKind(StrEnum):
    """For typer, which shows the choices."""

    auto = "auto"
    bar = "bar"
    plain = "plain"
    none = "none"


class LogFormat(StrEnum):
    """For typer, which shows the choices."""

    text = "text"
    json = "json"


@dataclass(frozen=True)
class Telling:
    """What is told on stderr."""

    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes.")] = False
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more: each blob, each retry, causes.")] = False
    log_format: Annotated[LogFormat, typer.Option(help="Notes and errors as text or JSON lines.")] = LogFormat.text

    @property
    def watching(self) -> ProgressKind:
        """How progress shows; not at all in what is done at once."""
        return ProgressKind.none


@dataclass(frozen=True)
class Output(Telling):
    """What is told, for commands that have a result and are done at once."""

    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False


@dataclass(frozen=True)
class WatchedOutput(Output):
    """What is told, for commands that move or read content for a while."""

    progress: Annotated[ProgressKind, typer.Option(help="Bars on a terminal, a line now and then without one.")] = (
        ProgressKind.auto
    )

    @property
    def watching(self) -> ProgressKind:
        """As was asked for."""
        return self.progress


Jobs = Annotated[
    int | None,
    typer.Option(help="Blobs and requests at the same time; 32 by default.", metavar="N", show_default=False),
]


@dataclass(frozen=True)
class Keeping:
    """Where credentials lie."""

    authfile: Annotated[str, typer.Option(help="The credentials file to use.", metavar="FILE", show_default=False)] = ""

    def applied(self, known: Settings) -> Settings:
        """The settings with what was asked for here."""
        return replace(known, authfile=self.authfile)


@dataclass(frozen=True)
class Trying(Keeping):
    """How long to try."""

    retries: Annotated[
        int | None,
        typer.Option(help="New tries in a row without progress; 5 by default.", metavar="N", show_default=False),
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option(
            help="Without a byte, until a connection is given up; 60 by default.", metavar="SECONDS", show_default=False
        ),
    ] = None

    def applied(self, known: Settings) -> Settings:
        """The settings with what was asked for here."""
        return replace(
            super().applied(known),
            retries=known.retries if self.retries is None else self.retries,
            timeout=known.timeout if self.timeout is None else self.timeout,
        )


@dataclass(frozen=True)
class Reaching(Trying):
    """How to reach any place."""

    ssh_key: Annotated[
        str, typer.Option("--ssh-key", help="The private key for SSH hosts.", metavar="FILE", show_default=False)
    ] = ""
    ssh_known_hosts: Annotated[
        str, typer.Option("--ssh-known-hosts", help="Known SSH hosts.", metavar="FILE", show_default=False)
    ] = ""
    ssh_config: Annotated[
        str, typer.Option("--ssh-config", help="Instead of ~/.ssh/config.", metavar="FILE", show_default=False)
    ] = ""

    def applied(self, known: Settings) -> Settings:
        """The settings with what was asked for here."""
        ssh = SshOptions(self.ssh_key, self.ssh_known_hosts, self.ssh_config, ask_secret)
        return replace(super().applied(known), ssh=ssh)


@dataclass(frozen=True)
class Running(Reaching):
    """How hard and how long to try, and with whose files, where many things are done side by side."""

    jobs: Jobs = None

    def applied(self, known: Settings) -> Settings:
        """The settings with what was asked for here."""
        return replace(super().applied(known), jobs=known.jobs if self.jobs is None else self.jobs)


@dataclass(frozen=True)
class Moving:
    """What moves and how it changes on the way."""

    platform: Annotated[
        list[str],
        typer.Option(
            "--platform", help="Such as linux/arm64; one is taken as it is, several make an index.", metavar="OS/ARCH"
        ),
    ] = field(default_factory=list)
    referrers: Annotated[
        bool, typer.Option("--referrers/--no-referrers", help="Signatures, attestations and SBOMs travel too.")
    ] = True
    recheck: Annotated[
        bool, typer.Option("--recheck", help="Look at everything, even where the tag is the same already.")
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and move nothing.")] = False
    compression: Annotated[Compression, typer.Option(help="Of layers; changes digests.")] = Compression.keep
    compression_level: Annotated[int | None, typer.Option(help="1-9 for gzip, 1-22 for zstd.", metavar="N")] = None
    format: Annotated[Format, typer.Option(help="Of manifests; changes digests.")] = Format.keep
    limit_rate: Annotated[
        str,
        typer.Option(help="Bytes per second over all connections, such as 20M.", metavar="RATE", show_default=False),
    ] = ""

    def options(self, *, all_tags: bool = False, additional_tags: tuple[str, ...] = ()) -> CopyOptions:
        """As the stage wants it."""
        return CopyOptions(
            platforms=tuple(self.platform),
            all_tags=all_tags,
            additional_tags=additional_tags,
            referrers=self.referrers,
            recheck=self.recheck,
            compression=self.compression.value,
            compression_level=self.compression_level,
            format=self.format.value,
            dry_run=self.dry_run,
        )


@dataclass(frozen=True)
class SourceAccess:
    """How the side that is read is reached."""

    src_creds: Annotated[
        str, typer.Option("--src-creds", metavar="USER[:PASSWORD]", show_default=False, help="For the source.")
    ] = ""
    src_no_tls_verify: Annotated[
        bool, typer.Option("--src-no-tls-verify", help="Take any certificate at the source.")
    ] = False
    src_plain_http: Annotated[
        bool | None,
        typer.Option(
            "--src-plain-http/--no-src-plain-http", help="HTTP without TLS, as on loopback.", show_default=False
        ),
    ] = None
    src_ca: Annotated[
        str, typer.Option("--src-ca", metavar="FILE", show_default=False, help="Authority to trust at the source.")
    ] = ""

    def side(self) -> SideOptions:
        """As settings want it."""
        verify = not self.src_no_tls_verify
        return _side("--src-creds", self.src_creds, self.src_ca, verify=verify, plain_http=self.src_plain_http)


@dataclass(frozen=True)
class DestinationAccess:
    """How the side that is written is reached."""

    dest_creds: Annotated[
        str, typer.Option("--dest-creds", metavar="USER[:PASSWORD]", show_default=False, help="For the destination.")
    ] = ""
    dest_no_tls_verify: Annotated[
        bool, typer.Option("--dest-no-tls-verify", help="Take any certificate at the destination.")
    ] = False
    dest_plain_http: Annotated[
        bool | None,
        typer.Option(
            "--dest-plain-http/--no-dest-plain-http", help="HTTP without TLS, as on loopback.", show_default=False
        ),
    ] = None
    dest_ca: Annotated[
        str, typer.Option("--dest-ca", metavar="FILE", show_default=False, help="Authority to trust there.")
    ] = ""

    def side(self) -> SideOptions:
        """As settings want it."""
        verify = not self.dest_no_tls_verify
        return _side("--dest-creds", self.dest_creds, self.dest_ca, verify=verify, plain_http=self.dest_plain_http)


@dataclass(frozen=True)
class Securing:
    """How safe the connection to the one place is that a command is about."""

    no_tls_verify: Annotated[
        bool, typer.Option("--no-tls-verify", "--src-no-tls-verify", help="Take any certificate.")
    ] = False
    plain_http: Annotated[
        bool | None,
        typer.Option(
            "--plain-http/--no-plain-http",
            "--src-plain-http/--no-src-plain-http",
            help="HTTP without TLS, as on loopback.",
            show_default=False,
        ),
    ] = None
    ca: Annotated[
        str, typer.Option("--ca", "--src-ca", metavar="FILE", show_default=False, help="Authority to trust.")
    ] = ""

    def side(self) -> SideOptions:
        """As settings want it."""
        return _side("", "", self.ca, verify=not self.no_tls_verify, plain_http=self.plain_http)


@dataclass(frozen=True)
class Access(Securing):
    """How the one place that a command is about is reached."""

    creds: Annotated[
        str,
        typer.Option("--creds", "--src-creds", metavar="USER[:PASSWORD]", show_default=False, help="Not stored ones."),
    ] = ""

    def side(self) -> SideOptions:
        """As settings want it."""
        return _side("--creds", self.creds, self.ca, verify=not self.no_tls_verify, plain_http=self.plain_http)


def make_settings(
    given: Keeping, source: SideOptions | None = None, destination: SideOptions | None = None, limit_rate: str = ""
) -> Settings:
    """What the options and the environment come to.

    Raises:
        UsageError, ConfigError: an option is out of range or makes no sense.
    """
    settings = replace(
        given.applied(Settings.from_environment()),
        source=source or SideOptions(),
        destination=destination or source or SideOptions(),
        limit_rate=parse_rate(limit_rate) if limit_rate else None,
    )
    # A login makes the credentials file.
    if isinstance(given, Reaching):
        settings.check_files()
    return settings


def _side(option: str, creds: str, ca_file: str, *, verify: bool, plain_http: bool | None) -> SideOptions:
    return SideOptions(
        credentials=Credentials.parse(creds, origin=option) if creds else None,
        plain_http=plain_http,
        verify_tls=verify,
        ca_files=(ca_file,) if ca_file else (),
    )
