"""``bundle create``, ``load`` and ``keygen``."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from imgmove.cli.bundle_options import (
    Choosing,
    Cutting,
    Doubting,
    Leaving,
    Sparing,
    asked_passphrase,
    discovered,
    listed,
    public_key,
    signing_key,
)
from imgmove.cli.messages import Messages, clean, counted, size, write, write_json
from imgmove.cli.options import DestinationAccess, Output, Running, SourceAccess, WatchedOutput, make_settings
from imgmove.cli.standard import check_carries
from imgmove.errors import UsageError
from imgmove.model.location_grammar import parse_location
from imgmove.settings import Settings

if TYPE_CHECKING:
    from imgmove.airgap.loaded import LoadReport
    from imgmove.airgap.options import CreateBundleOptions
    from imgmove.airgap.preflight import Preflight
    from imgmove.wire.signing import PublicKey, SigningKey


def create(
    file: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to; - for stdout.")],
    images: Annotated[list[str] | None, typer.Argument(metavar="IMAGE...", help="What to carry.")] = None,
    sign_key: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="The private key to sign with (see keygen).")
    ] = "",
    key: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="The public key that must have signed receipts.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how large it would be and stop.")] = False,
    limit_rate: Annotated[
        str, typer.Option(metavar="RATE", show_default=False, help="Bytes per second, such as 20M.")
    ] = "",
    *,
    choosing: Choosing,
    sparing: Sparing,
    cutting: Cutting,
    source: SourceAccess,
    running: Running,
    output: WatchedOutput,
) -> None:
    """Write a bundle: whole images, or what a place lacks.

    Sizes, room and volumes are known before the first byte. The same images give the same bytes.
    """
    settings = make_settings(running, source.side(), limit_rate=limit_rate)
    _check_stdout(file, output)
    from imgmove.api.bundles import create_bundle
    from imgmove.cli.session import make_messages, watched_session

    keys = (signing_key(sign_key, settings), public_key(key))
    options = _options(choosing, sparing, cutting, keys, dry_run=dry_run)
    messages = make_messages(output)
    named = (*(images or ()), *listed(choosing.from_file or ()), *discovered(choosing, messages))
    announce = partial(_announce, messages)
    with watched_session(settings, output) as session:
        made = create_bundle(named, file, options, announce=announce, session=session)
    _show_created(made, output, is_on_stdout=file == "-")


def _options(
    choosing: Choosing,
    sparing: Sparing,
    cutting: Cutting,
    keys: tuple[SigningKey | None, PublicKey | None],
    *,
    dry_run: bool,
) -> CreateBundleOptions:
    from imgmove.airgap.options import CreateBundleOptions

    return CreateBundleOptions(
        platforms=choosing.platforms,
        referrers=choosing.referrers,
        have=tuple(sparing.have or ()),
        since=tuple(sparing.since or ()),
        request=sparing.request,
        lock=choosing.lock,
        volume_size=cutting.bytes,
        volume=cutting.volume,
        sign_key=keys[0],
        key=keys[1],
        dry_run=dry_run,
    )


def load(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="A bundle, or its volumes in any order.")],
    to: Annotated[
        str,
        typer.Option("--to", metavar="DST", help="A registry's prefix (HOST/), a layout, an engine; also over SSH."),
    ],
    rename: Annotated[
        list[str] | None, typer.Option(metavar="FROM=TO", help="Another name below the destination.")
    ] = None,
    key: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="The public key that must have signed the bundle.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and move nothing.")] = False,
    *,
    doubting: Doubting,
    leaving: Leaving,
    destination: DestinationAccess,
    running: Running,
    output: WatchedOutput,
) -> None:
    """Move a bundle's images to a place, and prove them there.

    Everything is checked before the destination sees it, and tags come last. Running it again goes on. What a delta
    takes to be there and is not is written into a request file, and the exit status is 3.
    """
    settings = make_settings(running, None, destination.side())
    location = parse_location(to)
    from imgmove.airgap.options import LoadBundleOptions
    from imgmove.api.bundles import load_bundle
    from imgmove.cli.session import make_messages, watched_session

    papers = leaving.papers(files[0], settings)
    options = LoadBundleOptions(
        tuple(rename or ()), public_key(key), doubting.recheck, doubting.reread, dry_run, papers
    )
    messages = make_messages(output)
    with watched_session(settings, output) as session:
        found = load_bundle(files, location, options, session=session)
    if found.request is not None and not dry_run:
        messages.note(f"what is lacking is written in {papers.request}, for bundle create --request")
    _show_loaded(found, output, messages)
    found.raise_failures()


def keygen(
    name: Annotated[
        str, typer.Option("--output", "-o", metavar="NAME", help="Makes NAME.key and NAME.pub.")
    ] = "bundle",
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Encrypt the private key; IMGMOVE_PASSPHRASE, or asked for.")
    ] = False,
    *,
    output: Output,
) -> None:
    """Make a pair of Ed25519 keys, to sign bundles and check them."""
    from imgmove.airgap.keys import make_keys

    secret = b""
    if passphrase:
        secret = Settings.from_environment().passphrase or asked_passphrase()
    paths = make_keys(name, secret)
    if output.json:
        write_json({"private": paths[0], "public": paths[1]})
        return
    for path in paths:
        write(sys.stdout, clean(path))


def _check_stdout(file: str, output: Output) -> None:
    if file != "-":
        return
    if output.json:
        raise UsageError("stdout carries the bundle, so --json can't have it")
    check_carries("a bundle")


def _announce(messages: Messages, found: Preflight) -> None:
    if found.is_dry_run:
        return
    parts = f"{counted(len(found.images), 'image')}, {counted(found.blobs, 'blob')}, {size(found.size)}"
    volumes = f" in {counted(found.volumes, 'volume')}" if found.volumes else ""
    left_out = f", {counted(found.assumed, 'blob')} ({size(found.assumed_bytes)}) left out" if found.assumed else ""
    messages.note(f"{parts}{volumes}{left_out}")


def _show_created(made: Preflight, output: Output, *, is_on_stdout: bool) -> None:
    if output.json:
        write_json(made.to_json())
        return
    stream = sys.stderr if is_on_stdout else sys.stdout
    if not made.is_dry_run:
        for path in made.paths if not is_on_stdout else ():
            write(stream, clean(f"{path} {made.bundle_id}"))
        return
    for image in made.images:
        extra = f", {counted(image.referrers, 'referrer')}" if image.referrers else ""
        write(stream, clean(f"{image.name or image.digest} {size(image.size)}, {size(image.carried)} carried{extra}"))
    write(stream, f"together: {counted(made.blobs, 'blob')}, {size(made.blob_bytes)}; the bundle: {size(made.size)}")
    if made.assumed:
        write(stream, f"left out: {counted(made.assumed, 'blob')}, {size(made.assumed_bytes)}")
    if made.volumes:
        write(stream, f"volumes: {made.volumes}")
    if made.room is not None:
        write(stream, f"room there: {size(made.room)}")


def _show_loaded(report: LoadReport, output: Output, messages: Messages) -> None:
    for fault in report.faults:
        messages.note(fault)
    if output.json:
        write_json(report.to_json())
    else:
        for image in report.images:
            if image.report.error is None:
                extra = " would be loaded" if image.report.status == "planned" else ""
                write(sys.stdout, clean(f"{image.report}{extra}"))
    if len(report.images) > 1 or any(image.lacking for image in report.images):
        for image in report.images:
            if image.report.error is not None:
                messages.error(image.report.error)
