"""A registry for tests: imgmove's own, in this process, with the habits that a test asks for."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.manifest import make_index, make_manifest
from imgmove.server import (
    Exchange,
    Handler,
    HttpServer,
    Listener,
    MemoryRepositories,
    Registry,
    Request,
    Response,
    Rules,
    require_password,
)
from imgmove.streams import BytesReader
from tests.quirks import pulls, pushes
from tests.quirks.definition import Quirks
from tests.quirks.faults import dropping, failing, stalling
from tests.quirks.kinds import is_kind
from tests.quirks.tokens import TokenGate

SMALL_CONFIG = b'{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}'


class RegistryServer:
    """A running registry over memory.

    Attributes:
        storage: its content, for tests that look behind the API.
        log: all requests that were answered, in order of their answers.
        seen: all requests as they came in, with their headers.
        tokens: the gate that gives out bearer tokens; None without `Quirks.token`.
    """

    def __init__(
        self,
        quirks: Quirks | None = None,
        storage: MemoryRepositories | None = None,
        *,
        rules: Rules | None = None,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.quirks = quirks or Quirks()
        self.storage = storage or MemoryRepositories()
        self.log: list[Exchange] = []
        self.seen: list[Request] = []
        self.tokens: TokenGate | None = None
        self._stopped = threading.Event()
        self._registry = Registry(self.storage, rules or Rules(largest_page=self.quirks.largest_page))
        handler = self._gates(disturbed(self._registry, self.quirks))
        handler = disturbed_connections(handler, self.quirks, self._stopped)
        self._server = HttpServer(self._noting(handler), Listener(host, port, tls), self.log.append)
        self._scheme = "https" if tls else "http"

    @property
    def host(self) -> str:
        """``HOST:PORT``, as in a reference."""
        return self._server.host

    @property
    def url(self) -> str:
        """With its scheme, without a slash at the end."""
        return f"{self._scheme}://{self.host}"

    def count(self, kind: str) -> int:
        """How many requests of a kind (``GET blob``, ``* upload``) came in."""
        return sum(is_kind(request.method, request.path, kind) for request in self.seen)

    def sent(self, kind: str = "*") -> int:
        """Bytes of all bodies that were sent in answer to requests of a kind."""
        return sum(exchange.sent for exchange in self.log if is_kind(exchange.method, exchange.path, kind))

    def received(self, kind: str = "*") -> int:
        """Bytes of all bodies that came with requests of a kind."""
        return sum(exchange.received for exchange in self.log if is_kind(exchange.method, exchange.path, kind))

    def forget(self) -> None:
        """Empties the log, so that a test counts only what follows."""
        self.log.clear()
        self.seen.clear()

    def put_blob(self, repository: str, content: bytes, media_type: str = media_types.OCTET_STREAM) -> Descriptor:
        """Puts a blob into the storage."""
        descriptor = Descriptor.of(content, media_type)
        writer = self.storage.make(repository).put_blob(descriptor)
        writer.write(BytesReader(content))
        writer.commit(descriptor)
        return descriptor

    def put_manifest(self, repository: str, content: bytes, media_type: str, *names: str) -> Descriptor:
        """Puts a manifest into the storage, whatever its bytes are, under some tags."""
        self.storage.make(repository).put_manifest(content, media_type, names)
        return Descriptor.of(content, media_type)

    def put_image(
        self,
        repository: str,
        *tags: str,
        layers: Sequence[bytes] = (b"a layer",),
        config: bytes = SMALL_CONFIG,
        annotations: Mapping[str, str] | None = None,
    ) -> Descriptor:
        """Puts an OCI image of these blobs into the storage."""
        manifest = make_manifest(
            media_types.OCI_MANIFEST,
            self.put_blob(repository, config, media_types.OCI_CONFIG),
            [self.put_blob(repository, layer, media_types.OCI_LAYER_GZIP) for layer in layers],
            annotations,
        )
        return self.put_manifest(repository, manifest.content, manifest.media_type, *tags)

    def put_index(self, repository: str, *tags: str, manifests: Sequence[Descriptor]) -> Descriptor:
        """Puts an OCI index into the storage."""
        index = make_index(media_types.OCI_INDEX, manifests)
        return self.put_manifest(repository, index.content, index.media_type, *tags)

    def content(self, repository: str, descriptor: Descriptor) -> bytes:
        """What the storage holds under a digest."""
        reader = self.storage.make(repository).open(descriptor)
        try:
            return reader.read()
        finally:
            reader.close()

    def start(self) -> Self:
        """Begins to answer."""
        self._server.start()
        return self

    def stop(self) -> None:
        """Ends all connections."""
        self._stopped.set()
        self._server.stop(patience=2.0)
        self._registry.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _gates(self, handler: Handler) -> Handler:
        if self.quirks.basic:
            users = self.quirks.basic
            handler = require_password(handler, lambda user, password: users.get(user) == password)
        if self.quirks.token:
            handler = self.tokens = TokenGate(handler, self.quirks.token)
        return handler

    def _noting(self, handler: Handler) -> Handler:
        def note(request: Request) -> Response:
            self.seen.append(request)
            return handler(request)

        return note


class BlobOrigin:
    """Another server, to which a registry redirects those who fetch blobs; it knows no passwords.

    Attributes:
        seen: the requests as they came in, with their headers.
    """

    def __init__(self, content: Mapping[str, bytes] | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.content = dict(content or {})
        self.seen: list[Request] = []
        self._tls = tls
        self._server = HttpServer(self._answer, Listener(tls=tls))

    @property
    def url(self) -> str:
        """With its scheme, without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://{self._server.host}"

    def _answer(self, request: Request) -> Response:
        self.seen.append(request)
        content = self.content.get(request.path.rpartition("/")[2])
        return Response.of(404) if content is None else Response.of(200, content)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(patience=2.0)


