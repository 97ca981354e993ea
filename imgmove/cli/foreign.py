"""What people who come from docker, skopeo, crane, regctl and oras type, and how it is written here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_CERTIFICATES = ("--no-tls-verify", "--src-no-tls-verify", "--dest-no-tls-verify")
_HTTP = ("--plain-http", "--src-plain-http", "--dest-plain-http")
_AUTHORITIES = ("--ca", "--src-ca", "--dest-ca")
_CREDENTIALS = ("--creds", "--src-creds", "--dest-creds", "--username")
_SOURCE, _DESTINATION = ("--src-no-tls-verify", "--src-plain-http"), ("--dest-no-tls-verify", "--dest-plain-http")
_WHOLE = "every platform comes along anyway; copy --all-tags is for every tag"
_ATTACHED = "what refers to an image, such as signatures, comes along anyway"

RENAMED = {
    "--arch": ("--platform",),
    "--ca-file": _AUTHORITIES,
    "--cert-dir": _AUTHORITIES,
    "--command-timeout": ("--timeout",),
    "--compress": ("--compression",),
    "--compression-format": ("--compression",),
    "--concurrency": ("--jobs",),
    "--debug": ("--verbose",),
    "--dest": ("--to",),
    "--dest-authfile": ("--authfile",),
    "--dest-cert-dir": ("--dest-ca",),
    "--dest-compress": ("--compression",),
    "--dest-compress-format": ("--compression",),
    "--dest-compress-level": ("--compression-level",),
    "--dest-decompress": ("--compression",),
    "--dest-password": ("--dest-creds",),
    "--dest-tls-verify": _DESTINATION,
    "--dest-username": ("--dest-creds",),
    "--destination": ("--to",),
    "--file": ("--input", "--output"),
    "--format": ("--json",),
    "--from-ca-file": ("--src-ca",),
    "--from-insecure": _SOURCE,
    "--from-password": ("--src-creds",),
    "--from-plain-http": _SOURCE[1:],
    "--from-username": ("--src-creds",),
    "--insecure": (*_CERTIFICATES, *_HTTP),
    "--insecure-registry": (*_CERTIFICATES, *_HTTP),
    "--os": ("--platform",),
    "--output": ("--to",),
    "--override-arch": ("--platform",),
    "--override-os": ("--platform",),
    "--override-variant": ("--platform",),
    "--password": _CREDENTIALS,
    "--port": ("--listen",),
    "--registry-config": ("--authfile",),
    "--remove-signatures": ("--no-referrers",),
    "--retry-times": ("--retries",),
    "--src-authfile": ("--authfile",),
    "--src-cert-dir": ("--src-ca",),
    "--src-password": ("--src-creds",),
    "--src-tls-verify": _SOURCE,
    "--src-username": ("--src-creds",),
    "--tls-verify": (*_CERTIFICATES, *_HTTP),
    "--to": ("--output",),
    "--to-ca-file": ("--dest-ca",),
    "--to-insecure": _DESTINATION,
    "--to-password": ("--dest-creds",),
    "--to-plain-http": _DESTINATION[1:],
    "--to-username": ("--dest-creds",),
    "--username": _CREDENTIALS,
    "-f": ("--input", "--output"),
    "-k": _CERTIFICATES,
    "-o": ("--to",),
    "-u": _CREDENTIALS,
}
"""Options of others, and those of ours that do the same; of these a command may have some, or none."""

NEEDLESS = {
    "--all": _WHOLE,
    "--all-platforms": _WHOLE,
    "--dest-daemon-host": "write docker-daemon:NAME?socket=PATH, or set DOCKER_HOST",
    "--digest-tags": _ATTACHED,
    "--digestfile": "the digest is what is printed",
    "--insecure-policy": "there is no policy to switch off",
    "--multi-arch": _WHOLE,
    "--preserve-digests": "digests change only where you ask for that",
    "--recursive": _ATTACHED,
    "--src-daemon-host": "write docker-daemon:NAME?socket=PATH, or set DOCKER_HOST",
    "-a": _WHOLE,
}
"""Options of others for which there is none here."""

COMMANDS = {
    "append": "import FILE DST --onto IMAGE",
    "artifact": "copy",
    "auth": "login",
    "blob": "copy",
    "catalog": "repos REGISTRY",
    "config": "inspect --config IMAGE",
    "cp": "copy",
    "create": "bundle create",
    "digest": "inspect --digest IMAGE",
    "discover": "inspect IMAGE",
    "help": "--help",
    "image": "copy, inspect or delete",
    "images": "tags",
    "list": "tags REPO",
    "list-tags": "tags REPO",
    "ls": "tags REPO",
    "manifest": "inspect --raw IMAGE",
    "pull": "copy IMAGE docker-daemon:IMAGE, or to oci:DIR or ./FILE.tar",
    "push": "copy docker-daemon:NAME REGISTRY/NAME, or from oci:DIR or ./FILE.tar",
    "registry": "serve or repos",
    "repo": "tags or repos",
    "rm": "delete",
    "rmi": "delete",
    "run": "export IMAGE to look into one; nothing is run",
    "store": "bundle",
    "sync": "mirror FILE, or copy --all-tags",
    "validate": "verify",
    "version": "--version",
}
"""Commands of others, and what to write behind ``imgmove``."""


_ARGUMENTS = {
    "export": "-o FILE or -C DIR says where to",
    "load": "-i FILE names the archive, --to PLACE the destination",
    "login": "-u NAME and --password-stdin say who you are",
    "mirror": "--only NAME picks from the file",
}
"""What a command takes by options, though others take it as arguments."""


def hint_for_argument(command: str) -> str:
    """How to write what a command doesn't take as an argument; empty where nobody knows."""
    return _ARGUMENTS.get(command, "")


def hint_for_option(option: str, existing: Iterable[Sequence[str]], alike: Sequence[str]) -> str:
    """What to do about an option that a command does not have; empty where nobody knows.

    Args:
        option: as it was typed.
        existing: the options that the command has, each with all of its names.
        alike: those whose names are much like it.
    """
    wanted = RENAMED.get(option, ())
    ours = [found for names in existing if (found := next((name for name in names if name in wanted), ""))]
    if ours:
        return f"here it is {_either(ours)}"
    near = difflib.get_close_matches(option, alike, n=1, cutoff=0.7)
    return NEEDLESS.get(option, "") or (f"did you mean {near[0]}" if near else "")


def hint_for_command(command: str) -> str:
    """What to write instead of a command that there is not; empty where nobody knows."""
    ours = COMMANDS.get(command, "")
    return f"here it is imgmove {ours}" if ours else ""


def _either(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last
