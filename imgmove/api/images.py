"""Images moved, looked at and named."""

from __future__ import annotations

import os
from collections.abc import Sequence

from imgmove.api.places import FilePath, Place, Places, located, passing, several
from imgmove.endpoints.places import archive_at
from imgmove.errors import UsageError
from imgmove.mirror.job import MirrorOptions, run_pass
from imgmove.mirror.meaning import read_mirror_file
from imgmove.mirror.report import PassReport
from imgmove.mirror.run import open_session
from imgmove.model.location_grammar import parse_path_location
from imgmove.model.platform import Platform
from imgmove.settings import Settings
from imgmove.stages import copy as _copying
from imgmove.stages import export as _exporting
from imgmove.stages import import_ as _importing
from imgmove.stages import inspect as _inspecting
from imgmove.stages import lists as _lists
from imgmove.stages import names as _names
from imgmove.stages import verify as _verifying
from imgmove.stages.import_ import ImportOptions
from imgmove.stages.inspect import Inspection
from imgmove.stages.options import CopyOptions
from imgmove.stages.report import CopyReport
from imgmove.stages.session import Session
from imgmove.stages.verify import VerifyReport


def copy(
    sources: Places,
    destinations: Places,
    options: CopyOptions | None = None,
    *,
    session: Session | None = None,
) -> CopyReport:
    """Moves images from every source to every destination.

    Args:
        sources: one or several; several need a destination that keeps names apart (a prefix, layout or archive).
        session: shares connections, tokens and threads with other calls; by default one is made and closed.

    Returns:
        What became of each image. An image that failed has its error there; `CopyReport.raise_failures` raises.

    Raises:
        ImgmoveError: nothing could be begun.
    """
    with passing(session) as own:
        return _copying.copy(own, several(sources), several(destinations), options)


def save(
    images: Places, file: FilePath, options: CopyOptions | None = None, *, session: Session | None = None
) -> CopyReport:
    """Writes images into one archive that docker, podman, containerd and skopeo load, each blob once.

    Args:
        file: whatever its name; one that ends in ``.tar.gz`` or ``.tar.zst`` is compressed.
    """
    with passing(session) as own:
        return _copying.copy(own, several(images), [archive_at(os.fspath(file))], options)


def load(
    archive: FilePath, to: Place, options: CopyOptions | None = None, *, session: Session | None = None
) -> CopyReport:
    """Moves every image of an archive or layout below a destination, under their own names."""
    with passing(session) as own:
        return _copying.copy(own, [parse_path_location(os.fspath(archive))], several(to), options, every=True)


def export(
    image: Place,
    file: FilePath | None = None,
    *,
    folder: FilePath | None = None,
    platform: str | None = None,
    max_size: int | None = None,
    session: Session | None = None,
) -> None:
    """Writes the root file system of an image or a container: into a tar file, or unpacked into a folder.

    Args:
        image: an image, or a container of docker or podman (``docker-daemon:@NAME``), whose tar is the engine's own.
        file: appears when it is whole; the same bytes each time for the same image.
        folder: is made if it is missing; instead of ``file``.
        platform: which of an index; linux/amd64 by default, else the first.
        max_size: bytes that the layers may unpack to.

    Raises:
        UsageError: both or neither of ``file`` and ``folder`` are given, or the image has no root file system.
        LocalError: the folder holds something, or something can't be written.
        ContentError: a layer is not what the image says, or holds what no tree can.
    """
    wanted = Platform.parse(platform) if platform else None
    with passing(session) as own:
        if folder is not None and file is None:
            _exporting.export_to_folder(own, located(image), os.fspath(folder), wanted, max_size)
        elif file is not None and folder is None:
            _exporting.export_to_file(own, located(image), os.fspath(file), wanted, max_size)
        else:
            raise UsageError("an export goes to a file or into a folder")


def import_rootfs(
    rootfs: FilePath, destination: Place, options: ImportOptions | None = None, *, session: Session | None = None
) -> CopyReport:
    """Makes an image out of a root file system, alone or as one more layer on another image.

    Args:
        rootfs: a tar file (plain, or compressed with gzip, xz, bzip2 or zstd), a folder, ``-`` for a tar on stdin, or
            an http(s) URL of a tar.

    Raises:
        UsageError: a change is malformed, or this is no root file system; nothing was written.
    """
    with passing(session) as own:
        return _importing.import_rootfs(own, os.fspath(rootfs), located(destination), options)


def run_mirror(
    config: FilePath, options: MirrorOptions | None = None, *, settings: Settings | None = None
) -> PassReport:
    """Does one pass over a mirror file.

    Returns:
        What became of each tag. `PassReport.raise_failures` raises.

    Raises:
        ConfigError: the file is wrong; the message names line and column.
        ImgmoveError: nothing could be begun, as when another pass over this file is under way.
    """
    settings = settings or Settings.from_environment()
    file = read_mirror_file(os.fspath(config), settings.environment.variables.get)
    with open_session(file, settings) as own:
        return run_pass(own, file, options or MirrorOptions())


def inspect(image: Place, platform: str | None = None, *, session: Session | None = None) -> Inspection:
    """Finds out what an image is made of, and what refers to it."""
    with passing(session) as own:
        return _inspecting.inspect(own, located(image), Platform.parse(platform) if platform else None)


def tags(repository: Place, *, session: Session | None = None) -> list[str]:
    """The tags of a repository, or the names in a layout or archive, sorted."""
    with passing(session) as own:
        return _lists.tags(own, located(repository))


def repos(registry: str, *, session: Session | None = None) -> list[str]:
    """The repositories of ``REGISTRY`` or below ``REGISTRY/PREFIX``, sorted."""
    with passing(session) as own:
        return _lists.repos(own, registry)


def tag(image: Place, names: str | Sequence[str], *, session: Session | None = None) -> list[str]:
    """Gives an image one more name in its place, or several; returns them as locations."""
    with passing(session) as own:
        return _names.tag(own, located(image), [names] if isinstance(names, str) else names)


def delete(image: Place, *, by_digest: bool = False, session: Session | None = None) -> str:
    """Removes a name, or the manifest with all its names; returns what was removed."""
    with passing(session) as own:
        return _names.delete(own, located(image), by_digest=by_digest)


def verify(
    image: Place, other: Place | None = None, *, key: bytes | None = None, session: Session | None = None
) -> VerifyReport:
    """Re-hashes everything reachable from an image; with another one, compares what both reach.

    Args:
        key: a PEM public key of which each image must have a cosign signature.

    Raises:
        ContentError, NotFound: something is wrong or missing.
    """
    with passing(session) as own:
        return _verifying.verify(own, located(image), located(other) if other else None, key=key)
