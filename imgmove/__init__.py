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
    from imgmove.api import (
        CopyOptions,
        CopyReport,
        ImportOptions,
        Inspection,
        MirrorOptions,
        PassReport,
        Session,
        Settings,
        SideOptions,
        VerifyReport,
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

__all__ = [
    "CopyOptions",
    "CopyReport",
    "ImgmoveError",
    "ImportOptions",
    "Inspection",
    "MirrorOptions",
    "PassReport",
    "Session",
    "Settings",
    "SideOptions",
    "VerifyReport",
    "__version__",
    "copy",
    "delete",
    "export",
    "import_rootfs",
    "inspect",
    "load",
    "repos",
    "run_mirror",
    "save",
    "tag",
    "tags",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "ImgmoveError":
        from imgmove.errors import ImgmoveError

        return ImgmoveError
    from imgmove import api

    return getattr(api, name)
