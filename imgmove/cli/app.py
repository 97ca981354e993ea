"""The commands, each imported when it is asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from imgmove.cli.groups import grouped
from imgmove.version import __version__

_EPILOG = """\b
Places:
  alpine:3.20, reg.example.com/app:1      a registry (docker's short names)
  oci:DIR[:NAME]                          an OCI layout in a folder
  oci-archive:FILE, docker-archive:FILE   a tar file; also ./FILE.tar, ./DIR
  docker-daemon:NAME, podman:NAME, containerd:NAME    an engine
  docker-daemon+ssh://HOST/NAME, oci+ssh://HOST/DIR   on another host
  -                                       an archive on stdin or stdout

\b
Examples:
  imgmove copy alpine:3.20 reg.example.com/mirror/alpine:3.20
  imgmove save app:1 db:2 -o images.tar
  imgmove load -i images.tar --to reg.example.com/team/
"""


def _show_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"imgmove {__version__}\n")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


_COMMANDS = {
    "copy": "copying",
    "save": "copying",
    "load": "copying",
    "export": "exporting",
    "import": "importing",
    "inspect": "reading",
    "tags": "reading",
    "repos": "reading",
    "tag": "naming",
    "delete": "naming",
    "verify": "reading",
    "mirror": "mirroring",
    "serve": "serving",
    "login": "naming",
    "logout": "naming",
}
"""Each command by its name, and the module that has a function of that name, in the order in which help lists them."""

_BUNDLE_COMMANDS = {
    "create": "bundling",
    "load": "bundling",
    "inspect": "bundle_reading",
    "verify": "bundle_reading",
    "inventory": "bundle_reading",
    "keygen": "bundling",
}


_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 80}


def app_for(arguments: Sequence[str]) -> typer.Typer:
    """The command line, with the one command that the arguments begin with, or with all where they begin otherwise.

    Reading the options of all commands would cost more time than a small copy takes.
    """
    app = typer.Typer(
        name="imgmove",
        help="Moves container images: between registries, layouts, archives and engines, "
        "here and over SSH. Sends only what the other side lacks, and never changes a "
        "digest unless asked.",
        epilog=_EPILOG,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=_CONTEXT,
    )
    app.callback()(_root)
    wanted = arguments[0] if arguments else ""
    if wanted in _COMMANDS:
        _add(app, {wanted: _COMMANDS[wanted]})
    else:
        _add(app, {} if wanted == "bundle" else _COMMANDS)
        app.add_typer(_bundle())
    return app


def _bundle() -> typer.Typer:
    bundle = typer.Typer(
        name="bundle",
        help="Air-gap bundles: make, carry, check and load them.",
        rich_markup_mode=None,
        context_settings=_CONTEXT,
    )
    _add(bundle, _BUNDLE_COMMANDS)
    return bundle


def _add(group: typer.Typer, commands: Mapping[str, str]) -> None:
    for name, module in commands.items():
        found = importlib.import_module(f"imgmove.cli.{module}")
        # A name that is a word of Python's own has a line behind it there.
        function = getattr(found, name, None) or getattr(found, f"{name}_")
        group.command(name)(grouped(function))
