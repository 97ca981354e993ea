"""Who writes an option or a command of another tool is told ours, in one line."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer

from imgmove.cli.app import app_for
from imgmove.cli.foreign import COMMANDS, NEEDLESS, RENAMED
from tests.cli.conftest import Run
from tests.cli.test_wrong_input import one_line


def test_ours_exist(imgmove: Run) -> None:
    options = set()
    for name in ("copy", "save", "load", "inspect", "serve", "login"):
        command: Any = typer.main.get_command(app_for([name]))
        for parameter in command.commands[name].params:
            options |= {*parameter.opts, *parameter.secondary_opts}
    assert {ours for renamed in RENAMED.values() for ours in renamed} <= options
    assert not options & NEEDLESS.keys()
    known = set(re.findall(r"^  (\w+) ", imgmove("--help").stdout, re.MULTILINE)) | {"--help", "--version"}
    assert {ours.partition(" ")[0].rstrip(",") for ours in COMMANDS.values()} <= known


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        (("copy", "-a", "a", "b"), "(every platform comes along anyway; copy --all-tags is for every tag; see"),
        (("copy", "--all", "a", "b"), "every platform comes along anyway"),
        (("copy", "--multi-arch=all", "a", "b"), "every platform comes along anyway"),
        (("copy", "--insecure", "a", "b"), "--src-no-tls-verify, --src-plain-http, --dest-no-tls-verify or --dest-pl"),
        (("copy", "--src-tls-verify=false", "a", "b"), "(here it is --src-no-tls-verify or --src-plain-http; see"),
        (("save", "--tls-verify=false", "a"), "(here it is --src-no-tls-verify or --src-plain-http; see"),
        (("load", "--insecure"), "(here it is --dest-no-tls-verify or --dest-plain-http; see"),
        (("inspect", "--insecure", "a"), "(here it is --no-tls-verify or --plain-http; see imgmove inspect --help)"),
        (("login", "--tls-verify=false", "a"), "(here it is --no-tls-verify or --plain-http; see"),
        (("tags", "--username=x", "a"), "(here it is --creds; see"),
        (("copy", "--preserve-digests", "a", "b"), "digests change only where you ask for that"),
        (("copy", "a", "-o", "x.tar"), "no such option: -o (here it is --to; see imgmove copy --help)"),
        (("save", "a", "--to", "x.tar"), "(here it is --output; see imgmove save --help)"),
        (("serve", "oci:x", "--port", "5000"), "(here it is --listen; see imgmove serve --help)"),
        (("copy", "--plaform=x", "a", "b"), "no such option: --plaform (did you mean --platform; see imgmove copy --h"),
        (("copy", "--frobnicate", "a", "b"), "no such option: --frobnicate (see imgmove copy --help)"),
        (("-v", "copy", "a", "b"), "no such option: -v (options stand behind the command; see imgmove --help)"),
        (("copy", "a", "--platform"), "'--platform' requires an argument (see imgmove copy --help)"),
    ],
)
def test_options(imgmove: Run, words: tuple[str, ...], ours: str) -> None:
    one_line(imgmove(*words), 2, ours)


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        (
            ("load", "images.tar"),
            "(images.tar) (-i FILE names the archive, --to PLACE the destination; see imgmove load",
        ),
        (("export", "app", "rootfs.tar"), "-o FILE or -C DIR says where to"),
        (("inspect", "app", "web"), "got unexpected extra argument(s) (web) (see imgmove inspect --help)"),
    ],
)
def test_arguments(imgmove: Run, words: tuple[str, ...], ours: str) -> None:
    one_line(imgmove(*words), 2, ours)


@pytest.mark.parametrize(
    ("command", "ours"),
    [
        ("pull", "here it is imgmove copy IMAGE docker-daemon:"),
        ("cp", "no such command 'cp' (here it is imgmove copy; see imgmove --help)"),
        ("list-tags", "here it is imgmove tags REPO"),
        ("tagss", "no such command 'tagss'. Did you mean 'tags'"),
        ("frobnicate", "no such command 'frobnicate' (see imgmove --help)"),
    ],
)
def test_commands(imgmove: Run, command: str, ours: str) -> None:
    one_line(imgmove(command, "alpine"), 2, ours)


def test_a_command_below_another_is_not_taken_for_the_first(imgmove: Run) -> None:
    one_line(imgmove("bundle", "crate"), 2, "no such command 'crate'. Did you mean 'create'? (see imgmove bundle")
