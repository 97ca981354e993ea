"""``bundle create``, ``load`` and ``keygen``."""

from __future__ import annotations

import getpass
import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from imgmove.cli.messages import Messages, clean, counted, size, write, write_json
from imgmove.cli.options import (
    DestinationAccess,
    Output,
    Running,
    SourceAccess,
    make_settings,
)
from imgmove.cli.papers import Papers
from imgmove.errors import UsageError
from imgmove.model.location import (
    BundleLocation,
    PathLocation,
    PipeLocation,
    parse_location,
    parse_path_location,
)
from imgmove.model.platform import Platform
from imgmove.settings import Settings

if TYPE_CHECKING:
    from imgmove.airgap.create import Preflight
    from imgmove.airgap.loaded import LoadReport
    from imgmove.wire.signing import PublicKey, SigningKey

_MEDIA = {"dvd": 4_700_000_000, "bd": 25_000_000_000}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kKmMgGtT]?)(i?)[bB]?")


@dataclass(frozen=True)
class Choosing:
    """Which images go into a bundle."""

    from_file: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="A list of images, one a line; - for stdin.")
    ] = None
    from_manifests: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Find images in Kubernetes YAML, Compose files and Helm values."),
    ] = None
    jsonpath: Annotated[
        list[str] | None, typer.Option(metavar="[KIND=]PATH", help="Where images stand in custom resources.")
    ] = None
    platform: Annotated[
        list[str] | None, typer.Option(metavar="OS/ARCH", help="Such as linux/arm64; the whole index without it.")
    ] = None
    referrers: Annotated[
        bool, typer.Option("--referrers/--no-referrers", help="Signatures, attestations and SBOMs travel too.")
    ] = True
    lock: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="Pins each tag to a digest; made if missing.")
    ] = ""


@dataclass(frozen=True)
class Sparing:
    """What the far side has already."""

    have: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="An inventory or receipt: leave out what it lists.")
    ] = None
    since: Annotated[
        list[str] | None, typer.Option(metavar="BUNDLE", help="Leave out what an older bundle brought.")
    ] = None
    request: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="Carry just what a load asked for.")
    ] = ""


def create(
    choosing: Choosing,
    sparing: Sparing,
    source: SourceAccess,
    running: Running,
    output: Output,
    file: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to; - for stdout.")],
    images: Annotated[list[str] | None, typer.Argument(metavar="IMAGE...", help="What to carry.")] = None,
    volume_size: Annotated[
        str, typer.Option(metavar="SIZE", show_default=False, help="Cut into volumes: 4G, dvd (4.7G) or bd (25G).")
    ] = "",
    volume: Annotated[
        int, typer.Option(min=0, metavar="N", help="Make this volume alone again.", show_default=False)
    ] = 0,
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
) -> None:
    """Write images into a bundle, whole or just what the far side lacks.

    Sizes, room and volumes are known before the first byte. The same images give the same bytes.
    """
    settings = make_settings(running, source.side(), limit_rate=limit_rate)
    _check_stdout(file, output)
    from imgmove.airgap.create import CreateOptions
    from imgmove.airgap.create import create as stage
    from imgmove.cli.session import make_messages, watched_session

    options = CreateOptions(
        platforms=tuple(Platform.parse(text) for item in choosing.platform or () for text in item.split(",")),
        referrers=choosing.referrers,
        have=tuple(sparing.have or ()),
        since=tuple(sparing.since or ()),
        request=sparing.request,
        lock=choosing.lock,
        volume_size=parse_size(volume_size) if volume_size else 0,
        volume=volume,
        sign_key=signing_key(sign_key, settings),
        key=public_key(key),
        dry_run=dry_run,
    )
    messages = make_messages(output)
    named = (*(images or ()), *_listed(choosing.from_file or ()), *_discovered(choosing, messages))
    locations = [parse_location(text) for text in named]
    with watched_session(settings, output) as session:
        made = stage(session, locations, bundle_path(file), options, lambda found: _announce(found, messages))
    _show_created(made, output, is_on_stdout=file == "-")


def load(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="A bundle, or its volumes in any order.")],
    destination: DestinationAccess,
    running: Running,
    output: Output,
    to: Annotated[str, typer.Option("--to", metavar="DST", help="A registry's prefix (HOST/), a layout.")],
    rename: Annotated[
        list[str] | None, typer.Option(metavar="FROM=TO", help="Another name below the destination.")
    ] = None,
    key: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="The public key that must have signed the bundle.")
    ] = "",
    receipt: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="Where to write what is there now.")
    ] = "",
    request: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="Where to write what is lacking.")
    ] = "",
    report: Annotated[str, typer.Option(metavar="FILE", show_default=False, help="The proof, as .json or .html.")] = "",
    sign_key: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="Signs the receipt, the request and the report.")
    ] = "",
    recheck: Annotated[
        bool, typer.Option("--recheck", help="Look at everything, even where the tag is the same already.")
    ] = False,
    reread: Annotated[bool, typer.Option("--reread", help="Read and hash every blob there once more.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and move nothing.")] = False,
) -> None:
    """Move the images of a bundle to where they are needed, and prove that they are there.

    Everything is checked before the destination sees it, and tags come last. Running it again goes on. What a delta
    takes to be there and is not is written into a request file, and the exit status is 3.
    """
    settings = make_settings(running, None, destination.side())
    location = parse_location(to)
    from imgmove.airgap.load import LoadOptions
    from imgmove.airgap.load import load as stage
    from imgmove.airgap.rename import Rename
    from imgmove.cli.session import make_messages, watched_session

    signing = signing_key(sign_key, settings)
    options = LoadOptions(
        rename=tuple(Rename.parse(text) for text in rename or ()),
        key=public_key(key),
        recheck=recheck,
        reread=reread,
        dry_run=dry_run,
    )
    paths = [bundle_path(file) for file in files]
    papers = Papers(receipt, request or f"{os.path.basename(paths[0])}.request.json", report)
    messages = make_messages(output)
    with watched_session(settings, output) as session:
        found = stage(session, session.endpoints.bundle(paths), location, options)
    if not dry_run:
        papers.write(found, signing, messages)
    _show_loaded(found, output, messages)
    found.raise_failures()


