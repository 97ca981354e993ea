"""``inspect``, ``tags``, ``repos`` and ``verify``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from imgmove.cli.messages import clean, counted, size, write, write_json
from imgmove.cli.options import (
    Access,
    DestinationAccess,
    Output,
    Reaching,
    Running,
    SourceAccess,
    WatchedOutput,
    make_settings,
)
from imgmove.errors import LocalError, UsageError
from imgmove.model.location_grammar import parse_location
from imgmove.model.platform import Platform


def inspect(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="What to look into.")],
    platform: Annotated[
        str, typer.Option(metavar="OS/ARCH", show_default=False, help="Whose layers and config to show.")
    ] = "",
    raw: Annotated[bool, typer.Option("--raw", help="Print the manifest's exact bytes.")] = False,
    config: Annotated[bool, typer.Option("--config", help="Print the config's exact bytes.")] = False,
    digest: Annotated[bool, typer.Option("--digest", help="Print the digest.")] = False,
    *,
    access: Access,
    running: Reaching,
    output: Output,
) -> None:
    """Show what an image is made of.

    Platforms, layers, sizes, the config, and what refers to it: signatures, attestations, SBOMs.
    """
    if raw + config + digest + output.json > 1:
        raise UsageError("--raw, --config, --digest and --json exclude one another")
    wanted = Platform.parse(platform) if platform else None
    location = parse_location(image)
    from imgmove.cli.inspection import show
    from imgmove.cli.session import watched_session
    from imgmove.stages import inspect as stage

    with watched_session(make_settings(running, access.side()), output) as session:
        if raw or config:
            content = (stage.raw if raw else stage.config)(session, location, wanted)
            sys.stdout.buffer.write(content)
        elif digest:
            write(sys.stdout, str(stage.digest(session, location, wanted)))
        else:
            found = stage.inspect(session, location, wanted)
            if output.json:
                write_json(found.to_json())
            else:
                show(found)


def tags(
    repository: Annotated[str, typer.Argument(metavar="REPO", help="A repository, layout or archive.")],
    *,
    access: Access,
    running: Reaching,
    output: Output,
) -> None:
    """List the tags of a repository, or the names in a file, sorted."""
    location = parse_location(repository)
    from imgmove.cli.session import watched_session
    from imgmove.stages.lists import tags as stage

    with watched_session(make_settings(running, access.side()), output) as session:
        found = stage(session, location)
    _print_list(found, output)


def repos(
    registry: Annotated[str, typer.Argument(metavar="REGISTRY[/PREFIX]", help="Such as reg.example.com/team.")],
    *,
    access: Access,
    running: Reaching,
    output: Output,
) -> None:
    """List the repositories of a registry, sorted."""
    from imgmove.cli.session import watched_session
    from imgmove.stages.lists import repos as stage

    with watched_session(make_settings(running, access.side()), output) as session:
        found = stage(session, registry)
    _print_list(found, output)


def verify(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="What to read and hash.")],
    other: Annotated[
        str | None, typer.Argument(metavar="[OTHER]", help="What should be the same.", show_default=False)
    ] = None,
    key: Annotated[
        str, typer.Option("--key", metavar="PEM", show_default=False, help="A public key that must have signed it.")
    ] = "",
    referrers: Annotated[
        bool, typer.Option("--referrers/--no-referrers", help="Signatures and the like are read too.")
    ] = True,
    *,
    source: SourceAccess,
    destination: DestinationAccess,
    running: Running,
    output: WatchedOutput,
) -> None:
    """Prove that an image is whole, the same elsewhere, or signed.

    Everything reachable is read and hashed again. With OTHER, each difference is named and the exit status is 4. With
    --key, a cosign signature of that key is demanded; no network but the image's own registry is asked.
    """
    one, two = parse_location(image), parse_location(other) if other else None
    pem = _read_key(key) if key else None
    from imgmove.cli.session import watched_session
    from imgmove.stages.verify import verify as stage

    with watched_session(make_settings(running, source.side(), destination.side()), output) as session:
        report = stage(session, one, two, key=pem, referrers=referrers)
    if output.json:
        write_json(report.to_json())
    else:
        for line in report.differences:
            write(sys.stdout, clean(line))
        for verified in report.images:
            found = verified.verified
            signed = "" if verified.signatures is None else f", {counted(verified.signatures, 'valid signature')}"
            write(
                sys.stdout,
                clean(
                    f"{verified}: {counted(len(found.nodes), 'manifest')}, {counted(len(found.blobs), 'blob')}, "
                    f"{size(found.bytes)}{signed}"
                ),
            )
    report.raise_differences()


def _print_list(found: list[str], output: Output) -> None:
    if output.json:
        write_json(found)
        return
    for name in found:
        write(sys.stdout, clean(name))


def _read_key(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise LocalError(f"can't read the key {path}: {error.strerror}") from error
    except ValueError:
        raise UsageError(f"not a path: {path!r:.200}") from None
