"""Serving a layout, archive or bundle as a registry, straight from where it lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from imgmove.errors import UsageError
from imgmove.model.connection import is_loopback
from imgmove.model.location import BundleLocation, LayoutLocation, Location, PipeLocation, file_stem
from imgmove.model.reference import check_repository, check_tag, split_host
from imgmove.ports import ImageLister
from imgmove.server import HttpServer, Listener, NamedRepositories, Registry, WritableRepositories, require_password
from imgmove.server.connection import AccessLog
from imgmove.server.named import NamedSource, Placing
from imgmove.settings.htpasswd import read_htpasswd
from imgmove.stages.session import Session
from imgmove.wire.passwords import HashedPasswords
from imgmove.wire.tls import make_server_context

_DEFAULT_PORT = 5000


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How a place is served.

    Attributes:
        listen: ``HOST:PORT``, ``HOST`` or ``:PORT``; port 0 takes a free one.
        writable: whether images can be pushed to it.
        tls_certificate: a PEM file; empty for plain HTTP.
        tls_key: a PEM file; empty when the certificate's file holds the key too.
        htpasswd: a file of users, one of whom everybody then has to be; empty to let everybody in.
    """

    listen: str = f"127.0.0.1:{_DEFAULT_PORT}"
    writable: bool = False
    tls_certificate: str = ""
    tls_key: str = ""
    htpasswd: str = ""


@dataclass(frozen=True, slots=True)
class Serving:
    """A registry that answers.

    Attributes:
        url: with its scheme.
        is_exposed: whether other machines can reach it without a password.
        faults: volumes of a bundle that are missing or can't be used, a line each; what lies in them is not there.
    """

    url: str
    is_exposed: bool
    faults: Sequence[str] = ()


@contextmanager
def serve(
    session: Session, places: Sequence[Location], options: ServeOptions, log: AccessLog | None = None
) -> Iterator[Serving]:
    """Answers in the background until the block ends; requests under way then get five seconds to end.

    Args:
        places: one; or the volumes of a bundle.

    Raises:
        NotFound: there is nothing to serve.
        UsageError: the place can't be served, or two of its images would have one name.
        ConfigError: a certificate or password file is wrong.
        LocalError: the address can't be had.
    """
    listener = _listener(options)
    repositories, faults = _repositories(session, places, writable=options.writable)
    registry = Registry(repositories)
    handler = registry
    if options.htpasswd:
        check = HashedPasswords(read_htpasswd(options.htpasswd))
        handler = require_password(registry, check)  # type: ignore[assignment]
    server = HttpServer(handler, listener, log)
    try:
        server.start()
        scheme = "https" if listener.tls else "http"
        yield Serving(f"{scheme}://{server.host}", not (options.htpasswd or is_loopback(server.host)), faults)
    finally:
        server.stop()
        registry.close()


def _repositories(
    session: Session, places: Sequence[Location], *, writable: bool
) -> tuple[NamedRepositories, Sequence[str]]:
    if writable and len(places) == 1:
        return _writable(session, places[0]), ()
    located = [session.endpoints.looked_up(place) for place in places]
    if all(isinstance(place, BundleLocation) for place in located) and not writable:
        bundle = session.endpoints.bundle([place.path for place in located if isinstance(place, BundleLocation)])
        faults = [str(fault) for fault in bundle.volumes.faults] if bundle.volumes is not None else []
        return _named(bundle, located[0]), faults
    if len(located) > 1:
        raise UsageError("only the volumes of a bundle are served together")
    place = located[0]
    if isinstance(place, PipeLocation):
        place = session.endpoints.spooled(place)
    source = session.endpoints.source(place)
    if not isinstance(source, ImageLister):
        raise UsageError(
            f"{place} can't be served", hint="serve a layout, an archive or a bundle; a path is written ./NAME"
        )
    return _named(source, place), ()


def _named(source: NamedSource, place: Location) -> NamedRepositories:
    repositories = NamedRepositories(source, placing(place))
    repositories.check()
    return repositories


def _writable(session: Session, location: Location) -> NamedRepositories:
    place = session.endpoints.shaped(location)
    if not isinstance(place, LayoutLocation):
        raise UsageError(f"{location} can't be written to while it is served", hint="--writable needs a layout")
    layout = session.endpoints.destination(place)
    layout.establish()  # type: ignore[union-attr]
    repositories = WritableRepositories(layout, layout, placing(place))  # type: ignore[arg-type]
    repositories.check()
    return repositories


def placing(location: Location) -> Placing:
    """Says under which repository and tag a name of a place is served.

    Full names lose their host; a bare tag belongs to the folder's or file's own name, as do images without a name.
    """
    stem = file_stem(getattr(location, "path", "")) or "image"

    def place(name: str) -> tuple[str, str] | None:
        repository, tag = _split(name, stem)
        try:
            check_repository(repository)
            if tag:
                check_tag(tag)
        except UsageError:
            return None
        return repository, tag

    return place


def _split(name: str, stem: str) -> tuple[str, str]:
    if ":" not in name and "/" not in name:
        return stem, name
    name = name.partition("@")[0]
    try:
        _, path = split_host(name)
    except UsageError:
        path = name
    repository, colon, tag = path.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (path, "latest")


def _listener(options: ServeOptions) -> Listener:
    if options.tls_key and not options.tls_certificate:
        raise UsageError("--tls-key needs --tls-cert")
    tls = None
    if options.tls_certificate:
        tls = make_server_context(options.tls_certificate, options.tls_key or options.tls_certificate)
    host, port = _address(options.listen)
    return Listener(host, port, tls)


def _address(text: str) -> tuple[str, int]:
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise UsageError(f"not an address to listen on: {text!r:.80}", hint="write HOST:PORT")
    return host or "127.0.0.1", int(port or _DEFAULT_PORT)
