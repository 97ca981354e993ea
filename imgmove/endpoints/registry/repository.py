"""A repository of a registry: everything that can be read from it, written to it and deleted in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote, urlencode

from imgmove.endpoints.registry.host import RegistryHost, delete_scope, pull_scope, push_scope
from imgmove.endpoints.registry.listing import names, tags_place
from imgmove.endpoints.registry.pull import RepositoryReader, header_digest
from imgmove.endpoints.registry.referrers import DIGEST_TAGS, ReferrerQuestions, fallback_tag, with_referrer
from imgmove.endpoints.registry.session import Session
from imgmove.endpoints.registry.upload import GARBLED, BlobUpload, PipedUpload, StreamedUpload
from imgmove.errors import (
    AccessDenied,
    DigestMismatch,
    MalformedContent,
    NetworkError,
    NotFound,
    ServerRefused,
    UsageError,
)
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import DEFAULT_ALGORITHM, Digest
from imgmove.model.manifest import LARGEST_MANIFEST, Node, parse_manifest, to_json_bytes
from imgmove.model.number import read_decimal
from imgmove.ports import BlobWriter, NamedImage
from imgmove.streams import BytesReader
from imgmove.wire.auth import Scope
from imgmove.wire.http import Body, check_status

_ONE_PATCH_ONLY = ("gcr.io", "pkg.dev")
_MOST_CLASHES = 5
_DELETED = (202, 200, 204)
_NO_HEAD = frozenset({405, 501})
_CANNOT_DELETE_TAGS = frozenset({400, 405, 501})
_NO_DELETE = frozenset({405, 501})
_DEEPEST = 8
"""How many indexes are looked for in one another."""


class RegistrySource(RepositoryReader):
    """A repository to read from."""

    def __init__(self, host: RegistryHost, repository: str) -> None:
        super().__init__(host, repository)
        self._questions = ReferrerQuestions(self)

    def tags(self) -> Iterator[str]:
        """All tags, page by page. Once they were all read, nobody has to list them again to find referrers."""
        what = f"listing the tags of {self.label}"
        digest_tags: set[str] = set()
        for name in names(self.host, tags_place(self.repository), self.scopes, "tags", what):
            if name.startswith(DIGEST_TAGS):
                digest_tags.add(name)
            yield name
        self._questions.learned(frozenset(digest_tags))

    def referrers(self, subject: Digest) -> Sequence[NamedImage]:
        """Everything that refers to a manifest, however it was attached."""
        return self._questions.ask(subject)


class RegistryRepository(RegistrySource):
    """A repository to write to."""

    def __init__(self, host: RegistryHost, repository: str) -> None:
        super().__init__(host, repository)
        self._below: dict[Digest, Sequence[Descriptor]] = {}

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """One token for reading and writing."""
        return (push_scope(self.repository),)

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the registry holds a blob or manifest, and in its true size."""
        if descriptor.is_manifest:
            found = self.find(str(descriptor.digest))
            return found is not None and found.size == descriptor.size
        response = self.host.send("HEAD", self._blob(descriptor.digest), self.scopes)
        response.close()
        if response.status in _NO_HEAD:
            return self._has_by_get(descriptor)
        if response.status == 404:
            return False
        check_status(response, 200, what=f"asking {self.label} for blob {descriptor.digest.short}")
        # Pull-through caches claim blobs of which they have only a part.
        return read_decimal(response.headers.get("content-length")) in (None, descriptor.size)

    def _has_by_get(self, descriptor: Descriptor) -> bool:
        """Where nobody answers HEAD: asks for the first byte, and leaves before more than that comes."""
        response = self.host.send("GET", self._blob(descriptor.digest), self.scopes, {"Range": "bytes=0-0"})
        if response.status == 404:
            response.close()
            return False
        check_status(response, 200, 206, 416, what=f"asking {self.label} for blob {descriptor.digest.short}").close()
        return True

    def put_blob(self, descriptor: Descriptor | None) -> BlobWriter:
        """Begins an upload; nothing is asked before `BlobWriter.resume`."""
        session = Session(self.host, self.repository, self.scopes)
        if descriptor is None:
            return StreamedUpload(self.host, session, self.has)
        return BlobUpload(self.host, session, self.has, descriptor)

    def put_from_pipe(self) -> BlobWriter:
        """Begins an upload in pieces that can be sent again, where the registry takes pieces."""
        session = Session(self.host, self.repository, self.scopes)
        if self.host.name.endswith(_ONE_PATCH_ONLY) or not self.host.takes_pieces:
            return StreamedUpload(self.host, session, self.has, is_piped=True)
        return PipedUpload(self.host, session, self.has)

    def mount(self, descriptor: Descriptor, repository: str) -> BlobWriter | None:
        """Takes a blob from a sibling repository; whatever goes wrong with that, an upload still may work."""
        place = f"/v2/{self.repository}/blobs/uploads/?mount={descriptor.digest}&from={quote(repository, safe='/')}"
        session = Session(self.host, self.repository, self.scopes)
        try:
            response = self.host.send("POST", place, (*self.scopes, pull_scope(repository)), {"Content-Length": "0"})
        except AccessDenied:
            return BlobUpload(self.host, session, self.has, descriptor)
        if response.status == 201:
            response.close()
            return None
        if response.status == 202:
            session.adopt(response, 202)
        elif 400 <= response.status < 500 and response.status not in (408, 429):
            response.close()
        else:
            check_status(response, 201, 202, what=f"mounting a blob in {self.label}")
        return BlobUpload(self.host, session, self.has, descriptor)

    def put_manifest(
        self, content: bytes, media_type: str, names: Sequence[str], *, algorithm: str = DEFAULT_ALGORITHM
    ) -> None:
        """Stores a manifest under its digest, or each of its names, and sees to its subject's list of referrers."""
        node = parse_manifest(content, media_type, algorithm)
        if len(content) > LARGEST_MANIFEST:
            raise UsageError(f"a manifest of {len(content)} bytes is more than registries take")
        digest = node.descriptor.digest
        keeps_list = False
        if algorithm != DEFAULT_ALGORITHM:
            keeps_list, names = self._put_by_digest(node, digest, [name for name in names if ":" not in name])
        elif not names:
            names = (str(digest),)
        for name in names:
            headers = self._put(content, media_type, name)
            keeps_list = keeps_list or "oci-subject" in headers
        if node.subject is not None and not keeps_list:
            self._list_referrer(node, node.subject.digest)

    def delete_name(self, name: str) -> None:
        """Removes a tag, and only it: where registries can't, its manifest if no other tag leads to it.

        Where another does, by itself or by an index, the tag is first put on an empty manifest of its own, and that is
        deleted. Where that turns out not to be allowed, the tag is what it was.
        """
        response = self.host.send("DELETE", self._manifest(name), (delete_scope(self.repository),))
        if response.status not in _CANNOT_DELETE_TAGS:
            check_status(response, *_DELETED, what=f"deleting {self.label}:{name}").close()
            return
        response.close()
        found = self.resolve(name)
        others = (self.find(tag) for tag in self.tags() if tag != name)
        if any(other is not None and self._leads_to(other, found.digest) for other in others):
            self._delete_aside(name, found)
        else:
            self._delete(found.digest, f"deleting {self.label}:{name}")

    def delete_manifest(self, digest: Digest) -> None:
        """Removes a manifest with all its tags."""
        self._delete(digest, f"deleting {self.label}@{digest}")

    # --- below

    def _delete(self, digest: Digest, what: str) -> None:
        response = self.host.send("DELETE", self._manifest(str(digest)), (delete_scope(self.repository),))
        if response.status == 405:
            response.close()
            hint = "docker's own registry does with storage.delete.enabled in its configuration"
            raise ServerRefused(f"{what}: {self.host.name} does not allow deleting", status=405, hint=hint)
        check_status(response, *_DELETED, what=what).close()

    def _put_by_digest(self, node: Node, digest: Digest, tags: Sequence[str]) -> tuple[bool, Sequence[str]]:
        """Puts a manifest that goes by another algorithm than registries name content by on their own.

        Returns:
            Whether the registry keeps its subject's list by itself, and the tags that it did not set by the way.

        Raises:
            ServerRefused: it knows no such digests.
        """
        query = f"?{urlencode([('tag', tag) for tag in tags])}" if tags else ""
        try:
            headers = self._put(node.content, node.media_type, f"{digest}{query}")
            told = headers.get("docker-content-digest", str(digest))
        except (ServerRefused, NotFound) as error:
            told = error.message
        if told != str(digest):
            raise ServerRefused(
                f"{self.label} takes no manifest named by {digest.algorithm}: {told}",
                hint="move it to a registry of OCI distribution 1.1, a layout or an archive",
            )
        is_set = {tag.strip() for tag in headers.get("oci-tag", "").split(",")}
        return "oci-subject" in headers, [tag for tag in tags if tag not in is_set]

    def _put(self, content: bytes, media_type: str, name: str) -> Mapping[str, str]:
        """Puts a manifest under one name; the headers of the answer."""
        headers = {"Content-Type": media_type}
        what = f"putting {self.label}{'@' if ':' in name else ':'}{name.partition('?')[0]}"
        response = self.host.send("PUT", self._manifest(name), self.scopes, headers, content)
        try:
            check_status(response, 201, 200, 202, what=what).close()
        except ServerRefused as error:
            # Of other algorithms it is meant as it is said.
            if error.code == GARBLED and (":" not in name or name.startswith(DEFAULT_ALGORITHM)):
                raise Unsettled(error.message) from error
            raise
        told = header_digest(response)
        if told is not None and told != Digest.of(content, told.algorithm):
            raise DigestMismatch(f"{what}: {self.host.name} stored {told} instead")
        return response.headers

    def _list_referrer(self, node: Node, subject: Digest) -> None:
        """Adds a manifest to the list under its subject's fallback tag, until the list really holds it."""
        referrer = Descriptor(
            node.media_type,
            node.descriptor.digest,
            len(node.content),
            annotations=node.annotations,
            artifact_type=node.artifact_type,
        )
        for _ in range(_MOST_CLASHES):
            content = with_referrer(self._questions.read_fallback(subject), referrer)
            if content is None:
                return
            # Another writer may have read the same old list: what we put may lose its entry, or ours be lost.
            self._put(content, media_types.OCI_INDEX, fallback_tag(subject))
        if with_referrer(self._questions.read_fallback(subject), referrer) is not None:
            raise NetworkError(f"{self.label}: others keep overwriting the list of what refers to {subject.short}")

    def _leads_to(self, root: Descriptor, digest: Digest, depth: int = _DEEPEST) -> bool:
        """Whether a manifest is another, or an index that holds it; one that can't be understood may be."""
        if root.digest == digest or not depth:
            return True
        try:
            children = self._children(root) if root.is_index else ()
        except MalformedContent:
            return True
        return any(self._leads_to(child, digest, depth - 1) for child in children)

    def _children(self, index: Descriptor) -> Sequence[Descriptor]:
        if index.digest not in self._below:
            try:
                node = parse_manifest(self._manifest_content(index), index.media_type)
            except NotFound:
                return ()
            self._below[index.digest] = [child for child in node.children if child.is_manifest]
        return self._below[index.digest]

    def _delete_aside(self, name: str, found: Descriptor) -> None:
        """Removes a tag alone from a manifest that others name."""
        what = f"deleting {self.label}:{name}"
        nothing = Digest.of(uuid.uuid4().bytes)
        try:
            # Nothing is moved before it is known that it may be deleted: docker's registry allows that only if told to.
            self._delete(nothing, what)
        except (NotFound, ServerRefused) as error:
            if isinstance(error, ServerRefused) and error.status in _NO_DELETE:
                raise
        content = self._manifest_content(found)
        aside = self._put_aside(name)
        try:
            self._delete(aside.digest, what)
        except BaseException:
            self._put(content, found.media_type, name)
            raise

    def _put_aside(self, name: str) -> Descriptor:
        config = b"{}"
        descriptor = Descriptor.of(config, media_types.OCI_EMPTY)
        if not self.has(descriptor):
            session = Session(self.host, self.repository, self.scopes)
            session.begin()
            session.put(descriptor, Body(BytesReader(config), len(config)))
        document = {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_MANIFEST,
            "artifactType": "application/vnd.imgmove.deleted",
            "config": descriptor.to_json(),
            "layers": [descriptor.to_json()],
            "annotations": {"io.imgmove.deleted": str(uuid.uuid4())},
        }
        content = to_json_bytes(document)
        self._put(content, media_types.OCI_MANIFEST, name)
        return Descriptor.of(content, media_types.OCI_MANIFEST)


class Unsettled(NetworkError):
    """A manifest's digest is said to be wrong, or that of what it names.

    Docker's registry says so while somebody else puts a child of it again, as the link to that is empty for a moment.
    """
