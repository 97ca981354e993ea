"""A root file system on its way into an image: a tar from a file, pipe or URL, or a folder, becomes the last layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlsplit

from imgmove.engine.run import Run
from imgmove.errors import LocalError, MalformedContent, NotFound, Truncated, UsageError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.draft import Draft
from imgmove.model.manifest import Manifest
from imgmove.ports import Arrival, InRegistry, ManifestMaker, NamedImage, RangedSource, Reader, Source
from imgmove.rootfs.checked import CheckedTar
from imgmove.rootfs.pack import PackedFolder
from imgmove.rootfs.tar import BLOCK as TAR_BLOCK
from imgmove.rootfs.tar import is_tar
from imgmove.settings import Settings
from imgmove.streams import BytesReader, PeekReader
from imgmove.wire import codec
from imgmove.wire.files import LocalFiles

_LAYER = "layer"
_KINDS = "a tar may be plain, or compressed with gzip, xz, bzip2 or zstd"


@dataclass(frozen=True, slots=True)
class Rootfs:
    """A root file system that is open.

    Attributes:
        tar: its bytes, plain.
        label: what people call it.
        origin: what an image's history says of where it comes from, as docker does.
        folder: where it was a folder; None for a tar.
    """

    tar: CheckedTar
    label: str
    origin: str = "-"
    folder: PackedFolder | None = None

    def notes(self, *, is_alone: bool) -> Iterator[str]:
        """What a person should know, once all of it was read.

        Args:
            is_alone: no layer is below it.
        """
        if self.folder is not None and self.folder.sockets:
            yield f"sockets can't be packed: left out {self.folder.sockets}"
        if self.tar.is_archive:
            yield "this looks like an archive of images, which imgmove copy and load take"
        if self.tar.whiteouts and is_alone:
            yield f"in a layer, .wh.NAME removes NAME: such files will not show: {self.tar.whiteouts}"
        if self.tar.sparse:
            yield f"files with holes in GNU's old form: {self.tar.sparse}; docker and containerd refuse such layers"


def open_folder(path: str, *, latest: int | None = None, most: int | None = None) -> Rootfs:
    """A folder, which is packed while it is read.

    Args:
        latest: seconds since 1970 that no file's time may be after.
        most: bytes that the tar may have; None for any number.
    """
    folder = PackedFolder(path, latest)
    return Rootfs(CheckedTar(folder, path, most), path, folder=folder)


def open_file(path: str, *, most: int | None = None) -> Rootfs:
    """A tar in a file.

    Raises:
        NotFound, LocalError: it can't be read.
        UsageError: it is no tar.
    """
    return Rootfs(_unpacked(LocalFiles().open(path), path, most), path)


def open_pipe(stream: BinaryIO, *, most: int | None = None) -> Rootfs:
    """A tar out of a pipe.

    Raises:
        LocalError: it can't be read.
        UsageError: it is no tar.
    """
    return Rootfs(_unpacked(_Stream(stream), "the pipe", most), "-")


def open_download(url: str, settings: Settings, run: Run, *, most: int | None = None) -> Rootfs:
    """A tar that comes over HTTP; what breaks is tried again where it broke.

    Raises:
        NotFound, AccessDenied, NetworkError: it can't be had.
        UsageError: it is no address, or no tar.
    """
    try:
        is_address = bool(urlsplit(url).hostname) and urlsplit(url).port != 0 and url.isprintable()
    except ValueError:
        is_address = False
    if not is_address:
        raise UsageError("that is not an address that can be asked", hint="write it like https://HOST/rootfs.tar.gz")
    download = _Downloaded(url, settings, run)
    try:
        origin = f"{url.partition('://')[0].lower()}://{download.label}"
        return Rootfs(_unpacked(download, download.label, most), download.label, origin)
    except UsageError as error:
        raise UsageError(error.message, hint=f"the server calls it {download.media_type or 'nothing'}") from None


def is_folder(path: str) -> bool:
    """Whether a path is a folder and not a file.

    Raises:
        NotFound: it is nothing.
    """
    found = LocalFiles().status(path)
    if found is None:
        hint = "only http:// and https:// are addresses" if "://" in path else ""
        raise NotFound(f"{path}: no such file or folder", hint=hint)
    return found.is_folder


def _unpacked(raw: Reader, label: str, most: int | None) -> CheckedTar:
    """The tar in what may be compressed; what is none is closed."""
    try:
        return CheckedTar(_plain(raw, label), label, most)
    except (MalformedContent, Truncated) as error:
        raw.close()
        raise type(error)(f"{label}: {error.message}", hint=error.hint) from None
    except BaseException:
        raw.close()
        raise


def _plain(raw: Reader, label: str) -> Reader:
    packed = PeekReader(raw, TAR_BLOCK)
    if not packed.start:
        raise UsageError(f"{label} is empty", hint="an empty tar is 1024 zeros")
    plain = PeekReader(codec.decompressing(packed, codec.sniff(packed.start)), TAR_BLOCK)
    if not is_tar(plain.start):
        raise UsageError(f"{label} is not a tar", hint=_KINDS)
    return plain


class _Stream:
    """A pipe, with its errors as ours."""

    def __init__(self, stream: BinaryIO) -> None:
        # A buffered stream would wait for all that was asked for; what is at hand may be sent on at once.
        self._read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        try:
            return self._read(size)
        except OSError as error:
            raise LocalError(f"can't read the pipe: {error.strerror}") from error

    def close(self) -> None:
        """The stream is its owner's to close."""


