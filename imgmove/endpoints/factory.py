"""The one place that turns locations into endpoints; a new endpoint is one line here."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from imgmove.endpoints import places
from imgmove.endpoints.hosts import Hosts
from imgmove.endpoints.temporary import Temporary
from imgmove.errors import ImgmoveError, Side, UsageError
from imgmove.model.descriptor import Descriptor
from imgmove.model.location import (
    ArchiveLocation,
    BundleLocation,
    EngineLocation,
    LayoutLocation,
    Location,
    PipeLocation,
    RegistryLocation,
    SshHost,
    archive_suffix,
)
from imgmove.ports import (
    Destination,
    FileWriter,
    Note,
    Observer,
    PullingDestination,
    Reader,
    SequentialSource,
    Silence,
    Source,
)
from imgmove.settings import Settings

if TYPE_CHECKING:
    from imgmove.endpoints.bundle import Bundle, BundleFile, BundleOptions, BundleStream
    from imgmove.endpoints.engines import Engines, SavedLayer, ThinSave
    from imgmove.endpoints.layout import Layout
    from imgmove.endpoints.registry import Registries
    from imgmove.endpoints.rootfs import Rootfs
    from imgmove.engine.run import Run

Endpoint = TypeVar("Endpoint")


class Endpoints:
    """Opens sources and destinations for one command, each place once, and closes them together.

    Args:
        settings: how registries and other hosts are reached.
        stdin: what ``-`` means as a source; the process's own where None.
        stdout: what ``-`` means as a destination; the process's own where None.
        observer: hears of what a person should know.
        hosts: connections that are shared with others, and theirs to close; by default own ones.
    """

    def __init__(
        self,
        settings: Settings,
        stdin: BinaryIO | None = None,
        stdout: BinaryIO | None = None,
        observer: Observer | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        self._settings = settings
        noted = observer or Silence()
        self._stdin = stdin
        self._stdout = stdout
        self._hosts = hosts or Hosts(settings, lambda text: noted.on(Note(text)))
        self._are_hosts_own = hosts is None
        self._files = self._hosts.here
        self._temporary = Temporary()
        self._opened: dict[tuple[str, str], Source | Destination | PullingDestination] = {}
        self._engines: Engines | None = None

    def for_another_command(self) -> Endpoints:
        """Opens places anew for another command, over the same connections."""
        return Endpoints(self._settings, self._stdin, self._stdout, hosts=self._hosts)

    # --- what a path is

    def looked_up(self, location: Location) -> Location:
        """A source location with nothing left to find out: a path is what lies there.

        Raises:
            NotFound: nothing does.
            UsageError: something does, but it is neither a layout nor an archive.
        """
        if isinstance(location, PipeLocation) and self._stdin is None and _is_stdin_a_file():
            return ArchiveLocation("archive", "/dev/stdin", shown=str(location))
        with _on("source"):
            return places.looked_up(location, self._files)

    def shaped(self, location: Location) -> Location:
        """A destination location with nothing left to decide: a path's suffix says what is written.

        Raises:
            UsageError: it is a container, which is no place for images.
        """
        return places.shaped(location)

    # --- opening

    def source(self, location: Location) -> Source:
        """Opens a place to read from; the same place gives the same source.

        Raises:
            NotFound: it doesn't exist.
            ImgmoveError: it can't be read.
        """
        # Docker and podman hand out images one by one.
        is_saved = isinstance(location, EngineLocation) and location.engine != "containerd"
        place = str(location) if is_saved else places.place_of(location)
        return self._once(("source", place), lambda: self._open_source(location))

    def kept(self, source: Source) -> Source:
        """The same source for many readers: what one of them asked for is kept for the others until the end."""
        from imgmove.endpoints.spooled import SpooledSource

        return self._once(("kept", str(id(source))), lambda: SpooledSource(source))

    def destination(self, location: Location) -> Destination | PullingDestination:
        """Opens a place to write to; the same place gives the same destination.

        Raises:
            ImgmoveError: it can't be written.
        """
        with _on("destination"):
            return self._once(("destination", places.place_of(location)), lambda: self._open_destination(location))

    def bundle(self, paths: Sequence[str]) -> Bundle:
        """Opens a bundle to read, anew each time: its file, or its volumes in any order."""
        from imgmove.endpoints.bundle import open_bundle

        return self._closed_later(open_bundle(self._files, paths))

    def new_bundle(self, path: str, options: BundleOptions) -> BundleFile | BundleStream:
        """Opens a bundle to write, anew each time; ``-`` is stdout."""
        from imgmove.endpoints.bundle import BundleFile, BundleStream

        if path == "-":
            return self._closed_later(BundleStream(self._stdout or sys.stdout.buffer, options))
        return self._closed_later(BundleFile(self._files, path, options))

    def room_for(self, path: str) -> int | None:
        """Bytes that a file may take, what an unfinished one of its name takes already included; None if unknown."""
        free = self._files.free_space(path)
        return None if free is None else free + self._files.unfinished_bytes(path)

    def pipe(self, location: Location) -> SequentialSource:
        """Opens a pipe, or what an engine saves, which can be read once."""
        from imgmove.endpoints.archive import ArchivePipe

        return ArchivePipe(self._stream(location), "the pipe" if isinstance(location, PipeLocation) else str(location))

    def spooled(self, location: Location) -> ArchiveLocation:
        """Copies a pipe into a temporary file that goes away with this, and says where that is."""
        what = "the pipe's" if isinstance(location, PipeLocation) else f"{location}'s"
        return ArchiveLocation("archive", self._temporary.file(self._stream(location), what), shown=str(location))

    def thinned(self, location: EngineLocation, save: ThinSave, held: Mapping[SavedLayer, Descriptor]) -> None:
        """Opens an engine's image without layers that nobody is going to read; it is the source from then on.

        Args:
            held: what the destination has for each of them.
        """
        from imgmove.endpoints.archive import open_archive
        from imgmove.wire import codec

        with closing(save.without(held)) as stream:
            path = self._temporary.file(codec.decompressing(stream, "gzip"), f"{location}'s")
        left_out = {layer.diff_id: blob.size if blob.digest == layer.diff_id else 0 for layer, blob in held.items()}
        self._once(("source", str(location)), lambda: open_archive(self._files, path, left_out, label=str(location)))

    def container(self, location: EngineLocation) -> Reader:
        """Opens the root file system of a container: one tar, as the engine sends it.

        Raises:
            NotFound: there is no such container.
            ImgmoveError: the engine can't be reached, or refuses.
        """
        with _on("source"):
            return self.engines.container(location)

    def _stream(self, location: Location) -> BinaryIO | Reader:
        if not isinstance(location, EngineLocation):
            return self._stdin or _stdin()
        with _on("source"):
            return self.engines.save(location)

    @property
    def engines(self) -> Engines:
        """The container engines that this command speaks to."""
        if self._engines is None:
            from imgmove.endpoints.engines import Engines

            self._engines = Engines(self._settings, self._hosts.machine)
        return self._engines

    def scratch(self) -> Layout:
        """A layout in a temporary folder that goes away with this."""
        from imgmove.endpoints.layout import Layout

        return Layout.writable(self._files, self._temporary.folder())

    def new_file(self, path: str) -> FileWriter:
        """Begins a file that appears when it is committed, and goes away with this otherwise."""
        return self._files.create(path)

    def rootfs(self, text: str, run: Run, *, latest: int | None = None, most: int | None = None) -> Rootfs:
        """Opens a root file system: ``-`` for stdin, a URL, a tar, or a folder.

        Args:
            run: how patiently a URL is read.
            latest: seconds since 1970 that no time of a folder's files may be after.
            most: bytes that the unpacked tar may have; None for any number.

        Raises:
            NotFound: there is none.
            UsageError: it is no tar.
            ImgmoveError: it can't be read.
        """
        from imgmove.endpoints import rootfs

        if text == "-":
            return rootfs.open_pipe(self._stdin or _stdin(), most=most)
        if text.lower().startswith(("http://", "https://")):
            return rootfs.open_download(text, self._settings, run, most=most)
        path = os.path.expanduser(text)
        if rootfs.is_folder(path):
            return rootfs.open_folder(path, latest=latest, most=most)
        return rootfs.open_file(path, most=most)

    @property
    def registries(self) -> Registries:
        """The registries that this command speaks to from here."""
        return self.registries_behind(None)

    def registries_behind(self, carrier: SshHost | None) -> Registries:
        """The registries that another host reaches for us; those that are reached from here for None."""
        return self._hosts.registries(carrier)

    def close(self) -> None:
        """Closes everything; archives that were not finished leave nothing behind."""
        for endpoint in self._opened.values():
            endpoint.close()
        self._opened.clear()
        if self._engines is not None:
            self._engines.close()
        if self._are_hosts_own:
            self._hosts.close()
        self._temporary.close()

    def _once(self, key: tuple[str, str], make: Callable[[], Endpoint]) -> Endpoint:
        if key not in self._opened:
            self._opened[key] = make()  # type: ignore[assignment]
        return self._opened[key]  # type: ignore[return-value]

    def _closed_later(self, endpoint: Endpoint) -> Endpoint:
        return self._once(("bundle", str(len(self._opened))), lambda: endpoint)

    def _open_source(self, location: Location) -> Source:
        match location:
            case RegistryLocation():
                return self.registries_behind(location.carrier).source(location.reference)
            case LayoutLocation():
                from imgmove.endpoints.layout import Layout

                return Layout.existing(self._hosts.files(location.carrier), location.path)
            case ArchiveLocation():
                from imgmove.endpoints.archive import open_archive

                label = "the pipe" if location.shown == str(PipeLocation()) else location.shown
                return open_archive(self._hosts.files(location.carrier), location.path, label=label)
            case EngineLocation(engine="containerd"):
                return self.engines.containerd(location)
            case EngineLocation():
                from imgmove.endpoints.archive import open_archive

                return open_archive(self._files, self.spooled(location).path, label=str(location))
            case BundleLocation():
                from imgmove.endpoints.bundle import open_bundle

                return open_bundle(self._files, [location.path])
        raise UsageError(f"{location} can't be read from")

    def _open_destination(self, location: Location) -> Destination | PullingDestination:
        match location:
            case EngineLocation():
                return self.engines.destination(location)
            case RegistryLocation():
                return self.registries_behind(location.carrier).destination(location.reference)
            case LayoutLocation():
                from imgmove.endpoints.layout import Layout

                return Layout.writable(self._hosts.files(location.carrier), location.path)
            case ArchiveLocation():
                from imgmove.endpoints.archive import new_archive

                compression = archive_suffix(location.path) or "none"
                return new_archive(self._hosts.files(location.carrier), location.path, compression)
            case BundleLocation():
                from imgmove.endpoints.bundle import BundleFile

                return BundleFile(self._files, location.path)
            case PipeLocation():
                from imgmove.endpoints.archive import ArchiveStream

                return ArchiveStream(self._stdout or sys.stdout.buffer)
        raise UsageError(f"{location} can't be written to")


@contextmanager
def _on(side: Side) -> Iterator[None]:
    """Notes on which side it was that something could not be opened."""
    try:
        yield
    except ImgmoveError as error:
        raise error.on(side) from error.__cause__


def _stdin() -> BinaryIO:
    """The process's own, unbuffered: the lock of a buffer in which a thread waits would stop the interpreter's end."""
    buffered = sys.stdin.buffer
    return getattr(buffered, "raw", buffered)


def _is_stdin_a_file() -> bool:
    try:
        return stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode)
    except (OSError, ValueError):
        # Whoever embeds us may have replaced or closed stdin.
        return False
