"""The commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from imgmove.cli import bundle_reading, bundling, copying, exporting, importing, mirroring, naming, reading, serving
from imgmove.cli.groups import grouped
from imgmove.version import __version__

_EPILOG = """\b
Places:
  alpine:3.20, reg.example.com/app:1      a registry (docker's short names)
  oci:DIR[:NAME]                          an OCI layout in a folder
  oci-archive:FILE, docker-archive:FILE   a tar file; also ./FILE.tar, ./DIR
  -                                       an archive on stdin or stdout
\b
Examples:
  imgmove copy alpine:3.20 reg.example.com/mirror/alpine:3.20
  imgmove save app:1 db:2 -o images.tar
  imgmove load -i images.tar --to reg.example.com/team/
"""

app = typer.Typer(
    name="imgmove",
    help="Moves container images: between registries, tar archives and OCI layouts. "
    "Sends only what the other side lacks, and never changes a digest unless asked.",
    epilog=_EPILOG,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


def _show_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"imgmove {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


for command in (
    copying.copy,
    copying.save,
    copying.load,
    exporting.export,
    importing.import_,
    reading.inspect,
    reading.tags,
    reading.repos,
    naming.tag,
    naming.delete,
    reading.verify,
    mirroring.mirror,
    serving.serve,
    naming.login,
    naming.logout,
):
    app.command(command.__name__.rstrip("_"))(grouped(command))

bundle = typer.Typer(
    name="bundle",
    help="Air-gap bundles: make, carry, check and load them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
for bundle_command in (
    bundling.create,
    bundling.load,
    bundle_reading.inspect,
    bundle_reading.verify,
    bundle_reading.inventory,
    bundling.keygen,
):
    bundle.command(bundle_command.__name__)(grouped(bundle_command))
app.add_typer(bundle)
