"""``import``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from imgmove.cli.copying import check_stdout, show
from imgmove.cli.options import (
    Compression,
    DestinationAccess,
    Format,
    Running,
    SourceAccess,
    WatchedOutput,
    make_settings,
)
from imgmove.errors import UsageError
from imgmove.model.location import PipeLocation
from imgmove.model.location_grammar import parse_location
from imgmove.model.platform import Platform
from imgmove.settings import parse_size

Input = Annotated[
    str, typer.Argument(metavar="FILE|DIR|-|URL", help="A tar (also compressed), a folder, stdin, http(s)://…")
]
Change = Annotated[
    list[str] | None,
    typer.Option("--change", "-c", metavar="INSTRUCTION", help="A Dockerfile instruction, such as 'CMD [\"sh\"]'."),
]
Message = Annotated[
    str, typer.Option("--message", "-m", metavar="TEXT", show_default=False, help="For the image's history.")
]
OfPlatform = Annotated[
    str,
    typer.Option(metavar="OS/ARCH", show_default="this machine's", help="The image's; with --onto, which is meant."),
]
Onto = Annotated[
    str, typer.Option(metavar="IMAGE", show_default=False, help="Add it to this image, as one more layer.")
]
MaxSize = Annotated[
    str, typer.Option(metavar="SIZE", show_default=False, help="Refuse a tar that unpacks to more, such as 20G.")
]
LimitRate = Annotated[
    str, typer.Option(help="Bytes per second over all connections, such as 20M.", metavar="RATE", show_default=False)
]


def import_(
    rootfs: Input,
    destination: Annotated[str, typer.Argument(metavar="DST", help="Where the image goes.")],
    change: Change = None,
    message: Message = "",
    platform: OfPlatform = "",
    onto: Onto = "",
    compression: Annotated[Compression, typer.Option(help="Of the layer; keep is gzip.")] = Compression.keep,
    compression_level: Annotated[int | None, typer.Option(help="1-9 for gzip, 1-22 for zstd.", metavar="N")] = None,
    format: Annotated[Format, typer.Option(help="Of the manifest; keep is OCI's, or that of --onto.")] = Format.keep,
    max_size: MaxSize = "",
    limit_rate: LimitRate = "",
    *,
    source_access: SourceAccess,
    destination_access: DestinationAccess,
    running: Running,
    output: WatchedOutput,
) -> None:
    """Make an image out of a root file system.

    Prints DST@DIGEST. --change takes CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME
    and WORKDIR, in docker's shell and JSON forms, and may be given several times. With SOURCE_DATE_EPOCH in the
    environment, the same input gives the same digest.
    """
    settings = make_settings(running, source_access.side(), destination_access.side(), limit_rate)
    located = parse_location(destination)
    check_stdout([located], output)
    if rootfs == "-" and sys.stdin.isatty():
        raise UsageError("stdin is a terminal", hint="name a file, or send a tar into it")
    from imgmove.cli.session import make_messages, watched_session
    from imgmove.stages.import_ import ImportOptions
    from imgmove.stages.import_ import import_rootfs as stage

    options = ImportOptions(
        changes=tuple(change or ()),
        message=message,
        platform=Platform.parse(platform) if platform else None,
        onto=parse_location(onto) if onto else None,
        compression=compression.value,
        compression_level=compression_level,
        format=format.value,
        max_size=parse_size(max_size) if max_size else None,
    )
    with watched_session(settings, output) as session:
        report = stage(session, rootfs, located, options)
    show(report, output, make_messages(output), is_archive_on_stdout=isinstance(located, PipeLocation))
