"""The cases of the OCI distribution spec's own test program (v1.1.1), ported from the spec, over memory and a layout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from imgmove.endpoints.layout import Layout
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.location import LayoutLocation
from imgmove.model.manifest import make_index
from imgmove.server import HttpServer, MemoryRepositories, Registry, Rules, WritableRepositories
from imgmove.stages.serve import placing
from imgmove.wire.files import LocalFiles
from tests.images import BuiltImage, build_artifact, build_image, make_manifest_from
from tests.server.client import Answer, call, finish_upload

REPO = "/v2/team/app"
IMAGE = build_image([{"one": b"1"}, {"two": b"2"}])
SHA512 = "sha512"


@pytest.fixture(params=["memory", "layout"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HttpServer]:
    repositories: MemoryRepositories | WritableRepositories = MemoryRepositories()
    if request.param == "layout":
        layout = Layout.writable(LocalFiles(), str(tmp_path / "served"))
        layout.establish()
        repositories = WritableRepositories(layout, layout, placing(LayoutLocation(str(tmp_path / "served"))))
    with ExitStack() as stack:
        yield stack.enter_context(HttpServer(Registry(repositories, Rules(largest_page=50))))


def put_blob(server: HttpServer, content: bytes, algorithm: str = "sha256") -> str:
    digest = str(Digest.of(content, algorithm))
    answer = call(server, "POST", f"{REPO}/blobs/uploads/?digest={digest}", content)
    assert answer.status == 201
    return digest


def put_manifest(server: HttpServer, content: bytes, reference: str, kind: str = media_types.OCI_MANIFEST) -> Answer:
    return call(server, "PUT", f"{REPO}/manifests/{reference}", content, {"Content-Type": kind})


def push(server: HttpServer, image: BuiltImage, *references: str) -> None:
    for content in image.blobs.values():
        put_blob(server, content)
    for node in image.nodes:
        for reference in references or (str(node.descriptor.digest),):
            assert put_manifest(server, node.content, reference, node.media_type).status == 201


# --- pull


def test_pull(server: HttpServer) -> None:
    push(server, IMAGE, "1")
    root = IMAGE.root
    for reference in ("1", str(root.digest)):
        for method in ("GET", "HEAD"):
            answer = call(server, method, f"{REPO}/manifests/{reference}")
            assert answer.status == 200
            assert answer.headers["Docker-Content-Digest"] == str(root.digest)
            assert answer.headers["Content-Type"] == root.media_type
            assert answer.headers["Content-Length"] == str(root.size)
            assert answer.body == (IMAGE.nodes[0].content if method == "GET" else b"")
    for digest, content in IMAGE.blobs.items():
        assert call(server, "GET", f"{REPO}/blobs/{digest}").body == content
        head = call(server, "HEAD", f"{REPO}/blobs/{digest}")
        assert (head.status, head.headers["Content-Length"]) == (200, str(len(content)))


def test_what_is_absent_is_404(server: HttpServer) -> None:
    push(server, IMAGE, "1")
    absent = Digest.of(b"absent")
    for path in (f"manifests/{absent}", "manifests/none", f"blobs/{absent}"):
        for method in ("GET", "HEAD"):
            assert call(server, method, f"{REPO}/{path}").status == 404
    assert call(server, "GET", "/v2/team/nothing/tags/list").status == 404


def test_ranges(server: HttpServer) -> None:
    digest = put_blob(server, b"0123456789")
    for asked, expected in (("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=-2", b"89"), ("bytes=0-99", None)):
        answer = call(server, "GET", f"{REPO}/blobs/{digest}", headers={"Range": asked})
        assert (answer.status, answer.body) == (206, expected if expected is not None else b"0123456789")
        assert answer.headers["Content-Range"].endswith("/10")
    assert call(server, "GET", f"{REPO}/blobs/{digest}", headers={"Range": "bytes=10-"}).status == 416


# --- push


def test_blob_in_one_request_and_in_two(server: HttpServer) -> None:
    put_blob(server, b"at once")
    begun = call(server, "POST", f"{REPO}/blobs/uploads/")
    assert begun.status == 202
    done = finish_upload(server, begun.headers["Location"], Digest.of(b"then the content"), b"then the content")
    assert done.status == 201
    assert call(server, "GET", done.headers["Location"]).body == b"then the content"


def test_chunks_and_their_order(server: HttpServer) -> None:
    place = call(server, "POST", f"{REPO}/blobs/uploads/", headers={"Content-Length": "0"}).headers["Location"]
    ahead = call(server, "PATCH", place, b"defg", {"Content-Range": "3-6"})
    assert ahead.status == 416, "a chunk out of order is refused"
    first = call(server, "PATCH", place, b"abc", {"Content-Range": "0-2"})
    assert (first.status, first.headers["Range"]) == (202, "0-2")
    again = call(server, "PATCH", first.headers["Location"], b"abc", {"Content-Range": "0-2"})
    assert again.status == 416
    status = call(server, "GET", first.headers["Location"])
    assert (status.status, status.headers["Range"]) == (204, "0-2")
    digest = Digest.of(b"abcdefg")
    last = call(server, "PUT", f"{status.headers['Location']}?digest={digest}", b"defg", {"Content-Range": "3-6"})
    assert last.status == 201
    assert call(server, "GET", f"{REPO}/blobs/{digest}").body == b"abcdefg"


def test_wrong_digests_are_refused(server: HttpServer) -> None:
    wrong = Digest.of(b"something else")
    assert call(server, "POST", f"{REPO}/blobs/uploads/?digest={wrong}", b"content").code == "DIGEST_INVALID"
    push(server, IMAGE)
    answer = put_manifest(server, IMAGE.nodes[0].content, str(wrong))
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert call(server, "HEAD", f"{REPO}/manifests/{wrong}").status == 404


def test_an_upload_can_be_cancelled(server: HttpServer) -> None:
    place = call(server, "POST", f"{REPO}/blobs/uploads/").headers["Location"]
    assert call(server, "DELETE", place).status == 204
    assert call(server, "GET", place).status == 404


def test_mounting(server: HttpServer) -> None:
    push(server, IMAGE, "1")
    digest = next(iter(IMAGE.blobs))
    mounted = call(server, "POST", f"/v2/other/repo/blobs/uploads/?mount={digest}&from=team/app")
    assert mounted.status == 201
    assert call(server, "GET", mounted.headers["Location"]).body == IMAGE.blobs[digest]
    absent = Digest.of(b"absent")
    assert call(server, "POST", f"/v2/other/repo/blobs/uploads/?mount={absent}&from=team/app").status == 202


def test_sha512(server: HttpServer) -> None:
    digest = put_blob(server, b"a blob under another hash", SHA512)
    assert call(server, "GET", f"{REPO}/blobs/{digest}").body == b"a blob under another hash"
    document = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "artifactType": "application/x-test",
        "config": Descriptor.of(b"{}", media_types.OCI_EMPTY).to_json(),
        "layers": [{"mediaType": "text/plain", "digest": digest, "size": 25}],
    }
    put_blob(server, b"{}")
    content = make_manifest_from(document).content
    name = str(Digest.of(content, SHA512))
    answer = put_manifest(server, content, name)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, name)
    assert call(server, "GET", f"{REPO}/manifests/{name}").body == content


def test_children_that_may_be_absent(server: HttpServer) -> None:
    put_blob(server, b"{}")
    subject = Descriptor.of(b'{"absent": true}', media_types.OCI_MANIFEST)
    foreign = Descriptor(media_types.OCI_FOREIGN_LAYER, Digest.of(b"elsewhere"), 9, ("https://example.com/x",))
    document = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "artifactType": "application/x-test",
        "config": Descriptor.of(b"{}", media_types.OCI_EMPTY).to_json(),
        "layers": [foreign.to_json()],
        "subject": subject.to_json(),
    }
    content = make_manifest_from(document).content
    answer = put_manifest(server, content, str(Digest.of(content)))
    assert (answer.status, answer.headers["OCI-Subject"]) == (201, str(subject.digest))
    listed = call(server, "GET", f"{REPO}/referrers/{subject.digest}").document
    assert [item["digest"] for item in listed["manifests"]] == [str(Digest.of(content))]
    missing = make_manifest_from({**document, "layers": [Descriptor.of(b"missing", media_types.OCI_LAYER).to_json()]})
    assert put_manifest(server, missing.content, "1").code == "MANIFEST_BLOB_UNKNOWN"


def test_an_index_of_manifests(server: HttpServer) -> None:
    push(server, IMAGE)
    index = make_index(media_types.OCI_INDEX, [IMAGE.root])
    assert put_manifest(server, index.content, "all", index.media_type).status == 201
    assert call(server, "GET", f"{REPO}/manifests/all").body == index.content
    assert call(server, "GET", f"{REPO}/manifests/{IMAGE.root.digest}").status == 200


# --- content discovery


def test_tags_and_catalogue_by_pages(server: HttpServer) -> None:
    tags = [f"test{number}" for number in range(4)]
    push(server, IMAGE, *tags)
    for name in ("a/one", "b/two"):
        for content in IMAGE.blobs.values():
            call(server, "POST", f"/v2/{name}/blobs/uploads/?digest={Digest.of(content)}", content)
        call(server, "PUT", f"/v2/{name}/manifests/1", IMAGE.nodes[0].content, {"Content-Type": IMAGE.root.media_type})
    for path, key, entries in (
        (f"{REPO}/tags/list", "tags", tags),
        ("/v2/_catalog", "repositories", ["a/one", "b/two", "team/app"]),
    ):
        assert call(server, "GET", path).document[key] == entries
        first = call(server, "GET", f"{path}?n=2")
        assert first.document[key] == entries[:2]
        following = first.headers["Link"].split(";")[0].strip("<>")
        assert call(server, "GET", following).document[key] == entries[2:4]
        assert call(server, "GET", f"{path}?n=1&last={entries[0]}").document[key] == entries[1:2]
        assert call(server, "GET", f"{path}?n=0").document[key] == []


def test_referrers(server: HttpServer) -> None:
    push(server, IMAGE, "1")
    sbom, signature = build_artifact(IMAGE.root), build_artifact(IMAGE.root, "application/x-signature")
    push(server, sbom)
    push(server, signature, "a-tag-of-its-own")
    answer = call(server, "GET", f"{REPO}/referrers/{IMAGE.root.digest}")
    assert answer.headers["Content-Type"] == media_types.OCI_INDEX
    assert {item["digest"] for item in answer.document["manifests"]} == {
        str(sbom.root.digest),
        str(signature.root.digest),
    }
    filtered = call(server, "GET", f"{REPO}/referrers/{IMAGE.root.digest}?artifactType=application/x-signature")
    assert [item["digest"] for item in filtered.document["manifests"]] == [str(signature.root.digest)]
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    nobody = call(server, "GET", f"{REPO}/referrers/{Digest.of(b'absent')}")
    assert (nobody.status, nobody.document["manifests"]) == (200, [])


# --- content management


def test_deleting(server: HttpServer) -> None:
    push(server, IMAGE, "1", "2")
    assert call(server, "DELETE", f"{REPO}/manifests/1").status == 202
    assert call(server, "GET", f"{REPO}/manifests/1").status == 404
    assert call(server, "GET", f"{REPO}/manifests/2").status == 200
    assert call(server, "DELETE", f"{REPO}/manifests/{IMAGE.root.digest}").status == 202
    for reference in ("2", str(IMAGE.root.digest)):
        assert call(server, "GET", f"{REPO}/manifests/{reference}").status == 404
    assert call(server, "DELETE", f"{REPO}/manifests/{IMAGE.root.digest}").status == 404
    answer = call(server, "DELETE", f"{REPO}/blobs/{next(iter(IMAGE.blobs))}")
    assert answer.status in (202, 405), "a layout never loses a blob, and says so"
    push(server, IMAGE, "1")
    assert call(server, "GET", f"{REPO}/manifests/{IMAGE.root.digest}").status == 200, "what comes again is there"


def test_errors_are_documents(server: HttpServer) -> None:
    answer = call(server, "GET", f"{REPO}/manifests/none")
    assert set(json.loads(answer.body)["errors"][0]) >= {"code", "message"}
    assert call(server, "GET", "/v2/Team/app/tags/list").code == "NAME_INVALID"
    assert call(server, "GET", "/v2/").status == 200