def keygen(
    output: Output,
    name: Annotated[
        str, typer.Option("--output", "-o", metavar="NAME", help="Makes NAME.key and NAME.pub.")
    ] = "bundle",
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Encrypt the private key; IMGMOVE_PASSPHRASE, or asked for.")
    ] = False,
) -> None:
    """Make a pair of Ed25519 keys: one signs bundles, the other checks them."""
    from imgmove.airgap.keys import write_key_pair

    secret = b""
    if passphrase:
        secret = Settings.from_environment().passphrase or _asked_twice()
    paths = write_key_pair(name, secret)
    if output.json:
        write_json({"private": paths[0], "public": paths[1]})
        return
    for path in paths:
        write(sys.stdout, clean(path))


def parse_size(text: str) -> int:
    """Bytes: ``4G`` counts in thousands as media do, ``4Gi`` in 1024s; ``dvd`` and ``bd`` are known.

    Raises:
        UsageError: not a size.
    """
    if text.lower() in _MEDIA:
        return _MEDIA[text.lower()]
    match = _SIZE.fullmatch(text.strip())
    number, unit, binary = match.groups() if match else ("0", "", "")
    factor = (1024 if binary else 1000) ** ("kmgt".index(unit.lower()) + 1) if unit else 1
    found = int(float(number) * factor)
    if not found:
        raise UsageError(f"not a size: {text!r:.40}", hint="write it like 700M, 4G, dvd or bd")
    return found


def public_key(path: str) -> PublicKey | None:
    """The key in a file; None for no file.

    Raises:
        NotFound, UsageError: there is none.
    """
    if not path:
        return None
    from imgmove.airgap.keys import read_public_key

    return read_public_key(path)


def signing_key(path: str, settings: Settings) -> SigningKey | None:
    """The key in a file, decrypted; None for no file.

    Raises:
        NotFound, UsageError: there is none, or nobody knows its passphrase.
    """
    if not path:
        return None
    from imgmove.airgap.keys import read_signing_key

    key = read_signing_key(path, settings.passphrase)
    if key is None:
        if not sys.stdin.isatty():
            raise UsageError(f"{path} is encrypted", hint="IMGMOVE_PASSPHRASE holds the passphrase")
        key = read_signing_key(path, getpass.getpass(f"Passphrase of {path}: ").encode())
    return key


def _asked_twice() -> bytes:
    if not sys.stdin.isatty():
        raise UsageError("there is nobody to ask for a passphrase", hint="set IMGMOVE_PASSPHRASE")
    one, two = getpass.getpass("Passphrase: "), getpass.getpass("Once more: ")
    if one != two or not one:
        raise UsageError("the two passphrases differ" if one != two else "the passphrase is empty")
    return one.encode()


def bundle_path(file: str) -> str:
    """The path that a word where a bundle is expected stands for; ``-`` stays.

    Raises:
        UsageError: it is a location of another kind.
    """
    located = parse_path_location(file)
    if isinstance(located, PathLocation):
        return os.path.expanduser(file)
    if isinstance(located, BundleLocation | PipeLocation):
        return str(getattr(located, "path", file))
    raise UsageError(f"{file} is not a bundle's file")


def _check_stdout(file: str, output: Output) -> None:
    if file != "-":
        return
    if output.json:
        raise UsageError("stdout carries the bundle, so --json can't have it")
    if sys.stdout.isatty():
        raise UsageError("a bundle makes no sense on a terminal", hint="redirect stdout, or name a file with -o")


def _listed(files: list[str] | tuple[str, ...]) -> list[str]:
    from imgmove.airgap.known import read_document

    found: list[str] = []
    for path in files:
        content = sys.stdin.buffer.read() if path == "-" else read_document(path)
        lines = (line.partition(" #")[0].strip() for line in content.decode("utf-8", "replace").splitlines())
        found += [line for line in lines if line and not line.startswith("#")]
    return found


def _discovered(choosing: Choosing, messages: Messages) -> list[str]:
    if choosing.jsonpath and not choosing.from_manifests:
        raise UsageError("--jsonpath needs --from-manifests")
    if not choosing.from_manifests:
        return []
    from imgmove.airgap.discovery import discover
    from imgmove.airgap.jsonpath import JsonPath

    found = discover(choosing.from_manifests, [JsonPath.parse(text) for text in choosing.jsonpath or ()])
    for item in found.found:
        messages.note(f"{item.where}: {item.reference}")
    for doubt in found.undecided:
        messages.note(f"{doubt.where}: not decided: {doubt.text} ({doubt.reason})")
    if not found.found:
        raise UsageError("no image was found in what --from-manifests names")
    return found.references


def _announce(found: Preflight, messages: Messages) -> None:
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
