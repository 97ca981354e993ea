"""``bundle inspect``, ``verify`` and ``inventory``."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from imgmove.cli.bundle_options import public_key
from imgmove.cli.messages import clean, counted, size, write, write_json
from imgmove.cli.options import Access, Jobs, Output, Running, WatchedOutput, make_settings
from imgmove.errors import UsageError
from imgmove.model.location_grammar import parse_location
from imgmove.settings import Settings

if TYPE_CHECKING:
    from imgmove.airgap.documents import Holdings
    from imgmove.airgap.inspection import BundleInspection
    from imgmove.wire.signing import PublicKey


def inspect(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="A bundle, or its volumes.")],
    key: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="The public key that must have signed it.")
    ] = "",
    since: Annotated[
        str, typer.Option(metavar="BUNDLE", show_default=False, help="The last bundle, to say what is new.")
    ] = "",
    html: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="Write a page for the approver; - for stdout.")
    ] = "",
    *,
    output: Output,
) -> None:
    """Show a bundle's images, sizes, signatures and licences."""
    from imgmove.api.bundles import inspect_bundle
    from imgmove.cli.session import watched_session

    if html and output.json:
        raise UsageError("--html and --json exclude one another")
    trusted = public_key(key)
    with watched_session(Settings.from_environment(), output) as session:
        found = inspect_bundle(files, since=since, key=trusted, session=session)
    if html:
        _write_page(found, html)
    elif output.json:
        write_json(found.to_json())
    else:
        _show(found)


def verify(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="A bundle, its volumes, or one paper.")],
    key: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="The public key that must have signed it.")
    ] = "",
    jobs: Jobs = None,
    *,
    output: WatchedOutput,
) -> None:
    """Hash every byte of a bundle; no destination is needed.

    Missing and damaged volumes are named.

    Receipts, inventories and requests can be verified too.
    """
    trusted = public_key(key)
    from imgmove.airgap.known import bundle_path
    from imgmove.api.bundles import verify_bundle
    from imgmove.cli.session import watched_session

    if len(files) == 1 and _is_paper(path := bundle_path(files[0])):
        _verify_paper(path, trusted, output)
        return

    known = Settings.from_environment()
    settings = replace(known, jobs=known.jobs if jobs is None else jobs)
    with watched_session(settings, output) as session:
        found = verify_bundle(files, key=trusted, session=session)
    if output.json:
        write_json(found.to_json())
    else:
        for line in found.faults:
            write(sys.stdout, clean(line))
        for name in found.affected:
            write(sys.stdout, clean(f"needs it: {name}"))
        if not found.faults:
            index = found.bundle.index
            signed = ", signed by the key" if found.is_signed else ""
            total = size(sum(blob.size for blob in index.blobs))
            counts = f"{counted(len(index.images), 'image')}, {counted(len(index.blobs), 'blob')}, {total}{signed}"
            write(sys.stdout, f"{found.bundle.bundle_id}: {counts}")
    found.raise_faults()


def inventory(
    place: Annotated[
        str, typer.Argument(metavar="LOCATION", help="A registry (HOST/), a repository, a layout, containerd.")
    ],
    file: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", show_default=False, help="Where to; else stdout.")
    ] = "",
    sign_key: Annotated[
        str, typer.Option(metavar="FILE", show_default=False, help="The private key to sign it with.")
    ] = "",
    *,
    access: Access,
    running: Running,
    output: WatchedOutput,
) -> None:
    """List the blobs that a place holds, for create --have."""
    location = parse_location(place)
    settings = make_settings(running, access.side())
    from imgmove.api.bundles import take_inventory
    from imgmove.cli.bundle_options import signing_key
    from imgmove.cli.session import make_messages, watched_session
    from imgmove.wire.files import LocalFiles

    key, messages = signing_key(sign_key, settings), make_messages(output)
    with watched_session(settings, output) as session:
        stock = take_inventory(location, session=session)
    for line in stock.skipped:
        messages.note(f"left out: {line}")
    sealed = stock.seal(key)
    if not file:
        write(sys.stdout, sealed.decode().rstrip("\n"))
        return
    LocalFiles().write(file, sealed)
    _show_written(file, stock.holdings, output)


def _show_written(file: str, holdings: Holdings, output: Output) -> None:
    if output.json:
        write_json({"file": file, "images": len(holdings.images), "blobs": len(holdings.blobs)})
        return
    total = size(sum(blob.size for blob in holdings.blobs))
    counts = f"{counted(len(holdings.images), 'image')}, {counted(len(holdings.blobs), 'blob')}, {total}"
    write(sys.stdout, clean(f"{file}: {counts}"))


def _show(found: BundleInspection) -> None:
    index = found.bundle.index
    write(sys.stdout, f"bundle      {found.bundle.bundle_id}")
    write(sys.stdout, clean(f"made by     {index.tool}"))
    write(sys.stdout, f"signature   {found.signature}")
    if found.bundle.volumes is not None:
        write(sys.stdout, f"volumes     {len(found.bundle.volumes.expected)}")
    write(sys.stdout, f"blobs       {len(index.blobs)}, {size(found.blob_bytes)}")
    if index.assumed:
        total = size(sum(item.descriptor.size for item in index.assumed))
        write(sys.stdout, f"left out    {len(index.assumed)}, {total}")
    for line in found.faults:
        write(sys.stdout, clean(f"fault       {line}"))
    write(sys.stdout, "")
    rows = [("IMAGE", "PLATFORMS", "SIZE", "CARRIED", "WITH", "LICENCES")]
    for image in found.images:
        mark = "* " if image.is_new else ""
        name = ", ".join(image.names) or str(image.descriptor.digest)
        cells = (", ".join(image.platforms), size(image.size), size(image.carried), image.companions)
        rows.append((f"{mark}{name}", *cells, ", ".join(image.licences)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        write(sys.stdout, clean("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()))
    if any(image.is_new for image in found.images):
        write(sys.stdout, "* not in the last bundle")


def _write_page(found: BundleInspection, file: str) -> None:
    from imgmove.airgap.page import inspection_page
    from imgmove.wire.files import LocalFiles

    page = inspection_page(found)
    if file == "-":
        sys.stdout.buffer.write(page)
    else:
        LocalFiles().write(file, page)


def _is_paper(path: str) -> bool:
    from imgmove.wire.files import LocalFiles

    files = LocalFiles()
    status = files.status(path)
    return status is not None and not status.is_folder and files.read_at(path, 0, 1) == b"{"


def _verify_paper(path: str, key: PublicKey | None, output: Output) -> None:
    from imgmove.airgap.documents import unseal
    from imgmove.airgap.known import read_document

    kind, _ = unseal(read_document(path), path, accepts=key.accepts if key is not None else None)
    if output.json:
        write_json({"kind": kind, "signature_checked": key is not None})
        return
    signed = ", signed by the key" if key is not None else ""
    write(sys.stdout, clean(f"{path}: a {kind}, as it was written{signed}"))
