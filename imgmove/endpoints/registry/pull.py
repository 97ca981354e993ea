"""Reading from a repository (OCI distribution spec, *Pull*)."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict

from imgmove.endpoints.registry.host import RegistryHost, pull_scope
from imgmove.errors import (
    ContentChanged,
    DigestMismatch,
    ImgmoveError,
    MalformedContent,
    NetworkError,
    NotFound,
    SizeMismatch,
)
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import LARGEST_MANIFEST, parse_manifest
from imgmove.model.number import read_decimal
from imgmove.ports import Reader, read_all
from imgmove.streams import BLOCK, BytesReader
from imgmove.wire.auth import Scope
from imgmove.wire.http import Response, check_status
from imgmove.wire.http.errors import shown

_ACCEPT = {"Accept": ", ".join((*media_types.ACCEPTED, media_types.DOCKER_SCHEMA1_SIGNED, "*/*"))}
_EXPIRED = frozenset({400, 401, 403, 404, 410})
_NO_HEAD = frozenset({400, 405, 501})
_MOST_KEPT = 64
_ANY = ""
"""Stands for every version of a blob."""


class RepositoryReader:
    """A repository of a registry as a source. Safe for many threads."""

    def __init__(self, host: RegistryHost, repository: str) -> None:
        self.host = host
        self.repository = repository
        self._lock = threading.Lock()
        self._kept: OrderedDict[Digest, bytes] = OrderedDict()
        self._tags: dict[Digest, str] = {}
        self._versions: dict[Digest, str] = {}
        self._storage: dict[Digest, str] = {}

    @property
    def registry(self) -> str:
        """The host's name."""
        return self.host.name

    @property
    def label(self) -> str:
        """What people call the repository."""
        return f"{self.host.name}/{self.repository}"

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """What requests of this kind need."""
        return (pull_scope(self.repository),)

    def resolve(self, name: str) -> Descriptor:
        """What a tag or digest stands for: one HEAD, which public registries do not count as a pull."""
        found = self.find(name)
        if found is None:
            raise NotFound(f"{self.label} has no {'manifest' if ':' in name else 'tag'} {name}")
        return found

    def find(self, name: str) -> Descriptor | None:
        """As `resolve`, but None where there is nothing."""
        response = self.host.send("HEAD", self._manifest(name), self.scopes, _ACCEPT)
        response.close()
        if response.status == 404:
            return None
        if response.status in _NO_HEAD:
            return self._found_by_get(name)
        check_status(response, 200, what=f"asking for {self.label}:{name}")
        descriptor = self._described(response)
        if descriptor is None:
            return self._found_by_get(name)
        with self._lock:
            self._tags[descriptor.digest] = name
        return descriptor

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """The bytes of a manifest or blob; from an offset by a ranged request.

        Raises:
            ContentChanged: by its ``ETag``, the blob is another one than before.
        """
        if descriptor.is_manifest:
            return BytesReader(self._manifest_content(descriptor)[offset:])
        response = self.host.send("GET", self._blob(descriptor.digest), self.scopes, self._range(descriptor, offset))
        if response.status == 416:
            response.close()
            raise SizeMismatch(f"{self.label}: blob {descriptor.digest.short} has no byte {offset}")
        is_part = response.status == 206 and offset > 0
        check_status(response, 206 if is_part else 200, what=f"reading blob {descriptor.digest.short} of {self.label}")
        self._note_version(descriptor, response)
        if not is_part and response.url != self.host.url(self._blob(descriptor.digest)):
            self._storage[descriptor.digest] = response.url
        first = _first_byte(response, offset) if is_part else 0
        return _WholeReader(_skipped(response, offset - first), descriptor.size - offset)

    def open_range(self, descriptor: Descriptor, start: int, end: int) -> Reader | None:
        """A part of a blob; None where the server does not serve ranges.

        Asked directly of the storage to which the registry sent us before, as long as that lets us.

        Raises:
            ContentChanged: by its ``ETag``, the blob is another one than before.
        """
        response = self._part(descriptor, self._range(descriptor, start, end))
        check_status(response, 206, 200, what=f"reading blob {descriptor.digest.short} of {self.label}")
        self._note_version(descriptor, response)
        if response.status == 200:
            response.close()
            return None
        return _WholeReader(_skipped(response, start - _first_byte(response, start)), end - start)

    def close(self) -> None:
        """Connections belong to the host."""

    # --- below

    def _range(self, descriptor: Descriptor, start: int, end: int | None = None) -> dict[str, str]:
        """Headers that ask for a part (RFC 9110, sections 13.1.5 and 14.2), of the version that was seen first."""
        if not start and end is None:
            return {}
        headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        if version := self._versions.get(descriptor.digest, _ANY):
            headers["If-Range"] = version
        return headers

    def _part(self, descriptor: Descriptor, headers: dict[str, str]) -> Response:
        blob = self._blob(descriptor.digest)
        storage = self._storage.pop(descriptor.digest, "")
        if storage:
            # Taken out until it has answered, so that whatever goes wrong there is not asked for twice.
            response = self.host.send("GET", storage, self.scopes, headers)
            if response.status not in _EXPIRED:
                self._storage[descriptor.digest] = storage
                return response
            response.close()
        return self.host.send("GET", blob, self.scopes, headers)

    def _note_version(self, descriptor: Descriptor, response: Response) -> None:
        """Remembers what the first answer was, so that parts of another one are not put together with it."""
        version = response.headers.get("etag", "")
        # Weak ones don't promise the same bytes.
        if not version.startswith('"'):
            return
        known = self._versions.setdefault(descriptor.digest, version)
        if known not in (version, _ANY):
            # Some servers have a name of their own for the same content; the digest tells in the end.
            self._versions[descriptor.digest] = _ANY
            response.close()
            raise ContentChanged(f"{self.host.name} has another content for blob {descriptor.digest.short} by now")

    def _manifest(self, name: str) -> str:
        return f"/v2/{self.repository}/manifests/{name}"

    def _blob(self, digest: Digest) -> str:
        return f"/v2/{self.repository}/blobs/{digest}"

    def _found_by_get(self, name: str) -> Descriptor | None:
        try:
            content, media_type = self._got(name)
        except NotFound:
            return None
        algorithm = Digest.parse(name).algorithm if ":" in name else "sha256"
        digest = Digest.of(content, algorithm)
        self._keep(digest, content)
        return Descriptor(_kind(content, media_type), digest, len(content))

    def _manifest_content(self, descriptor: Descriptor) -> bytes:
        with self._lock:
            if (kept := self._kept.get(descriptor.digest)) is not None:
                return kept
            tag = self._tags.get(descriptor.digest, "")
        try:
            return self._got(str(descriptor.digest))[0]
        except NotFound:
            # Some registries name another digest in their headers than the content has.
            if not tag or ":" in tag:
                raise
            content, _ = self._got(tag)
            actual = Digest.of(content, descriptor.digest.algorithm)
            if actual != descriptor.digest:
                raise DigestMismatch(
                    f"{self.host.name} says that {tag} is {descriptor.digest}, but it holds {actual}"
                ) from None
            return content

    def _got(self, name: str) -> tuple[bytes, str]:
        response = self.host.send("GET", self._manifest(name), self.scopes, _ACCEPT)
        check_status(response, 200, what=f"reading {self.label}{'@' if ':' in name else ':'}{name}")
        try:
            content = read_all(response, LARGEST_MANIFEST)
        finally:
            response.close()
        if len(content) > LARGEST_MANIFEST:
            raise MalformedContent(f"{self.label} sends a manifest over the limit of {LARGEST_MANIFEST} bytes")
        return content, response.headers.get("content-type", "")

    def _keep(self, digest: Digest, content: bytes) -> None:
        with self._lock:
            self._kept[digest] = content
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)

    def _described(self, response: Response) -> Descriptor | None:
        """What a HEAD tells; None when it does not tell enough."""
        length = read_decimal(response.headers.get("content-length"))
        media_type = response.headers.get("content-type", "").partition(";")[0].strip()
        if length is None or not media_types.is_manifest(media_type):
            return None
        try:
            return Descriptor(media_type, Digest.parse(response.headers.get("docker-content-digest")), length)
        except MalformedContent:
            return None


