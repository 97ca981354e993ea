"""Air-gap bundles, and serving what lies somewhere as a registry."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from imgmove.airgap import check as _checking
from imgmove.airgap import create as _creating
from imgmove.airgap import inspection as _inspection
from imgmove.airgap import inventory as _inventory
from imgmove.airgap import load as _loading
from imgmove.airgap.check import CheckedBundle
from imgmove.airgap.create import Announce
from imgmove.airgap.inspection import BundleInspection
from imgmove.airgap.inventory import Stock
from imgmove.airgap.known import bundle_path
from imgmove.airgap.loaded import LoadReport
from imgmove.airgap.options import CreateBundleOptions, LoadBundleOptions
from imgmove.airgap.preflight import Preflight
from imgmove.api.places import FilePath, Place, Places, located, passing, several
from imgmove.server.connection import AccessLog
from imgmove.stages.serve import ServeOptions, Serving
from imgmove.stages.serve import serve as _serve
from imgmove.stages.session import Session
from imgmove.wire.signing import PublicKey

Files = FilePath | Sequence[FilePath]
"""A bundle's file, or its volumes in any order."""


def create_bundle(
    images: Places,
    file: FilePath,
    options: CreateBundleOptions | None = None,
    *,
    announce: Announce | None = None,
    session: Session | None = None,
) -> Preflight:
    """Writes images into a bundle, whole or just what the far side lacks.

    Args:
        images: none to carry all that `CreateBundleOptions.request` asks for.
        file: appears when it is whole; volumes add their number to its name; ``-`` is stdout.
        announce: told what the bundle will be, before its first byte.

    Returns:
        What was made, or with ``dry_run`` would be.

    Raises:
        UsageError: the request contradicts itself.
        LocalError: there is not enough room; nothing was written.
        ImgmoveError: an image can't be had; a bundle has all of its images or does not appear.
    """
    with passing(session) as own:
        return _creating.create(
            own, several(images), bundle_path(os.fspath(file)), options or CreateBundleOptions(), announce
        )


def load_bundle(
    files: Files, to: Place, options: LoadBundleOptions | None = None, *, session: Session | None = None
) -> LoadReport:
    """Moves the images of a bundle below a destination, under their own names, and proves that they are there.

    Returns:
        What became of each image, with the proof; `LoadReport.raise_failures` raises. What the destination holds now,
        and what would complete images that are not complete, are `LoadReport.holdings` and `LoadReport.request`.

    Raises:
        SignatureError: the key did not sign the bundle; the destination has seen nothing.
        ImgmoveError: nothing could be begun.
    """
    with passing(session) as own:
        return _loading.load(own, own.endpoints.bundle(_paths(files)), located(to), options or LoadBundleOptions())


def verify_bundle(files: Files, *, key: PublicKey | None = None, session: Session | None = None) -> CheckedBundle:
    """Hashes every byte of a bundle, without a destination.

    Returns:
        What is missing or damaged, and which images need it; `CheckedBundle.raise_faults` raises.

    Raises:
        SignatureError: the key did not sign it.
        ContentError, Truncated: it is too damaged to say more.
    """
    with passing(session) as own:
        return _checking.check(own, own.endpoints.bundle(_paths(files)), key)


def inspect_bundle(
    files: Files, *, since: FilePath = "", key: PublicKey | None = None, session: Session | None = None
) -> BundleInspection:
    """Finds out what is in a bundle: images, platforms, sizes, signatures and SBOMs, licences.

    Args:
        since: the last bundle, to say what is new.

    Raises:
        SignatureError: the key did not sign it.
    """
    with passing(session) as own:
        bundle = own.endpoints.bundle(_paths(files))
        if key is not None:
            bundle.check_signature(key.accepts)
        last = own.endpoints.bundle([bundle_path(os.fspath(since))]) if since else None
        return _inspection.inspect_bundle(bundle, last, signature="valid" if key is not None else "")


def take_inventory(place: Place, *, session: Session | None = None) -> Stock:
    """Asks a place for all blobs that it really holds.

    Args:
        place: a registry or a prefix in it (``HOST/``, ``HOST/PATH/``), a repository, a layout, an archive, containerd.

    Returns:
        The holdings; `Stock.seal` makes the document that `CreateBundleOptions.have` takes.

    Raises:
        UsageError: the place has no list of what it holds.
    """
    with passing(session) as own:
        return _inventory.take_stock(own, located(place))


@contextmanager
def serve(
    places: Places, options: ServeOptions | None = None, *, log: AccessLog | None = None, session: Session | None = None
) -> Iterator[Serving]:
    """Is a registry over a layout, an archive or a bundle, in the background until the block ends.

    Args:
        places: one; or the volumes of a bundle.
        log: hears of each request.

    Raises:
        UsageError: the place can't be served, or two of its images would have one name.
        LocalError: the address can't be had.
    """
    with passing(session) as own, _serve(own, several(places), options or ServeOptions(), log) as serving:
        yield serving


def _paths(files: Files) -> list[str]:
    return [bundle_path(os.fspath(file)) for file in ([files] if isinstance(files, str | os.PathLike) else files)]
