"""The registry that an engine pulls one image from: on a loopback port, behind a password that is good for this once."""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from imgmove.errors import NotFound
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest
from imgmove.ports import Machine, Opener, Reader
from imgmove.server import FixedRepositories, Registry, StreamServer, require_password
from imgmove.streams import BytesReader

_USER = "imgmove"


@dataclass(frozen=True, slots=True)
class Served:
    """An image that can be pulled, for as long as it is served.

    Attributes:
        host: ``127.0.0.1:PORT``, as the engine's machine sees it.
        path: the repository's, below the host.
        password: what the one that pulls has to know.
    """

    host: str
    path: str
    digest: Digest
    password: str = field(repr=False)

    @property
    def repository(self) -> str:
        """Host and repository."""
        return f"{self.host}/{self.path}"

    @property
    def reference(self) -> str:
        """What to pull."""
        return f"{self.repository}@{self.digest}"

    @property
    def docker_header(self) -> str:
        """The credential as docker's API takes it (``X-Registry-Auth``)."""
        document = {"username": _USER, "password": self.password, "serveraddress": self.host}
        return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()

    @property
    def auth_file(self) -> bytes:
        """The credential as a file in docker's and podman's format."""
        secret = base64.b64encode(f"{_USER}:{self.password}".encode()).decode()
        return json.dumps({"auths": {self.host: {"auth": secret}}}).encode()


@contextlib.contextmanager
def served(machine: Machine, repository: str, image: Manifest, content: Opener) -> Iterator[Served]:
    """Serves an image on the loopback address of the engine's machine until the block ends.

    Raises:
        ServerRefused: that machine allows no listening.
    """
    password = secrets.token_urlsafe(24)
    registry = Registry(FixedRepositories({repository: _OneImage(image, content)}))
    known = f"{_USER}:{password}".encode()
    guarded = require_password(registry, lambda user, said: hmac.compare_digest(f"{user}:{said}".encode(), known))
    server = StreamServer(guarded)
    try:
        with machine.listening(server.take) as port:
            yield Served(f"127.0.0.1:{port}", repository, image.descriptor.digest, password)
    finally:
        server.stop()
        registry.close()


class _OneImage:
    """A repository of one manifest and what it names."""

    def __init__(self, image: Manifest, content: Opener) -> None:
        self._image = image
        self._content = content
        self._blobs = {child.digest: child for child in image.children}

    def resolve(self, name: str) -> Descriptor:
        """The manifest, by its digest."""
        if name != str(self._image.descriptor.digest):
            raise NotFound(f"no manifest {name}")
        return self._image.descriptor

    def find_blob(self, digest: Digest) -> Descriptor | None:
        """One of the manifest's blobs."""
        return self._blobs.get(digest)

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """The content."""
        if descriptor.digest == self._image.descriptor.digest:
            return BytesReader(self._image.content[offset:])
        return self._content.open(descriptor, offset)

    def close(self) -> None:
        """Its owner closes what it reads from."""
