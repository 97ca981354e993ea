"""What refers to a manifest: the referrers API, its fallback tag, and cosign's tags.

The API is asked once a registry whether it exists. Tags are looked up in the repository's first page of tags, which
answers for all manifests of a command with one request; only where there are more tags than fit is each one asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from imgmove.endpoints.registry.listing import pages, read_document, tags_place, texts
from imgmove.endpoints.registry.pull import RepositoryReader
from imgmove.engine.graph import MOST_REFERRERS
from imgmove.errors import AccessDenied, MalformedContent
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Index, parse_manifest, read_json_object, to_json_bytes
from imgmove.ports import NamedImage, read_all
from imgmove.wire.http import check_status

COSIGN_SUFFIXES = (".sig", ".att", ".sbom")
DIGEST_TAGS = ("sha256-", "sha512-")
"""How the tags begin that stand for what refers to a manifest."""

_LARGEST_LIST = 4 << 20


def fallback_tag(subject: Digest) -> str:
    """The tag that stands in for the API (OCI distribution spec, *Referrers Tag Schema*)."""
    return f"{subject.algorithm}-{subject.hex[:64]}"


class ReferrerQuestions:
    """Asks one repository what refers to its manifests; for one command and many threads."""

    def __init__(self, reader: RepositoryReader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._has_listed = False
        self._digest_tags: frozenset[str] | None = None

    def learned(self, digest_tags: frozenset[str]) -> None:
        """Takes the digest tags from somebody who read the whole list."""
        with self._lock:
            self._digest_tags, self._has_listed = digest_tags, True

    def ask(self, subject: Digest) -> list[NamedImage]:
        """All that refers to a manifest.

        Raises:
            ImgmoveError: a question could not be answered; that is never the same as "none".
        """
        found: dict[Digest, NamedImage] = {}
        listed = self._from_api(subject)
        if listed is None:
            listed = self._from_fallback_tag(subject)
        for descriptor in listed:
            found.setdefault(descriptor.digest, NamedImage(descriptor))
        for name, descriptor in self._from_cosign_tags(subject):
            found[descriptor.digest] = NamedImage(descriptor, (name,))
        found.pop(subject, None)
        return list(found.values())

    def _from_api(self, subject: Digest) -> list[Descriptor] | None:
        """What the API lists; None where there is no such API."""
        host = self._reader.host
        if host.has_referrers_api is None:
            with host.looking_for_api:
                if host.has_referrers_api is None:
                    return self._asked_of_api(subject)
        return self._asked_of_api(subject) if host.has_referrers_api else None

    def _asked_of_api(self, subject: Digest) -> list[Descriptor] | None:
        reader = self._reader
        place = f"/v2/{reader.repository}/referrers/{subject}"
        what = f"asking {reader.label} what refers to {subject.short}"
        response = reader.host.send("GET", place, reader.scopes, {"Accept": media_types.OCI_INDEX})
        kind = response.headers.get("content-type", "").partition(";")[0].strip()
        # Registries without the API answer 404; some answer other paths with a page of their own, or refuse the method.
        if response.status in (404, 405, 400, 501) or (response.status == 200 and kind != media_types.OCI_INDEX):
            response.close()
            reader.host.has_referrers_api = False
            return None
        check_status(response, 200, what=what)
        reader.host.has_referrers_api = True
        if 'rel="next"' not in response.headers.get("link", "").replace("rel=next", 'rel="next"'):
            return _manifests(read_document(response, what))
        response.close()
        found: list[Descriptor] = []
        for page in pages(reader.host, place, reader.scopes, what):
            found += _manifests(page)
            if len(found) > MOST_REFERRERS:
                raise MalformedContent(f"{what}: {reader.host.name} lists more than {MOST_REFERRERS}")
        return found

    def _from_fallback_tag(self, subject: Digest) -> list[Descriptor]:
        if not self._may_exist(fallback_tag(subject)):
            return []
        content = self._remembered(subject) if self._reader.host.memory else self.read_fallback(subject)
        return [] if content is None else list(content.manifests)

    def _remembered(self, subject: Digest) -> Index | None:
        """As `read_fallback`, but a list that was read before is not read again.

        What the tag stands for is asked first, which no registry counts as a pull.
        """
        memory, found = self._reader.host.memory, self._reader.find(fallback_tag(subject))
        if found is None or found.digest == subject:
            return None
        content = memory.kept(found.digest) if memory else None
        return self.read_fallback(subject) if content is None else _as_index(content, found.media_type)

    def read_fallback(self, subject: Digest) -> Index | None:
        """The list under the fallback tag; None where there is none.

        On some registries that tag leads to the subject itself, which is no list of what refers to it.
        """
        reader = self._reader
        place = f"/v2/{reader.repository}/manifests/{fallback_tag(subject)}"
        response = reader.host.send("GET", place, reader.scopes, {"Accept": media_types.OCI_INDEX})
        if response.status == 404:
            response.close()
            return None
        check_status(response, 200, what=f"asking {reader.label} what refers to {subject.short}")
        try:
            content = read_all(response, _LARGEST_LIST)
        finally:
            response.close()
        if Digest.of(content, subject.algorithm) == subject:
            return None
        if reader.host.memory:
            reader.host.memory.keep(Digest.of(content), content)
        return _as_index(content, response.headers.get("content-type", ""))

    def _from_cosign_tags(self, subject: Digest) -> Iterator[tuple[str, Descriptor]]:
        for suffix in COSIGN_SUFFIXES:
            tag = f"{fallback_tag(subject)}{suffix}"
            if self._may_exist(tag) and (found := self._reader.find(tag)) is not None:
                yield tag, found

    def _may_exist(self, tag: str) -> bool:
        known = self._listed()
        return known is None or tag in known

    def _listed(self) -> frozenset[str] | None:
        """The repository's digest tags; None where they are too many to list, or may not be listed."""
        with self._lock:
            if not self._has_listed:
                self._digest_tags = self._list_first_page()
                self._has_listed = True
            return self._digest_tags

    def _list_first_page(self) -> frozenset[str] | None:
        reader = self._reader
        try:
            response = reader.host.send("GET", tags_place(reader.repository), reader.scopes)
        except AccessDenied:
            return None
        if response.status in (401, 403, 404, 405) or response.headers.get("link"):
            response.close()
            return None
        what = f"listing the tags of {reader.label}"
        try:
            names = texts(read_document(check_status(response, 200, what=what), what), "tags")
        except MalformedContent:
            # Too long, or no list at all: then each tag has to be asked for.
            return None
        return frozenset(name for name in names if name.startswith(DIGEST_TAGS))


def with_referrer(index: Index | None, referrer: Descriptor) -> bytes | None:
    """The list with one more entry; None when it is there already."""
    entries = [] if index is None else list(index.manifests)
    if any(entry.digest == referrer.digest for entry in entries):
        return None
    document: dict[str, Any] = {} if index is None else read_json_object(index.content)
    document.update(schemaVersion=2, mediaType=media_types.OCI_INDEX)
    document["manifests"] = [*(document.get("manifests") or []), referrer.to_json()]
    return to_json_bytes(document)


def _as_index(content: bytes, media_type: str) -> Index | None:
    try:
        node = parse_manifest(content, media_type)
    except MalformedContent:
        return None
    return node if isinstance(node, Index) else None


def _manifests(document: dict[str, object]) -> list[Descriptor]:
    items = document.get("manifests") or []
    if not isinstance(items, list):
        raise MalformedContent("a registry's list of referrers is no list")
    return [Descriptor.from_json(item) for item in items]
