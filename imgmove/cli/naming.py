"""``tag``, ``delete``, ``login`` and ``logout``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from imgmove.cli.messages import clean, write, write_json
from imgmove.cli.options import Access, Keeping, Output, Reaching, Securing, Trying, make_settings
from imgmove.errors import SomeFailed, UsageError
from imgmove.model.credentials import Credentials
from imgmove.model.location_grammar import parse_location


def tag(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The image, in a registry or layout.")],
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Its new names there.")],
    *,
    access: Access,
    running: Reaching,
    output: Output,
) -> None:
    """Give an image more names in its place; no blob moves."""
    location = parse_location(image)
    from imgmove.cli.session import watched_session
    from imgmove.stages.names import tag as stage

    with watched_session(make_settings(running, access.side()), output) as session:
        made = stage(session, location, names)
    if output.json:
        write_json(made)
        return
    for name in made:
        write(sys.stdout, clean(name))


def delete(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="What to remove.")],
    digest: Annotated[
        bool, typer.Option("--digest", help="Remove the manifest with all of its names, not the name alone.")
    ] = False,
    *,
    access: Access,
    running: Reaching,
    output: Output,
) -> None:
    """Remove a name; other names of the same image stay.

    As everywhere, a registry's name without a tag means :latest, not the whole repository.
    """
    locations = [parse_location(image) for image in images]
    from imgmove.cli.session import make_messages, watched_session
    from imgmove.errors import ImgmoveError
    from imgmove.stages.names import delete as stage

    messages, removed, failed = make_messages(output), [], []
    with watched_session(make_settings(running, access.side()), output) as session:
        for location in locations:
            try:
                removed.append(stage(session, location, by_digest=digest))
            except ImgmoveError as error:
                if len(locations) == 1:
                    raise
                failed.append(error)
                messages.error(error)
    if output.json:
        write_json(removed)
    else:
        for name in removed:
            write(sys.stdout, clean(name))
    if failed and not removed:
        raise failed[0]
    if failed:
        raise SomeFailed(f"{len(failed)} of {len(locations)} could not be removed")


def login(
    registry: Annotated[str, typer.Argument(metavar="REGISTRY", help="The registry's host.")] = "docker.io",
    username: Annotated[
        str, typer.Option("--username", "-u", metavar="NAME", show_default=False, help="Who you are.")
    ] = "",
    password: Annotated[
        str,
        typer.Option(
            "--password", "-p", metavar="TEXT", show_default=False, help="Shows in the process list; better not."
        ),
    ] = "",
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
    *,
    running: Trying,
    access: Securing,
    output: Output,
) -> None:
    """Try credentials at a registry and keep them where docker does."""
    from imgmove.cli.session import make_messages, watched_session
    from imgmove.stages.login import login as stage

    messages = make_messages(output)
    if password and password_stdin:
        raise UsageError("--password and --password-stdin exclude one another")
    if password:
        messages.note("a password on the command line can be seen by others; --password-stdin is safer")
    username = username or _asked("Username: ", hide=False)
    secret = password or (_from_stdin() if password_stdin else _asked("Password: ", hide=True))
    with watched_session(make_settings(running, access.side()), output) as session:
        kept = stage(session, registry, Credentials(username, secret))
    messages.note(f"the credentials are kept in {kept}")
    if output.json:
        write_json({"registry": registry, "username": username, "kept_in": kept})
    else:
        write(sys.stdout, "Login succeeded")


def logout(
    registry: Annotated[str, typer.Argument(metavar="REGISTRY", help="The registry's host.")] = "docker.io",
    *,
    running: Keeping,
    output: Output,
) -> None:
    """Forget the credentials for a registry."""
    from imgmove.cli.session import watched_session
    from imgmove.stages.login import logout as stage

    with watched_session(make_settings(running), output) as session:
        was_known = stage(session, registry)
    if output.json:
        write_json({"registry": registry, "was_known": was_known})
    else:
        write(sys.stdout, f"Removed the login for {registry}" if was_known else f"Not logged in to {registry}")


def _from_stdin() -> str:
    secret = sys.stdin.read(1 << 16)
    return secret.removesuffix("\n").removesuffix("\r")


def _asked(prompt: str, *, hide: bool) -> str:
    if not sys.stdin.isatty():
        raise UsageError("there is nobody to ask for a name and password", hint="use --username and --password-stdin")
    if hide:
        import getpass

        return getpass.getpass(prompt)
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return sys.stdin.readline().strip()
