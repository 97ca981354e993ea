"""The stage that makes an image out of a root file system, alone or as one more layer on another image."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from imgmove.endpoints.rootfs import Rootfs, RootfsPipe, make_pipe
from imgmove.engine.convert import Conversions, Format
from imgmove.engine.pipe import move_pipe
from imgmove.engine.piped_blobs import Piping
from imgmove.errors import BeginningLost, DigestMismatch, ImgmoveError, UsageError
from imgmove.model import media_types
from imgmove.model.changes import apply_changes
from imgmove.model.draft import Draft, Origination
from imgmove.model.location import Location, PipeLocation
from imgmove.model.manifest import Manifest
from imgmove.model.media_types import Compression
from imgmove.model.platform import Platform
from imgmove.ports import Destination, NamedImage, Note, OutlinedDestination, SequentialDestination, Source
from imgmove.stages.image import SourceImage
from imgmove.stages.move import move
from imgmove.stages.naming import Origin, Target, Targets
from imgmove.stages.options import CopyOptions, WantedCompression
from imgmove.stages.report import CopyReport, ImageReport, Totals
from imgmove.stages.session import Session


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a person can ask of an import. Frozen and checked: a contradiction raises `UsageError` when it is built.

    Attributes:
        changes: Dockerfile instructions that set what the image runs and how, see `imgmove.model.changes`.
        message: for the image's history; by default where the layer comes from, as docker says it.
        platform: of the new image, by default this machine's; with ``onto`` it says which image of an index is meant.
        onto: the image that gets one more layer; None for an image of this layer alone.
        compression: of the layer; ``keep`` is gzip.
        compression_level: of the compressor; None for its default.
        format: the media types; ``keep`` is OCI's, or those of the image that gets a layer.
        max_size: bytes that the unpacked tar may have; None for any number.
    """

    changes: Sequence[str] = ()
    message: str = ""
    platform: Platform | None = None
    onto: Location | None = None
    compression: WantedCompression = "keep"
    compression_level: int | None = None
    format: Format = "keep"
    max_size: int | None = None

    def __post_init__(self) -> None:
        CopyOptions(compression=self.layer_compression, compression_level=self.compression_level, format=self.format)
        if isinstance(self.onto, PipeLocation):
            raise UsageError("a layer can't be put onto an image out of a pipe", hint="write it to a file first")
        if self.onto is None:
            # What a change means for another image shows when that has been read.
            apply_changes({}, self.changes)
        if self.format == "docker" and self.layer_compression == "zstd":
            raise UsageError("Docker's format has no zstd layers", hint="use --compression gzip")

    @property
    def layer_compression(self) -> Compression:
        """What the layer is compressed with."""
        return "gzip" if self.compression == "keep" else self.compression


def import_rootfs(
    session: Session, rootfs: str, destination: Location, options: ImportOptions | None = None
) -> CopyReport:
    """Makes an image out of a root file system.

    Args:
        rootfs: a tar file (plain, or compressed with gzip, xz, bzip2 or zstd), a folder, ``-`` for a tar on stdin, or
            an http(s) URL of a tar.

    Returns:
        The image and where it went.

    Raises:
        UsageError: the request can't be meant; nothing was written.
        ImgmoveError: it could not be done; no name stands for anything incomplete.
    """
    options = options or ImportOptions()
    place = session.endpoints.shaped(destination)
    _check_apart(rootfs, place)
    try:
        return _imported(session, rootfs, place, options)
    except BeginningLost:
        if rootfs == "-":
            raise
        # All but pipes can be read once more.
        return _imported(session, rootfs, place, options)


def _imported(session: Session, rootfs: str, place: Location, options: ImportOptions) -> CopyReport:
    endpoints, date = session.endpoints, session.settings.environment.source_date
    targets = Targets(endpoints, place)
    base = _Base.find(session, options) if options.onto else None
    try:
        opened = endpoints.rootfs(rootfs, session.run, latest=date, most=options.max_size)
    except ImgmoveError as error:
        raise error.on("source") from error.__cause__
    with closing(opened.tar):
        said = Origination(_time(date), options.message or f"Imported from {opened.origin}", options.changes)
        pipe = _pipe(session, options, opened, said, base)
        origin = Origin(pipe, "", None, opened.label)
        report = _Import(session, options, pipe, targets.target(origin), origin).run(is_alone=base is None)
    for note in opened.notes(is_alone=base is None):
        session.run.observer.on(Note(note))
    return report


