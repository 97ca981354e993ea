"""What the redesigned conformance program of the distribution spec pushes and asks back, ported by meaning.

Each kind of content, under each hash, is pushed, listed, pulled by digest and tag, asked for its referrers, and deleted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from imgmove.model import media_types
from imgmove.model.digest import Digest
from imgmove.server import HttpServer
from tests.server.client import begin_upload, call, finish_upload
from tests.server.test_conformance import REPO, put_blob, put_manifest, server

__all__ = ["server"]

KIND = "application/vnd.example.conformance"
LAYER = media_types.OCI_LAYER


@dataclass
class Content:
    """Blobs and manifests of one kind, children first; the last manifest gets the tag."""

    algorithm: str
    blobs: list[bytes] = field(default_factory=list)
    manifests: list[tuple[str, bytes]] = field(default_factory=list)

    def blob(self, content: bytes, media_type: str, *, is_pushed: bool = True, **more: Any) -> dict[str, object]:
        if is_pushed:
            self.blobs.append(content)
        return self._described(content, media_type) | more

    def manifest(self, layers: Sequence[Mapping[str, object]] | None = None, **more: object) -> dict[str, object]:
        config = self.blob(b'{"architecture":"amd64","os":"linux"}', media_types.OCI_CONFIG)
        one = [self.blob(f"layer {len(self.blobs)}".encode(), LAYER)] if layers is None else layers
        return self._put(media_types.OCI_MANIFEST, {"config": config, "layers": one} | more)

    def artifact(self, **more: Any) -> dict[str, object]:
        return self.manifest(artifactType=KIND, config=self.blob(b"{}", media_types.OCI_EMPTY), **more)

    def index(self, *children: dict[str, object], **more: object) -> dict[str, object]:
        return self._put(media_types.OCI_INDEX, {"manifests": children, **more})

    def _put(self, media_type: str, fields: Mapping[str, object]) -> dict[str, object]:
        content = json.dumps({"schemaVersion": 2, "mediaType": media_type, **fields}).encode()
        self.manifests.append((media_type, content))
        return self._described(content, media_type)

    def _described(self, content: bytes, media_type: str) -> dict[str, object]:
        digest = Digest.of(content, self.algorithm)
        return {"mediaType": media_type, "digest": str(digest), "size": len(content)}


def nested(content: Content) -> None:
    content.index(content.index(content.manifest()), content.index(content.manifest()))


def with_subject(content: Content) -> None:
    content.artifact(subject=content.manifest(), annotations={"org.example.number": "1"})


def index_with_subject(content: Content) -> None:
    content.index(content.artifact(), subject=content.index(content.manifest()), artifactType=KIND)


def missing_subject(content: Content) -> None:
    content.artifact(subject=content.blob(b"{}{}", media_types.OCI_MANIFEST, is_pushed=False))


def non_distributable(content: Content) -> None:
    urls = ["https://store.example.com/x"]
    foreign = content.blob(b"elsewhere", media_types.OCI_FOREIGN_LAYER, is_pushed=False, urls=urls)
    content.manifest([foreign, content.blob(b"here", LAYER)])


def data_field(content: Content) -> None:
    content.manifest([content.blob(b"inline", LAYER, data="aW5saW5l")])


def custom_fields(content: Content) -> None:
    extra: Any = {"org.example.custom": {"deep": [1, None, True]}}
    content.index(content.manifest([content.blob(b"x", LAYER, **extra)], **extra), **extra)


def large(content: Content) -> None:
    content.manifest(annotations={f"org.example.{number}": "A" * 10_000 for number in range(390)})


KINDS: dict[str, Callable[[Content], object]] = {
    "image": lambda content: content.manifest(),
    "uncompressed": lambda content: content.manifest([content.blob(b"tar", "application/vnd.oci.image.layer.v1.tar")]),
    "no layers": lambda content: content.manifest([]),
    "empty blob": lambda content: content.manifest([content.blob(b"", LAYER)]),
    "large manifest": large,
    "index": lambda content: content.index(content.manifest(), content.manifest()),
    "nested index": nested,
    "empty index": lambda content: content.index(),
    "artifact": lambda content: content.artifact(),
    "artifact without layers": lambda content: content.artifact(layers=[content.blob(b"{}", media_types.OCI_EMPTY)]),
    "artifact index": lambda content: content.index(content.artifact(), artifactType=KIND),
    "subject": with_subject,
    "index with subject": index_with_subject,
    "missing subject": missing_subject,
    "non-distributable layers": non_distributable,
    "data field": data_field,
    "custom fields": custom_fields,
}


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("kind", KINDS)
def test_content(kind: str, algorithm: str, server: HttpServer) -> None:
    content = Content(algorithm)
    KINDS[kind](content)
    for blob in content.blobs:
        put_blob(server, blob, algorithm)
    for media_type, manifest in content.manifests:
        digest = str(Digest.of(manifest, algorithm))
        answer = put_manifest(server, manifest, f"{digest}?tag=one&tag=two", media_type)
        assert answer.status == 201, answer.body
        assert answer.headers["Docker-Content-Digest"] == digest
        assert answer.headers["OCI-Tag"] == "one, two"
        subject = json.loads(manifest).get("subject")
        assert answer.headers["OCI-Subject"] == (subject["digest"] if subject else None)
        assert call(server, "GET", answer.headers["Location"]).body == manifest
        if subject:
            listed(server, subject["digest"], digest, json.loads(manifest))
    assert call(server, "GET", f"{REPO}/tags/list").document["tags"] == ["one", "two"]
    for blob in content.blobs:
        assert call(server, "GET", f"{REPO}/blobs/{Digest.of(blob, algorithm)}").body == blob
    for reference in (str(Digest.of(content.manifests[-1][1], algorithm)), "one", "two"):
        pulled(server, reference, *content.manifests[-1], algorithm)
    for reference in ("one", *(str(Digest.of(manifest, algorithm)) for _, manifest in content.manifests)):
        assert call(server, "DELETE", f"{REPO}/manifests/{reference}").status == 202
        assert call(server, "HEAD", f"{REPO}/manifests/{reference}").status == 404
    left = call(server, "GET", f"{REPO}/tags/list")
    assert left.status == 404 or left.document["tags"] == []


def pulled(server: HttpServer, reference: str, media_type: str, manifest: bytes, algorithm: str) -> None:
    for method in ("GET", "HEAD"):
        answer = call(server, method, f"{REPO}/manifests/{reference}")
        assert answer.status == 200
        assert answer.headers["Content-Type"] == media_type
        assert answer.headers["Content-Length"] == str(len(manifest))
        assert answer.headers["Docker-Content-Digest"] == str(Digest.of(manifest, algorithm))
        assert answer.body == (manifest if method == "GET" else b"")


def listed(server: HttpServer, subject: str, digest: str, manifest: Mapping[str, object]) -> None:
    for query, filtered in (
        ("", None),
        (f"?artifactType={KIND}", "artifactType"),
        ("?artifactType=other/x", "artifactType"),
    ):
        answer = call(server, "GET", f"{REPO}/referrers/{subject}{query}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, media_types.OCI_INDEX)
        assert answer.headers["OCI-Filters-Applied"] == filtered
        entries = answer.document["manifests"]
        if "other" in query:
            assert entries == []
            continue
        (entry,) = entries
        assert (entry["digest"], entry["artifactType"]) == (digest, KIND)
        assert entry.get("annotations") == manifest.get("annotations")


def test_a_manifest_under_a_digest_that_is_not_its_own(server: HttpServer) -> None:
    content = Content("sha256")
    content.manifest()
    for blob in content.blobs:
        put_blob(server, blob)
    manifest = content.manifests[-1][1]
    for wrong in (f"sha256:{'0' * 64}", "sha256:baddigeststring", "sha256:", f"sha512:{'0' * 128}", "md5:0123"):
        answer = put_manifest(server, manifest, wrong)
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID"), wrong
        assert call(server, "GET", f"{REPO}/manifests/{wrong}").status in (400, 404)
    assert put_manifest(server, b"{", "one").code == "MANIFEST_INVALID"
    assert put_manifest(server, manifest + b" " * (4 << 20), "one").status == 413


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_ways_to_push_a_blob(algorithm: str, server: HttpServer) -> None:
    """In one request, in two, in chunks, as a stream, by mounting, after a cancelled upload; an empty one too."""
    for number, content in enumerate((b"", b"0123456789" * 50)):
        for way in (at_once, in_two, in_chunks, streamed, after_cancelling):
            body = content + way.__name__.encode() * number
            digest = Digest.of(body, algorithm)
            way(server, body, digest)
            assert call(server, "GET", f"{REPO}/blobs/{digest}").body == body, way.__name__
            mounted = call(server, "POST", f"/v2/other/repo/blobs/uploads/?mount={digest}&from=team/app")
            assert mounted.status == 201
            assert call(server, "HEAD", f"/v2/other/repo/blobs/{digest}").headers["Content-Length"] == str(len(body))


def at_once(server: HttpServer, body: bytes, digest: Digest) -> None:
    assert call(server, "POST", f"{REPO}/blobs/uploads/?digest={digest}", body).status == 201


def in_two(server: HttpServer, body: bytes, digest: Digest) -> None:
    assert finish_upload(server, begin_upload(server), digest, body).status == 201


def in_chunks(server: HttpServer, body: bytes, digest: Digest) -> None:
    place, middle = begin_upload(server, query=f"?digest-algorithm={digest.algorithm}"), len(body) // 2
    for start, end in ((0, middle), (middle, len(body))):
        if start < end:
            answer = call(server, "PATCH", place, body[start:end], {"Content-Range": f"{start}-{end - 1}"})
            assert (answer.status, answer.headers["Range"]) == (202, f"0-{end - 1}")
            place = answer.headers["Location"]
    assert finish_upload(server, place, digest).status == 201


def streamed(server: HttpServer, body: bytes, digest: Digest) -> None:
    place = call(server, "PATCH", begin_upload(server), iter([body])).headers["Location"]
    assert finish_upload(server, place, digest).status == 201


def after_cancelling(server: HttpServer, body: bytes, digest: Digest) -> None:
    place = begin_upload(server)
    assert call(server, "PATCH", place, b"something").status == 202
    assert call(server, "DELETE", place).status == 204
    assert finish_upload(server, place, digest, body).status == 404
    at_once(server, body, digest)


def test_mounting_without_saying_from_where_is_no_failure(server: HttpServer) -> None:
    digest = put_blob(server, b"somewhere")
    assert call(server, "POST", f"/v2/other/repo/blobs/uploads/?mount={digest}").status in (201, 202)


def test_ranges_of_a_large_blob(server: HttpServer) -> None:
    body = bytes(number % 251 for number in range(2048))
    digest = put_blob(server, body)
    for asked, start, end in (
        ("500-1499", 500, 1500),
        ("500-", 500, 2048),
        ("-500", 1548, 2048),
        ("2000-5000", 2000, 2048),
    ):
        answer = call(server, "GET", f"{REPO}/blobs/{digest}", headers={"Range": f"bytes={asked}"})
        assert (answer.status, answer.body) == (206, body[start:end])
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/2048"
    beyond = call(server, "GET", f"{REPO}/blobs/{digest}", headers={"Range": "bytes=5000-10000"})
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, "bytes */2048")
    for odd in ("bytes=500-0", "bytes=x-1", "lines=1-2", "bytes=0-1,5-6"):
        answer = call(server, "GET", f"{REPO}/blobs/{digest}", headers={"Range": odd})
        assert (answer.status, answer.body) == (200, body), "what is no range is passed over"
