"""Pulling, after the cases of the distribution spec's conformance program."""

from __future__ import annotations

import pytest

from imgmove.model import media_types
from imgmove.model.digest import Digest
from tests.quirks import RegistryServer
from tests.server.client import call

BLOB = bytes(range(256)) * 40
ABSENT = Digest.of(b"never pushed")


def test_the_base_says_that_the_api_is_there(registry: RegistryServer) -> None:
    answer = call(registry, "GET", "/v2/")
    assert (answer.status, answer.document) == (200, {})
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
    assert call(registry, "HEAD", "/v2/").body == b""


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_manifest_comes_by_tag_and_by_digest(registry: RegistryServer, method: str) -> None:
    image = registry.put_image("team/app", "1")
    for reference in ("1", str(image.digest)):
        answer = call(registry, method, f"/v2/team/app/manifests/{reference}")
        assert answer.status == 200
        assert answer.headers["Docker-Content-Digest"] == str(image.digest)
        assert answer.headers["Content-Type"] == media_types.OCI_MANIFEST
        assert int(answer.headers["Content-Length"]) == image.size
        assert answer.body == (registry.content("team/app", image) if method == "GET" else b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("reference", ["2", ".INVALID_MANIFEST_NAME", str(ABSENT)])
def test_a_manifest_that_is_not_there_is_unknown(registry: RegistryServer, method: str, reference: str) -> None:
    registry.put_image("team/app", "1")
    answer = call(registry, method, f"/v2/team/app/manifests/{reference}")
    assert answer.status == 404
    if method == "GET":
        assert answer.code == "MANIFEST_UNKNOWN"


def test_a_blob_is_no_manifest_and_the_other_way_round(registry: RegistryServer) -> None:
    image = registry.put_image("team/app", "1")
    blob = registry.put_blob("team/app", BLOB)
    assert call(registry, "GET", f"/v2/team/app/manifests/{blob.digest}").status == 404
    assert call(registry, "GET", f"/v2/team/app/blobs/{image.digest}").status == 404


def test_a_repository_that_is_not_there_is_unknown(registry: RegistryServer) -> None:
    answer = call(registry, "GET", "/v2/nobody/here/manifests/latest")
    assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")


@pytest.mark.parametrize("name", ["UPPER", "a//b", "a/-b", "a__", "-a", "a" * 256, "a/b/../c"])
def test_names_outside_the_grammar_are_refused(registry: RegistryServer, name: str) -> None:
    answer = call(registry, "GET", f"/v2/{name}/manifests/latest")
    assert (answer.status, answer.code) == (400, "NAME_INVALID")


def test_a_blob_comes_whole(registry: RegistryServer) -> None:
    blob = registry.put_blob("team/app", BLOB)
    answer = call(registry, "GET", f"/v2/team/app/blobs/{blob.digest}")
    assert (answer.status, answer.body) == (200, BLOB)
    assert answer.headers["Accept-Ranges"] == "bytes"
    head = call(registry, "HEAD", f"/v2/team/app/blobs/{blob.digest}")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(BLOB)))


def test_a_blob_of_another_repository_is_unknown(registry: RegistryServer) -> None:
    registry.put_image("team/app", "1")
    blob = registry.put_blob("team/other", BLOB)
    answer = call(registry, "GET", f"/v2/team/app/blobs/{blob.digest}")
    assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")


@pytest.mark.parametrize("digest", ["sha256:12", "md5:" + "0" * 32, "sha256:" + "Z" * 64])
def test_what_is_no_digest_is_refused(registry: RegistryServer, digest: str) -> None:
    registry.put_image("team/app", "1")
    answer = call(registry, "GET", f"/v2/team/app/blobs/{digest}")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=5-99", 5, 99),
        ("bytes=10000-", 10000, 10239),
        ("bytes=10239-10239", 10239, 10239),
        ("bytes=100-999999", 100, 10239),
        ("bytes=-1", 10239, 10239),
        ("bytes=-999999", 0, 10239),
    ],
)
def test_one_range_of_a_blob(registry: RegistryServer, asked: str, first: int, last: int) -> None:
    blob = registry.put_blob("team/app", BLOB)
    answer = call(registry, "GET", f"/v2/team/app/blobs/{blob.digest}", headers={"Range": asked})
    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(BLOB)}"
    assert answer.body == BLOB[first : last + 1]


@pytest.mark.parametrize("asked", ["bytes=10240-", "bytes=10240-10250", "bytes=-0"])
def test_a_range_behind_the_end_cannot_be_had(registry: RegistryServer, asked: str) -> None:
    blob = registry.put_blob("team/app", BLOB)
    answer = call(registry, "GET", f"/v2/team/app/blobs/{blob.digest}", headers={"Range": asked})
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(BLOB)}"


@pytest.mark.parametrize("asked", ["bytes=5-1", "bytes=0-1,5-6", "lines=1-2", "bytes=-", "nonsense"])
def test_what_is_no_single_range_gets_the_whole(registry: RegistryServer, asked: str) -> None:
    blob = registry.put_blob("team/app", BLOB)
    answer = call(registry, "GET", f"/v2/team/app/blobs/{blob.digest}", headers={"Range": asked})
    assert (answer.status, answer.body) == (200, BLOB)


def test_a_range_of_another_version_gets_the_whole(registry: RegistryServer) -> None:
    blob = registry.put_blob("team/app", BLOB)
    path = f"/v2/team/app/blobs/{blob.digest}"
    etag = call(registry, "HEAD", path).headers["ETag"]
    assert call(registry, "GET", path, headers={"Range": "bytes=1-2", "If-Range": etag}).status == 206
    assert call(registry, "GET", path, headers={"Range": "bytes=1-2", "If-Range": '"other"'}).status == 200


def test_what_the_client_has_already_is_not_sent(registry: RegistryServer) -> None:
    image = registry.put_image("team/app", "1")
    etag = call(registry, "HEAD", "/v2/team/app/manifests/1").headers["ETag"]
    answer = call(registry, "GET", "/v2/team/app/manifests/1", headers={"If-None-Match": etag})
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["Docker-Content-Digest"] == str(image.digest)


def test_an_empty_blob(registry: RegistryServer) -> None:
    blob = registry.put_blob("team/app", b"")
    answer = call(registry, "GET", f"/v2/team/app/blobs/{blob.digest}")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")


@pytest.mark.parametrize("path", ["/", "/v1/", "/v2/a/b", "/v2/a/manifests/", "/v2//manifests/x"])
def test_other_paths_are_not_there(registry: RegistryServer, path: str) -> None:
    assert call(registry, "GET", path).status in (400, 404)


def test_a_method_that_a_path_does_not_know(registry: RegistryServer) -> None:
    answer = call(registry, "PATCH", "/v2/team/app/manifests/1")
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
    assert answer.headers["Allow"] == "GET, PUT, DELETE"