def _pipe(
    session: Session, options: ImportOptions, opened: Rootfs, said: Origination, base: _Base | None
) -> RootfsPipe:
    if base is None:
        platform = options.platform or session.settings.environment.platform
        return make_pipe(opened.tar, Draft.alone(platform, said))
    draft = Draft.onto(base.manifest, base.config, said)
    return make_pipe(opened.tar, draft, base.source, compression=options.layer_compression)


@dataclass(frozen=True)
class _Import:
    session: Session
    options: ImportOptions
    pipe: RootfsPipe
    target: Target
    origin: Origin

    def run(self, *, is_alone: bool) -> CopyReport:
        destination = self.target.destination
        if is_alone and isinstance(destination, Destination) and not isinstance(destination, SequentialDestination):
            return self._in_one_pass(destination)
        # The layer first, since only then the manifest is known; the rest is then planned and moved like any image.
        takes_it_now = isinstance(destination, Destination) and not isinstance(destination, OutlinedDestination)
        place = destination if takes_it_now else self.session.endpoints.scratch()
        assert isinstance(place, Destination)
        assert isinstance(place, Source)
        move_pipe(self.pipe, self._piping(place, lambda _: None))
        self.pipe.arrived_at(place)
        unchanged = CopyOptions(referrers=False, format=self.options.format)
        report = move(self.session, [(self.origin, self.target)], unchanged)
        return self._with_layer(report) if takes_it_now else report

    def _in_one_pass(self, destination: Destination) -> CopyReport:
        outflow = move_pipe(self.pipe, self._piping(destination, self._names))
        (piped,) = outflow.images
        image = ImageReport.of_piped(piped, outflow, self.origin.label, self.target.label)
        return CopyReport([image], Totals.of_pipe(outflow))

    def _with_layer(self, report: CopyReport) -> CopyReport:
        """The report of the plan, for which the layer was there already, with the layer as it was: sent."""
        size, totals = self.pipe.manifest.layers[-1].size, report.totals
        (image,) = report.images
        if image.error is None and image.status != "present":
            totals = replace(
                totals,
                blobs_sent=totals.blobs_sent + 1,
                bytes_sent=totals.bytes_sent + size,
                blobs_present=totals.blobs_present - 1,
                bytes_present=totals.bytes_present - size,
            )
            image = replace(image, bytes_sent=image.bytes_sent + size)
        return replace(report, images=[image], totals=totals)

    def _piping(self, destination: Destination, names: Callable[[NamedImage], Sequence[str] | None]) -> Piping:
        options = self.options
        conversions = Conversions(
            self.session.codec, None, options.layer_compression, options.compression_level, options.format
        )
        return Piping(destination, names, self.session.run, conversions, self.session.knowledge)

    def _names(self, image: NamedImage) -> Sequence[str]:
        demanded = self.target.digest
        if demanded is not None and image.descriptor.digest != demanded:
            raise DigestMismatch(
                f"the image is {image.descriptor.digest}, not {demanded} as {self.target.label} demands"
            )
        return self.target.names


@dataclass(frozen=True, slots=True)
class _Base:
    """The image that gets one more layer."""

    source: Source
    manifest: Manifest
    config: bytes

    @classmethod
    def find(cls, session: Session, options: ImportOptions) -> _Base:
        """Reads the one image that is meant.

        Raises:
            NotFound: there is none, or none for the platform.
            UsageError: it is none that a layer can be put onto.
        """
        assert options.onto is not None
        image = SourceImage(session, options.onto)
        is_alone = isinstance(image.node, Manifest)
        node = image.chosen(options.platform or (None if is_alone else session.settings.environment.platform))
        if node is None or not node.is_image or node.config is None:
            raise UsageError(f"{image.label} is no image that a layer can be put onto")
        is_docker = node.media_type == media_types.DOCKER_MANIFEST and options.format == "keep"
        if is_docker and options.layer_compression == "zstd":
            raise UsageError(
                f"{image.label} is in docker's format, which has no zstd layers",
                hint="add --format oci, or --compression gzip",
            )
        return cls(image.source, node, image.content(node.config))


def _check_apart(rootfs: str, place: Location) -> None:
    """Makes sure that no folder is packed into itself."""
    path = getattr(place, "path", "")
    folder = os.path.realpath(os.path.expanduser(rootfs))
    if path and getattr(place, "carrier", None) is None and os.path.isdir(folder):
        written = os.path.realpath(os.path.expanduser(path))
        if os.path.commonpath((folder, written)) == folder:
            raise UsageError(f"{place} lies in the folder that is packed", hint="write to another folder")


def _time(date: int | None) -> str:
    when = dt.datetime.now(dt.UTC) if date is None else dt.datetime.fromtimestamp(date, dt.UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
