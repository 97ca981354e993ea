"""imgmove moves container images: between registries, tar archives and OCI layouts.

The functions here are those that the command line uses. Places are named as on the command line (``alpine:3.20``,
``oci:DIR:NAME``, ``./images.tar``), or given as `imgmove.model.location` values::

    import imgmove

    report = imgmove.copy("alpine:3.20", "reg.example.com/mirror/alpine:3.20")
    print(report.images[0].digest)

Everything that goes wrong is an `imgmove.errors.ImgmoveError`, whose class says what and whose ``exit_status`` is that
of the command line. Importing this package imports next to nothing; a function brings what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imgmove.version import __version__

if TYPE_CHECKING:
    from imgmove.airgap.check import CheckedBundle
    from imgmove.airgap.inspection import BundleInspection
    from imgmove.airgap.inventory import Stock
    from imgmove.airgap.keys import make_keys, read_public_key, read_signing_key
    from imgmove.airgap.loaded import LoadReport
    from imgmove.airgap.options import CreateBundleOptions, LoadBundleOptions
    from imgmove.airgap.papers import Papers
    from imgmove.airgap.preflight import Preflight
    from imgmove.api.bundles import create_bundle, inspect_bundle, load_bundle, serve, take_inventory, verify_bundle
    from imgmove.api.images import (
        copy,
        delete,
        export,
        import_rootfs,
        inspect,
        load,
        repos,
        run_mirror,
        save,
        tag,
        tags,
        verify,
    )
    from imgmove.errors import ImgmoveError
    from imgmove.mirror.job import MirrorOptions
    from imgmove.mirror.report import PassReport
    from imgmove.model.credentials import Credentials
    from imgmove.settings import Settings, SideOptions
    from imgmove.stages.import_ import ImportOptions
    from imgmove.stages.inspect import Inspection
    from imgmove.stages.options import CopyOptions
    from imgmove.stages.report import CopyReport
    from imgmove.stages.serve import ServeOptions, Serving
    from imgmove.stages.session import Session
    from imgmove.stages.verify import VerifyReport

__all__ = [
    "BundleInspection",
    "CheckedBundle",
    "CopyOptions",
    "CopyReport",
    "CreateBundleOptions",
    "Credentials",
    "ImgmoveError",
    "ImportOptions",
    "Inspection",
    "LoadBundleOptions",
    "LoadReport",
    "MirrorOptions",
    "Papers",
    "PassReport",
    "Preflight",
    "ServeOptions",
    "Serving",
    "Session",
    "Settings",
    "SideOptions",
    "Stock",
    "VerifyReport",
    "__version__",
    "copy",
    "create_bundle",
    "delete",
    "export",
    "import_rootfs",
    "inspect",
    "inspect_bundle",
    "load",
    "load_bundle",
    "make_keys",
    "read_public_key",
    "read_signing_key",
    "repos",
    "run_mirror",
    "save",
    "serve",
    "tag",
    "tags",
    "take_inventory",
    "verify",
    "verify_bundle",
]

_HOMES = {
    "airgap.check": ("CheckedBundle",),
    "airgap.inspection": ("BundleInspection",),
    "airgap.inventory": ("Stock",),
    "airgap.keys": ("make_keys", "read_public_key", "read_signing_key"),
    "airgap.loaded": ("LoadReport",),
    "airgap.options": ("CreateBundleOptions", "LoadBundleOptions"),
    "airgap.papers": ("Papers",),
    "airgap.preflight": ("Preflight",),
    "api.bundles": ("create_bundle", "inspect_bundle", "load_bundle", "serve", "take_inventory", "verify_bundle"),
    "errors": ("ImgmoveError",),
    "mirror.job": ("MirrorOptions",),
    "mirror.report": ("PassReport",),
    "model.credentials": ("Credentials",),
    "settings": ("Settings", "SideOptions"),
    "stages.import_": ("ImportOptions",),
    "stages.inspect": ("Inspection",),
    "stages.options": ("CopyOptions",),
    "stages.report": ("CopyReport",),
    "stages.serve": ("ServeOptions", "Serving"),
    "stages.session": ("Session",),
    "stages.verify": ("VerifyReport",),
}
"""Where a name comes from; all others are functions of `imgmove.api.images`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = next((home for home, names in _HOMES.items() if name in names), "api.images")
    return getattr(import_module(f"imgmove.{home}"), name)
