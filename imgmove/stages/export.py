"""The stage that writes an image's or a container's root file system, as one tar or unpacked into a folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import BinaryIO, Protocol

from imgmove.engine.blobs import SidedReader
from imgmove.engine.layers import AHEAD, Allowance, StoredLayer
from imgmove.errors import ImgmoveError, LocalError, UsageError
from imgmove.model.location import EngineLocation, Location
from imgmove.model.manifest import digests_of_layers
from imgmove.model.platform import Platform
from imgmove.ports import BlobStarted, FileWriter, Note, PlanMade
from imgmove.rootfs.checked import CheckedTar
from imgmove.rootfs.union import unite
from imgmove.rootfs.unpack import Unpacker, prepare_folder
from imgmove.stages.image import SourceImage
from imgmove.stages.session import Session
from imgmove.streams import BLOCK

_GATHERED = 256 << 10


class Target(Protocol):
    """Where the tree goes; shows it only once it is whole, as far as that can be."""

    def write(self, data: bytes | memoryview, /) -> None: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...


def export_to_file(
    session: Session, image: Location, path: str, platform: Platform | None = None, max_size: int | None = None
) -> None:
    """Writes the tar into a file, which appears when it is whole.

    Raises:
        ImgmoveError: it could not be done; nothing was left behind.
    """
    path = os.path.expanduser(path)
    _export(session, image, lambda: _TarFile(session.endpoints.new_file(path)), platform, max_size)


def export_to_stream(
    session: Session, image: Location, stream: BinaryIO, platform: Platform | None = None, max_size: int | None = None
) -> None:
    """Writes the tar into a stream; whatever goes wrong leaves it without the blocks that close a tar."""
    _export(session, image, lambda: _TarStream(stream), platform, max_size)


def export_to_folder(
    session: Session, image: Location, folder: str, platform: Platform | None = None, max_size: int | None = None
) -> None:
    """Unpacks the tree into a folder, which is made if it is missing.

    As root with owners, devices and all attributes; otherwise without them, which is told in one note.

    Raises:
        LocalError: the folder holds something.
        ImgmoveError: it could not be done; what is in the folder then is not whole, and the message says so.
    """
    folder = os.path.expanduser(folder)
    try:
        prepare_folder(folder)
    except ImgmoveError as error:
        raise error.on("destination") from error.__cause__
    opened: list[Unpacker] = []

    def begin() -> Unpacker:
        opened.append(Unpacker(folder))
        return opened[0]

    try:
        _export(session, image, begin, platform, max_size)
    except ImgmoveError as error:
        if opened:
            error.hint = "; ".join(filter(None, (error.hint, f"what is in {folder} is not whole")))
        raise
    for note in _notes(opened[0]):
        session.run.observer.on(Note(note))


def _notes(unpacker: Unpacker) -> Iterator[str]:
    parts = [f"{count} {what}" for what, count in unpacker.left_out.items()]
    if os.geteuid() != 0:
        parts.insert(0, "the owners")
    if parts:
        yield f"left out, for want of rights or because the file system can't keep them: {', '.join(parts)}"


def _export(
    session: Session,
    image: Location,
    begin: Callable[[], Target],
    platform: Platform | None,
    max_size: int | None,
) -> None:
    if isinstance(image, EngineLocation) and image.container:
        if platform is not None:
            raise UsageError("a container has one platform", hint="leave --platform out")
        _export_container(session, image, begin, max_size)
        return
    layers = _layers(session, image, platform, max_size)
    session.run.observer.on(PlanMade(len(layers), sum(layer.descriptor.size for layer in layers), 0, is_exact=True))
    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.close)
        target = begin()
        stack.callback(target.close)
        unite(layers, partial(_written, target))
        _on_destination(target.finish)


def _export_container(
    session: Session, container: EngineLocation, begin: Callable[[], Target], max_size: int | None
) -> None:
    """Passes on the tar that an engine sends, which is united already."""
    key = str(container)
    with contextlib.ExitStack() as stack:
        stream = session.run.watched(session.endpoints.container(container), key)
        tar = SidedReader(CheckedTar(stream, key, max_size))
        stack.callback(tar.close)
        session.run.observer.on(BlobStarted(key, container.container, None))
        # Some engines tell only now that there is none; nothing is begun before.
        data = tar.read(BLOCK)
        target = begin()
        stack.callback(target.close)
        while data:
            _written(target, data)
            data = tar.read(BLOCK)
        _on_destination(target.finish)


def _written(target: Target, data: bytes | memoryview) -> None:
    _on_destination(lambda: target.write(data))


def _on_destination(call: Callable[[], object]) -> None:
    try:
        call()
    except LocalError as error:
        raise error.on("destination") from error.__cause__


def _layers(
    session: Session, location: Location, platform: Platform | None, max_size: int | None
) -> Sequence[StoredLayer]:
    """The image's layers, the topmost first."""
    image = SourceImage(session, location)
    manifest = image.chosen(platform)
    if manifest is None or not manifest.is_image or manifest.config is None:
        raise UsageError(f"{image.label} is no image that has a root file system")
    diff_ids = digests_of_layers(image.content(manifest.config))
    if len(diff_ids) != len(manifest.layers):
        raise UsageError(
            f"{image.label} has {len(manifest.layers)} layers, but its config does not say what they unpack to"
        )
    allowance, found = Allowance(max_size), list[StoredLayer]()
    for number, (layer, diff_id) in enumerate(zip(manifest.layers, diff_ids, strict=True), 1):
        label = f"layer {number} ({layer.digest.short})"
        below = tuple(found[: -AHEAD - 1 : -1])
        found.append(StoredLayer(session.run, image.source, session.codec, layer, diff_id, label, allowance, below))
    return found[::-1]


class _TarFile:
    def __init__(self, file: FileWriter) -> None:
        self._file = file
        self._position = 0
        self._gathered = bytearray()

    def write(self, data: bytes | memoryview, /) -> None:
        """Large pieces go straight to the file; small ones wait for company."""
        if len(data) < _GATHERED:
            self._gathered += data
            if len(self._gathered) < _GATHERED:
                return
            data = b""
        if self._gathered:
            self._put(bytes(self._gathered))
            self._gathered.clear()
        if data:
            self._put(data)

    def finish(self) -> None:
        """Shows the file."""
        self._put(bytes(self._gathered))
        self._file.commit()

    def close(self) -> None:
        """Forgets a file that was not finished."""
        self._file.abort()

    def _put(self, data: bytes | memoryview) -> None:
        self._file.write_at(self._position, data)  # type: ignore[arg-type]  # it takes any buffer
        self._position += len(data)


class _TarStream:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: bytes | memoryview, /) -> None:
        """Sends bytes on."""
        self._guarded(lambda: self._stream.write(data))

    def finish(self) -> None:
        """Sends what still waits."""
        self._guarded(self._stream.flush)

    def close(self) -> None:
        """The stream is its owner's to close."""

    def _guarded(self, call: Callable[[], object]) -> None:
        try:
            call()
        except BrokenPipeError:
            raise LocalError("whoever read the tar stopped before the end") from None
        except OSError as error:
            raise LocalError(f"can't write the tar: {error.strerror}") from error
