"""What a location comes to: what lies at a path, what a suffix asks for, and which locations one endpoint serves."""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import replace

from imgmove.errors import NotFound, UsageError
from imgmove.model.location import (
    ArchiveLocation,
    BundleLocation,
    EngineLocation,
    LayoutLocation,
    Location,
    PathLocation,
    RegistryLocation,
    RegistryPrefix,
    archive_suffix,
)
from imgmove.model.location_grammar import parse_path_location
from imgmove.ports import Files

_FOR_ROOTFS = "imgmove import takes root file systems"
_FOREIGN_SUFFIX = re.compile(r"\.tar\.(?!gz$|zst$)\w+$|\.(?:txz|tbz2?|tzst|zip)$")


def looked_up(location: Location, files: Files) -> Location:
    """A source location with nothing left to find out: a path is what lies there.

    Raises:
        NotFound: nothing does.
        UsageError: something does, but it is neither a layout nor an archive.
    """
    _refuse_containers(location)
    if isinstance(location, EngineLocation) and not location.name:
        raise UsageError(f"{location} names no image", hint=f"write {location.engine}:NAME")
    if isinstance(location, RegistryPrefix):
        where = str(location).removesuffix("/")
        raise UsageError(f"{location} names no image", hint=f"imgmove repos {where} lists the repositories there")
    if not isinstance(location, PathLocation):
        return location
    path = os.path.expanduser(location.path)
    if files.status(path) is None:
        raise NotFound(f"{location.path}: no such file or folder")
    return _seen(path, files)


def _seen(path: str, files: Files) -> Location:
    from imgmove.endpoints.archive import looks_like_archive
    from imgmove.endpoints.bundle import is_bundle
    from imgmove.endpoints.layout import looks_like_layout

    if os.path.isdir(path):
        if looks_like_layout(files, path):
            return LayoutLocation(path)
        is_of_skopeo = {"version", "manifest.json"} <= set(files.list(path))
        hint = f"skopeo copy dir:{path} oci:DIR makes one of it" if is_of_skopeo else _FOR_ROOTFS
        raise UsageError(f"{path} is a folder, but not an OCI layout", hint=hint)
    if is_bundle(files, path):
        return BundleLocation(path)
    if looks_like_archive(files, path):
        return ArchiveLocation("archive", path)
    raise UsageError(f"{path} is not an image archive")


def shaped(location: Location) -> Location:
    """A destination location with nothing left to decide: a path's suffix says what is written.

    Raises:
        UsageError: it is a container, which is no place for images, or has the suffix of an archive of another kind.
    """
    _refuse_containers(location)
    if not isinstance(location, PathLocation):
        return location
    path = os.path.expanduser(location.path)
    is_folder = os.path.isdir(path)
    if not is_folder:
        _refuse_foreign(path, f"or oci:{path} for a layout in a folder of that name")
    is_archive = archive_suffix(path) is not None and not is_folder
    return ArchiveLocation("archive", path) if is_archive else LayoutLocation(path)


def archive_at(text: str) -> Location:
    """Where an archive is to be written: a path is that of one whatever its name, and locations say what they say.

    Raises:
        UsageError: it is no location, or has the suffix of an archive of another kind.
    """
    location = parse_path_location(text)
    if not isinstance(location, PathLocation):
        return location
    path = os.path.expanduser(location.path)
    _refuse_foreign(path, f"or oci-archive:{path} for a plain tar of that name")
    return ArchiveLocation("archive", path)


def _refuse_foreign(path: str, otherwise: str) -> None:
    if foreign := _FOREIGN_SUFFIX.search(path.lower()):
        hint = f"write .tar, .tar.gz or .tar.zst, {otherwise}"
        raise UsageError(f"{path}: archives of the kind {foreign[0]} are not written", hint=hint)


def place_of(location: Location) -> str:
    """The same text for locations that one endpoint serves: names and digests do not matter."""
    match location:
        case RegistryLocation():
            return f"registry {location.carrier or ''}/{location.reference.name}"
        case LayoutLocation() | ArchiveLocation():
            kind = "layout" if isinstance(location, LayoutLocation) else "archive"
            where = posixpath.normpath(location.path) if location.carrier else os.path.abspath(location.path)
            return f"{kind} {location.carrier or ''}:{where}"
        case EngineLocation():
            return str(replace(location, name="", container=""))
        case BundleLocation():
            return f"bundle {os.path.abspath(location.path)}"
    return str(location)


def _refuse_containers(location: Location) -> None:
    if isinstance(location, EngineLocation) and location.container:
        raise UsageError(f"{location} is a container, not an image")
