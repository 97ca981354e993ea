"""``export``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from imgmove.cli.options import Access, Running, WatchedOutput, make_settings
from imgmove.cli.standard import check_carries
from imgmove.errors import UsageError
from imgmove.model.location_grammar import parse_location
from imgmove.model.platform import Platform
from imgmove.settings import parse_size


def export(
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="Whose root file system; or a container, docker-daemon:@NAME.")
    ],
    file: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", show_default=False, help="Where the tar goes; else stdout.")
    ] = "",
    folder: Annotated[
        str, typer.Option("--directory", "-C", metavar="DIR", show_default=False, help="Unpack into this folder.")
    ] = "",
    platform: Annotated[
        str, typer.Option(metavar="OS/ARCH", show_default="linux/amd64, else the first", help="Which of an index.")
    ] = "",
    max_size: Annotated[
        str, typer.Option(metavar="SIZE", show_default=False, help="Refuse layers that unpack to more, such as 20G.")
    ] = "",
    *,
    access: Access,
    running: Running,
    output: WatchedOutput,
) -> None:
    """Write the root file system of an image.

    Its layers are united as an engine shows them: one tar, the same bytes each time, or unpacked into a folder that is
    made if it is missing. As root, unpacking keeps owners, devices and all attributes. Of a container of docker or
    podman (docker-daemon:@NAME, podman:@NAME), it is the engine's own tar.
    """
    if file and folder:
        raise UsageError("-o and -C exclude each other")
    if output.json:
        raise UsageError("an export reports nothing, so there is no JSON of it")
    if not folder and file in ("", "-"):
        check_carries("a tar")
    location = parse_location(image)
    wanted = Platform.parse(platform) if platform else None
    most = parse_size(max_size) if max_size else None
    from imgmove.cli.session import watched_session
    from imgmove.stages import export as stage

    with watched_session(make_settings(running, access.side()), output) as session:
        if folder:
            stage.export_to_folder(session, location, folder, wanted, most)
        elif file in ("", "-"):
            stage.export_to_stream(session, location, sys.stdout.buffer, wanted, most)
        else:
            stage.export_to_file(session, location, file, wanted, most)