class _Downloaded:
    """A download with patience, and a client of its own."""

    def __init__(self, url: str, settings: Settings, run: Run) -> None:
        from imgmove.wire.http import Download, HttpClient

        self._run = run
        self._client = HttpClient(settings.timeout, settings.proxies, settings.for_side("source").tls_files_for)
        self._download = Download(self._client, url)
        self.label = self._download.url

    @property
    def media_type(self) -> str:
        """What the server says that it is."""
        return self._download.media_type

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        download = self._download
        what = f"downloading {self.label}"
        return self._run.persist(what, lambda: download.read(size), lambda: download.position)

    def close(self) -> None:
        """Ends the connections."""
        self._download.close()
        self._client.close()


class RootfsPipe:
    """An image whose last layer comes out of a pipe; all else of it is known, or lies in the base.

    First a `SequentialSource`, read once. When its layer has arrived somewhere, it is the `Source` of one image.

    Args:
        tar: the layer.
        draft: the rest of the image.
        base: where the base's blobs are; None for an image of this layer alone.
        converts_base: the base came without a manifest, so its layers may be compressed as this one is.
    """

    def __init__(self, tar: Reader, draft: Draft, base: Source | None = None, *, converts_base: bool = False) -> None:
        self._tar = tar
        self._draft = draft
        self._base = base
        self._converts_base = converts_base
        self._arrived: Source | None = None
        self._layer: Digest | None = None
        self._made: Manifest | None = None
        self._config = b""

    def arrivals(self) -> Iterator[Arrival]:
        """The layer."""
        yield Arrival(_LAYER, None, None, None, self._tar)

    def became(self, key: str, descriptor: Descriptor, diff_id: Digest | None) -> None:
        """Makes the config and the manifest."""
        assert key == _LAYER
        assert diff_id is not None, "a plain tar was read to its end, so its digest is known"
        self._layer = descriptor.digest
        self._made, self._config = self._draft.complete(descriptor, diff_id)

    def arrived_at(self, place: Source) -> None:
        """Says where the layer can be read from now on."""
        self._arrived = place

    def images(self) -> Sequence[NamedImage]:
        """The image."""
        return [NamedImage(self.manifest.descriptor)]

    @property
    def manifest(self) -> Manifest:
        """The manifest; made when the layer has come."""
        if self._made is None:
            raise LocalError("the root file system has not been read to its end")
        return self._made

    def resolve(self, name: str) -> Descriptor:
        """The one image there is."""
        descriptor = self.manifest.descriptor
        if name not in ("", str(descriptor.digest)):
            raise NotFound(f"nothing is called {name:.120} here")
        return descriptor

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """The manifest and the config, which are here; the layer where it went, and the base's blobs."""
        manifest = self.manifest
        if descriptor.digest == manifest.descriptor.digest:
            return BytesReader(manifest.content[offset:])
        if manifest.config is not None and descriptor.digest == manifest.config.digest:
            return BytesReader(self._config[offset:])
        place = self._arrived if descriptor.digest == self._layer else self._base
        if place is None:
            raise NotFound(f"blob {descriptor.digest} is not here")
        return place.open(descriptor, offset)

    def open_range(self, descriptor: Descriptor, start: int, end: int) -> Reader | None:
        """A part of one of the base's blobs."""
        is_of_base = descriptor.digest != self._layer
        return (
            self._base.open_range(descriptor, start, end)
            if is_of_base and isinstance(self._base, RangedSource)
            else None
        )

    def is_made_up(self, digest: Digest) -> bool:
        """Whether layers below this manifest may be compressed."""
        return self._converts_base and digest == self.manifest.descriptor.digest

    def close(self) -> None:
        """Closes the tar; the base is its owner's to close."""
        self._tar.close()


class MountableRootfsPipe(RootfsPipe):
    """One whose base lies in a repository of a registry, out of which its siblings can mount."""

    def __init__(self, tar: Reader, draft: Draft, base: Source, place: InRegistry) -> None:
        super().__init__(tar, draft, base)
        self.registry = place.registry
        self.repository = place.repository


def make_pipe(tar: Reader, draft: Draft, base: Source | None = None, *, compression: str = "gzip") -> RootfsPipe:
    """A pipe that says as much of its base as that can do.

    Args:
        compression: of the new layer.
    """
    if base is None or draft.base is None:
        return RootfsPipe(tar, draft)
    if isinstance(base, InRegistry):
        return MountableRootfsPipe(tar, draft, base, base)
    # Registries get layers that came without a manifest gzipped; another compression that was asked for must stay.
    is_made_up = isinstance(base, ManifestMaker) and base.is_made_up(draft.base.descriptor.digest)
    return RootfsPipe(tar, draft, base, converts_base=is_made_up and compression == "gzip")