def disturbed(handler: Handler, quirks: Quirks) -> Handler:
    """A registry with quirks in what it answers."""
    wrappers: list[tuple[bool, Callable[[Handler, Quirks], Handler]]] = [
        (quirks.location != "path", pushes.other_locations),
        (quirks.chunks != "any", pushes.fewer_chunks),
        (quirks.chunk_min_length > 0, pushes.least_chunks),
        (quirks.patch_status != 202 or quirks.stuck_range, pushes.odd_patches),
        (quirks.mount != "any", pushes.other_mounts),
        (quirks.largest_request > 0, pushes.size_limit),
        (bool(quirks.swapped), pulls.swapped_content),
        (quirks.flipped is not None, pulls.flipped_bits),
        (not quirks.ranges, pulls.no_ranges),
        (quirks.length_error != 0, pulls.other_length),
        (quirks.digest_header != "right", pulls.other_digest_header),
        (quirks.head_denies, pulls.denying_head),
        (not quirks.head, pulls.no_head),
        (bool(quirks.redirect_to), pulls.redirected_blobs),
        (quirks.referrers is not None, pulls.no_referrers),
        (quirks.tag_delete is not None, pulls.no_tag_delete),
        (quirks.refuses_pages_over > 0, pulls.small_pages),
        (not quirks.catalog, pulls.no_catalog),
        (not quirks.sha512, pulls.only_sha256),
        (quirks.pulls_left is not None, pulls.counted),
    ]
    for is_wanted, wrap in wrappers:
        handler = wrap(handler, quirks) if is_wanted else handler
    return handler


def disturbed_connections(handler: Handler, quirks: Quirks, stopped: threading.Event) -> Handler:
    """A registry whose requests fail, break off or stall."""
    for stall in quirks.stalls:
        handler = stalling(handler, stall, stopped)
    for drop in quirks.drops:
        handler = dropping(handler, drop)
    for failure in quirks.failures:
        handler = failing(handler, failure)
    return handler
