"""``copy``, ``save`` and ``load``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, TextIO

import typer

from imgmove.cli.fan_out import FanOut
from imgmove.cli.messages import Messages, clean, counted, size, write, write_json
from imgmove.cli.options import DestinationAccess, Moving, Output, Running, SourceAccess, WatchedOutput, make_settings
from imgmove.cli.standard import check_carries
from imgmove.engine.graph import blame
from imgmove.errors import UsageError
from imgmove.model.location import Location, PipeLocation
from imgmove.model.location_grammar import parse_location, parse_path_location
from imgmove.stages.report import CopyReport


def copy(
    places: Annotated[list[str], typer.Argument(metavar="SRC... DST", help="Sources, then the destination.")],
    to: Annotated[
        list[str] | None, typer.Option("--to", metavar="DST", help="A destination; all arguments are then sources.")
    ] = None,
    all_tags: Annotated[bool, typer.Option("--all-tags", help="Every tag of the source's repository.")] = False,
    additional_tag: Annotated[
        list[str] | None, typer.Option("--additional-tag", metavar="TAG", help="One more name at the destination.")
    ] = None,
    hosts: Annotated[
        str, typer.Option("--hosts", metavar="FILE", show_default=False, help="Lines that fill {} in --to.")
    ] = "",
    failed: Annotated[
        str,
        typer.Option("--failed", metavar="FILE", show_default=False, help="Write what failed, for the next --hosts."),
    ] = "",
    *,
    moving: Moving,
    source: SourceAccess,
    destination: DestinationAccess,
    running: Running,
    output: WatchedOutput,
) -> None:
    """Move images from one place to another.

    Prints DST@DIGEST for each image. The whole index moves unless --platform says otherwise; blobs that the
    destination has are skipped. An engine gets its own platform, and only the layers that it lacks.
    """
    sources, destinations = (places, to) if to else (places[:-1], places[-1:])
    fan_out = FanOut.of(destinations if to else [], hosts, failed) if hosts or failed else None
    destinations = fan_out.destinations if fan_out else destinations
    if not sources:
        raise UsageError("a copy needs a source and a destination", hint="imgmove copy SRC DST")
    settings = make_settings(running, source.side(), destination.side(), moving.limit_rate)
    options = moving.options(all_tags=all_tags, additional_tags=tuple(additional_tag or ()))
    located = [parse_location(text) for text in destinations]
    check_stdout(located, output)
    from imgmove.cli.session import make_messages, watched_session
    from imgmove.stages.copy import copy as move

    with watched_session(settings, output) as session:
        report = move(session, [parse_location(text) for text in sources], located, options)
    try:
        show(report, output, make_messages(output), is_archive_on_stdout=_has_pipe(located))
    finally:
        if fan_out is not None:
            fan_out.write_failed(report)


def save(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="What to save.")],
    file: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", show_default=False, help="Where to; else stdout.")
    ] = "",
    *,
    moving: Moving,
    source: SourceAccess,
    running: Running,
    output: WatchedOutput,
) -> None:
    """Write images into one archive, each blob once.

    The archive holds docker's format and OCI's in one, so that docker, podman, containerd and skopeo load it. A name
    that ends in .tar.gz or .tar.zst is compressed.
    """
    settings = make_settings(running, source.side(), limit_rate=moving.limit_rate)
    from imgmove.endpoints.places import archive_at

    target = archive_at(file) if file else PipeLocation()
    check_stdout([target], output)
    from imgmove.cli.session import make_messages, watched_session
    from imgmove.stages.copy import copy as move

    with watched_session(settings, output) as session:
        report = move(session, [parse_location(text) for text in images], [target], moving.options())
    show(report, output, make_messages(output), is_archive_on_stdout=not file)


def load(
    file: Annotated[
        str, typer.Option("--input", "-i", metavar="FILE", show_default=False, help="The archive; else stdin.")
    ] = "",
    to: Annotated[
        str, typer.Option("--to", metavar="DST", help="A registry's prefix such as reg.example.com/team/, a layout.")
    ] = "docker-daemon:",
    *,
    moving: Moving,
    destination: DestinationAccess,
    running: Running,
    output: WatchedOutput,
) -> None:
    """Move every image of an archive or layout.

    Prints a line an image. Images keep their own names below the destination. What comes from stdin is sent on as it
    comes; for a prefix or an engine it waits in a temporary file (TMPDIR), as an archive's names may come last.
    """
    settings = make_settings(running, None, destination.side(), moving.limit_rate)
    archive = parse_path_location(file) if file else PipeLocation()
    if not file and sys.stdin.isatty():
        raise UsageError("stdin is a terminal", hint="name the archive with -i FILE")
    located = parse_location(to)
    check_stdout([located], output)
    from imgmove.cli.session import make_messages, watched_session
    from imgmove.stages.copy import copy as move

    with watched_session(settings, output) as session:
        report = move(session, [archive], [located], moving.options(), every=True)
    show(report, output, make_messages(output), is_archive_on_stdout=_has_pipe([located]))


def _has_pipe(locations: Sequence[Location]) -> bool:
    return any(isinstance(location, PipeLocation) for location in locations)


def check_stdout(locations: Sequence[Location], output: Output) -> None:
    """Makes sure that an archive may go to stdout, if it is to.

    Raises:
        UsageError: it may not.
    """
    if not _has_pipe(locations):
        return
    if output.json:
        raise UsageError("stdout carries the archive, so --json can't have it")
    check_carries("an archive")


def show(report: CopyReport, output: Output, messages: Messages, *, is_archive_on_stdout: bool) -> None:
    """Prints what became of the images, and raises what the exit status should be made of."""
    failed = [image for image in report.images if image.error is not None]
    if output.json:
        write_json(report.to_json())
    else:
        stream = sys.stderr if is_archive_on_stdout else sys.stdout
        if report.is_dry_run:
            _show_plan(report, stream)
        for image in report.images:
            if image.error is None and not report.is_dry_run:
                write(stream, clean(str(image)))
    if len(report.images) > 1:
        has_several_places = len({image.destination for image in report.images}) > 1
        if len(failed) == len(report.images) and len({id(image.error) for image in failed}) == 1:
            # An archive is whole or not at all: what kept one image from it is told once, and blamed on no other.
            failed, has_several_places = failed[:1], False
        for image in failed:
            assert image.error is not None
            messages.error(blame(image.error, image.destination) if has_several_places else image.error)
    report.raise_failures()


def _show_plan(report: CopyReport, stream: TextIO) -> None:
    for image in report.images:
        if image.error is None:
            what = "is there already" if image.status == "present" else "would be copied"
            extra = f", with {counted(image.referrers, 'referrer')}" if image.referrers else ""
            write(stream, clean(f"{image.source} → {image} {what}{extra}"))
    if all(image.error is not None for image in report.images):
        return
    totals = report.totals
    about = "" if totals.is_exact else "≈ "
    write(stream, f"to send: {counted(totals.blobs_sent, 'blob')}, {about}{size(totals.bytes_sent)}")
    there = f"{counted(totals.blobs_present, 'blob')} there, {totals.blobs_mounted} to be mounted"
    write(stream, f"not to send: {there}, {size(totals.bytes_present)}")