def header_digest(response: Response) -> Digest | None:
    """The digest that an answer names, if it is one."""
    try:
        return Digest.parse(response.headers.get("docker-content-digest"))
    except MalformedContent:
        return None


def _kind(content: bytes, media_type: str) -> str:
    told = media_type.partition(";")[0].strip()
    try:
        return parse_manifest(content, told).media_type
    except ImgmoveError:
        # Whoever reads it will say what is wrong with it.
        return told if media_types.is_manifest(told) else media_types.OCI_MANIFEST


def _first_byte(response: Response, offset: int) -> int:
    """Where a part begins that was asked for from an offset; servers may give more than that."""
    match = re.match(r"bytes (\d{1,18})-", response.headers.get("content-range", ""))
    if not match or int(match.group(1)) > offset:
        response.close()
        raise NetworkError("the server sent another range than the one asked for")
    return int(match.group(1))


class _WholeReader:
    """A body whose size is known beforehand: ending early, it counts as broken whatever its own length says."""

    def __init__(self, response: Response, size: int) -> None:
        self._response = response
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        data = self._response.read(size)
        self._left -= len(data)
        if not data and size and self._left > 0:
            raise NetworkError(f"{shown(self._response.url)} ends {self._left} bytes early")
        return data

    def close(self) -> None:
        """Closes the response."""
        self._response.close()


def _skipped(response: Response, offset: int) -> Response:
    """The response after ``offset`` bytes, for servers that send everything where a part was asked for."""
    while offset > 0:
        data = response.read(min(offset, BLOCK))
        if not data:
            break
        offset -= len(data)
    return response
