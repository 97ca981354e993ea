"""Every quirk does what it promises, so that a test which passes with one has met it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from http.client import HTTPException, IncompleteRead
from urllib.parse import urljoin

import pytest

from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import make_manifest
from tests.quirks import BlobOrigin, Drop, Failure, Quirks, RegistryServer, Stall, TokenAuth
from tests.server.client import Answer, begin_upload, call, finish_upload

Factory = Callable[..., RegistryServer]

BLOB = b"0123456789" * 100
DIGEST = Digest.of(BLOB)
BLOB_PATH = f"/v2/team/app/blobs/{DIGEST}"


@pytest.fixture
def quirky(registry_factory: Factory) -> Callable[..., RegistryServer]:
    """Makes a registry with quirks, a blob and an image."""

    def make(**quirks: object) -> RegistryServer:
        server = registry_factory(Quirks(**quirks))  # type: ignore[arg-type]
        server.put_blob("team/app", BLOB)
        server.put_image("team/app", "1", "latest")
        return server

    return make


@pytest.mark.parametrize(
    ("location", "shape"),
    [
        ("path", r"/v2/team/app/blobs/uploads/[^/?]+"),
        ("url", r"http://127\.0\.0\.1:\d+/v2/team/app/blobs/uploads/[^/?]+"),
        ("query", r"/v2/team/app/blobs/uploads/[^/?]+\?_state=.+"),
        ("no-port", r"http://127\.0\.0\.1/v2/team/app/blobs/uploads/[^/?]+"),
        ("relative", r"[^/?]+"),
    ],
)
def test_locations(quirky: Factory, location: str, shape: str) -> None:
    server = quirky(location=location)
    answer = call(server, "POST", "/v2/team/app/blobs/uploads/")
    found = answer.headers["Location"]
    assert re.fullmatch(shape, found)
    if location != "no-port":
        path = urljoin(f"{server.url}/v2/team/app/blobs/uploads/", found).removeprefix(server.url)
        answer = call(server, "PATCH", path, b"new ")
        assert re.fullmatch(shape, answer.headers["Location"])
        path = urljoin(server.url + path, answer.headers["Location"]).removeprefix(server.url)
        assert finish_upload(server, path, Digest.of(b"new blob"), b"blob").status == 201


@pytest.mark.parametrize("path", ["/v2/team/app/manifests/1", BLOB_PATH])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_digest_headers(quirky: Factory, path: str, method: str) -> None:
    right = call(quirky(), method, path).headers["Docker-Content-Digest"]
    assert call(quirky(digest_header="missing"), method, path).headers["Docker-Content-Digest"] is None
    assert call(quirky(digest_header="wrong"), method, path).headers["Docker-Content-Digest"] not in (right, None)


def test_no_head(quirky: Factory) -> None:
    server = quirky(head=False)
    for path in ("/v2/team/app/manifests/1", BLOB_PATH):
        assert call(server, "HEAD", path).status == 405
        assert call(server, "GET", path).status == 200


def test_a_head_that_denies(quirky: Factory) -> None:
    server = quirky(head_denies=True)
    assert call(server, "HEAD", "/v2/team/app/manifests/absent").status == 403
    assert call(server, "GET", "/v2/team/app/manifests/absent").status == 404
    assert call(server, "HEAD", "/v2/team/app/manifests/1").status == 200


def test_no_ranges(quirky: Factory) -> None:
    answer = call(quirky(ranges=False), "GET", BLOB_PATH, headers={"Range": "bytes=5-9"})
    assert (answer.status, answer.body, answer.headers["Accept-Ranges"]) == (200, BLOB, None)


@pytest.mark.parametrize("status", [429, 499, 500, 502, 503, 522])
def test_failures(quirky: Factory, status: int) -> None:
    server = quirky(failures=(Failure("GET blob", status, count=2, retry_after="7"),))
    assert call(server, "HEAD", BLOB_PATH).status == 200
    for _ in range(2):
        answer = call(server, "GET", BLOB_PATH)
        assert (answer.status, answer.headers["Retry-After"]) == (status, "7")
    assert call(server, "GET", BLOB_PATH).status == 200
    assert server.count("GET blob") == 3
    assert server.count("* blob") == 4


def test_failing_uploads_read_what_they_refuse(quirky: Factory) -> None:
    server = quirky(failures=(Failure("PUT upload", 503),))
    location = begin_upload(server)
    assert finish_upload(server, location, DIGEST, BLOB).status == 503
    assert server.received("PUT upload") == len(BLOB)
    assert finish_upload(server, location, DIGEST, BLOB).status == 201


def test_downloads_that_break_off(quirky: Factory) -> None:
    server = quirky(drops=(Drop("GET blob", after=123),))
    with pytest.raises(IncompleteRead) as caught:
        call(server, "GET", BLOB_PATH)
    assert caught.value.partial == BLOB[:123]
    assert call(server, "GET", BLOB_PATH).body == BLOB


def test_downloads_that_break_off_before_their_first_byte(quirky: Factory) -> None:
    server = quirky(drops=(Drop("GET manifest", after=0),))
    with pytest.raises((HTTPException, OSError)):
        call(server, "GET", "/v2/team/app/manifests/1")


def test_uploads_that_break_off(quirky: Factory) -> None:
    server = quirky(drops=(Drop("PATCH upload", after=100, direction="upload"),))
    location = begin_upload(server)
    with pytest.raises((HTTPException, OSError)):
        call(server, "PATCH", location, BLOB)
    assert call(server, "GET", location).headers["Range"] == "0-99"
    assert call(server, "PATCH", location, BLOB[100:], {"Content-Range": f"100-{len(BLOB) - 1}"}).status == 202
    assert finish_upload(server, location, DIGEST).status == 201


def test_a_stall_lasts_until_the_server_stops(quirky: Factory) -> None:
    import socket

    server = quirky(stalls=(Stall("GET blob", after=10, seconds=600),))
    host, _, port = server.host.partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"GET {BLOB_PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        seen = b""
        while not seen.endswith(b"\r\n\r\n" + BLOB[:10]):
            seen += connection.recv(1000)
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        server.stop()


def test_no_chunks(quirky: Factory) -> None:
    server = quirky(chunks="refused")
    location = begin_upload(server)
    assert call(server, "PATCH", location, BLOB).status == 405
    assert finish_upload(server, location, DIGEST, BLOB).status == 201


def test_one_chunk(quirky: Factory) -> None:
    server = quirky(chunks="one")
    location = begin_upload(server)
    assert call(server, "PATCH", location, BLOB[:10]).status == 202
    assert call(server, "PATCH", location, BLOB[10:]).status == 405
    assert finish_upload(server, location, DIGEST, BLOB[10:]).status == 201


def test_another_status_for_chunks(quirky: Factory) -> None:
    server = quirky(patch_status=201)
    location = begin_upload(server)
    assert call(server, "PATCH", location, BLOB).status == 201
    assert finish_upload(server, location, DIGEST).status == 201


def test_a_range_that_sticks(quirky: Factory) -> None:
    server = quirky(stuck_range=True)
    location = begin_upload(server)
    for first in (0, 10, 20):
        answer = call(server, "PATCH", location, BLOB[first : first + 10])
        assert answer.headers["Range"] == "0-9"
    assert call(server, "GET", location).headers["Range"] == "0-9"
    assert finish_upload(server, location, DIGEST, BLOB[30:]).status == 201


def test_a_least_size_of_chunks(quirky: Factory) -> None:
    server = quirky(chunk_min_length=100)
    answer = call(server, "POST", "/v2/team/app/blobs/uploads/")
    assert answer.headers["OCI-Chunk-Min-Length"] == "100"
    location = answer.headers["Location"]
    assert call(server, "PATCH", location, BLOB[:200]).status == 202
    assert call(server, "PATCH", location, BLOB[200:210]).status == 202
    assert call(server, "PATCH", location, BLOB[210:]).status == 400
    assert finish_upload(server, location, Digest.of(BLOB[:210])).status == 201


@pytest.mark.parametrize(
    ("mount", "with_origin", "without"),
    [("any", 201, 201), ("needs-from", 201, 400), ("refused", 400, 400), ("ignored", 202, 202)],
)
def test_mounts(quirky: Factory, mount: str, with_origin: int, without: int) -> None:
    server = quirky(mount=mount)
    path = f"/v2/team/other/blobs/uploads/?mount={DIGEST}"
    assert call(server, "POST", f"{path}&from=team/app").status == with_origin
    assert call(server, "POST", path).status == without


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_referrers_that_cannot_be_had(quirky: Factory, status: int) -> None:
    answer = call(quirky(referrers=status), "GET", f"/v2/team/app/referrers/{DIGEST}")
    assert answer.status == status
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize(("status", "is_kept"), [(None, True), (404, False), (500, True)])
def test_a_subject_is_named_only_by_who_keeps_the_list(quirky: Factory, status: int | None, is_kept: bool) -> None:
    server = quirky(referrers=status)
    config = server.put_blob("team/app", b"{}", media_types.OCI_EMPTY)
    content = make_manifest(media_types.OCI_MANIFEST, config, []).content
    subject = Descriptor.of(b"subject", media_types.OCI_MANIFEST)
    content = content[:-1] + b',"subject":' + _json(subject) + b"}"
    answer = call(server, "PUT", "/v2/team/app/manifests/x", content, {"Content-Type": media_types.OCI_MANIFEST})
    assert (answer.status, answer.headers["OCI-Subject"]) == (201, str(subject.digest) if is_kept else None)


def _json(descriptor: Descriptor) -> bytes:
    from imgmove.model.manifest import to_json_bytes

    return to_json_bytes(descriptor.to_json())


def test_a_largest_request(quirky: Factory) -> None:
    server = quirky(largest_request=600)
    location = begin_upload(server)
    assert finish_upload(server, location, DIGEST, BLOB).status == 413
    assert call(server, "PATCH", location, BLOB[:600]).status == 202
    assert finish_upload(server, location, DIGEST, BLOB[600:]).status == 201


@pytest.mark.parametrize("status", [400, 405])
def test_tags_that_cannot_be_deleted(quirky: Factory, status: int) -> None:
    server = quirky(tag_delete=status)
    assert call(server, "DELETE", "/v2/team/app/manifests/1").status == status
    digest = call(server, "HEAD", "/v2/team/app/manifests/1").headers["Docker-Content-Digest"]
    assert call(server, "DELETE", f"/v2/team/app/manifests/{digest}").status == 202


def test_a_length_too_large(quirky: Factory) -> None:
    server = quirky(length_error=50)
    assert call(server, "HEAD", BLOB_PATH).headers["Content-Length"] == str(len(BLOB) + 50)
    with pytest.raises(IncompleteRead):
        call(server, "GET", BLOB_PATH)


def test_a_length_too_small(quirky: Factory) -> None:
    assert call(quirky(length_error=-50), "GET", BLOB_PATH).body == BLOB[:-50]


def test_blobs_elsewhere(quirky: Factory) -> None:
    with BlobOrigin({str(DIGEST): BLOB}) as origin:
        server = quirky(redirect_to=origin.url)
        answer = call(server, "GET", BLOB_PATH)
        assert (answer.status, answer.body) == (307, b"")
        location = answer.headers["Location"]
        assert location.startswith(f"{origin.url}/")
        found = call_url(origin, location.removeprefix(origin.url), {"Authorization": "Basic eA=="})
        assert found.body == BLOB
        assert origin.seen[0].headers["authorization"] == "Basic eA=="
        assert call(server, "HEAD", BLOB_PATH).status == 200
        assert call(server, "GET", f"/v2/team/app/blobs/{Digest.of(b'absent')}").status == 404


def call_url(origin: BlobOrigin, path: str, headers: dict[str, str]) -> Answer:
    from http.client import HTTPConnection

    connection = HTTPConnection(origin.url.removeprefix("http://"), timeout=20)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    answer = Answer(response.status, response.headers, response.read())
    connection.close()
    return answer


def test_a_redirect_that_leads_nowhere(quirky: Factory) -> None:
    server = quirky(redirect_to="loop")
    answer = call(server, "GET", BLOB_PATH)
    assert (answer.status, answer.headers["Location"].partition("?")[0]) == (307, BLOB_PATH)
    assert call(server, "GET", answer.headers["Location"]).status == 307


def test_swapped_content(quirky: Factory) -> None:
    other = b"something else entirely"
    server = quirky(swapped={str(DIGEST): other})
    answer = call(server, "GET", BLOB_PATH)
    assert (answer.body, answer.headers["Docker-Content-Digest"]) == (other, str(DIGEST))


@pytest.mark.parametrize("asked", ["bytes=0-", "bytes=500-", "bytes=123-123"])
def test_a_flipped_bit(quirky: Factory, asked: str) -> None:
    server = quirky(flipped=700)
    spoilt = BLOB[:700] + bytes([BLOB[700] ^ 1]) + BLOB[701:]
    first, _, last = asked.removeprefix("bytes=").partition("-")
    expected = spoilt[int(first) : int(last) + 1 if last else None]
    assert call(server, "GET", BLOB_PATH, headers={"Range": asked}).body == expected


def test_small_pages(quirky: Factory) -> None:
    assert call(quirky(largest_page=1), "GET", "/v2/team/app/tags/list").document["tags"] == ["1"]
    server = quirky(refuses_pages_over=1000)
    assert call(server, "GET", "/v2/team/app/tags/list?n=1000").status == 200
    assert call(server, "GET", "/v2/team/app/tags/list?n=1001").status == 400


def test_no_catalog(quirky: Factory) -> None:
    assert call(quirky(catalog=False), "GET", "/v2/_catalog").status == 404


def test_only_sha256(quirky: Factory) -> None:
    server = quirky(sha512=False)
    digest = Digest.of(BLOB, "sha512")
    assert call(server, "GET", f"/v2/team/app/blobs/{digest}").status == 400
    assert finish_upload(server, begin_upload(server), digest, BLOB).status == 400
    assert finish_upload(server, begin_upload(server), DIGEST, BLOB).status == 201


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_passwords(quirky: Factory) -> None:
    server = quirky(basic={"alice": "s3cret"})
    answer = call(server, "GET", "/v2/")
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert call(server, "GET", "/v2/", headers=basic("alice", "wrong")).status == 401
    assert call(server, "GET", "/v2/", headers=basic("alice", "s3cret")).status == 200


def token(server: RegistryServer, *scopes: str, user: str = "alice", password: str = "s3cret") -> str:
    query = "&".join(f"scope={scope}" for scope in scopes)
    answer = call(server, "GET", f"/token?service=x&{query}", headers=basic(user, password) if user else {})
    assert answer.status == 200
    assert server.quirks.token
    return str(answer.document[server.quirks.token.field])


def with_token(server: RegistryServer, path: str, text: str, method: str = "GET") -> Answer:
    return call(server, method, path, headers={"Authorization": f"Bearer {text}"})


PULL, PUSH, DELETE = (f"repository:team/app:{actions}" for actions in ("pull", "pull,push", "delete"))


def test_tokens_are_asked_for_what_is_needed(quirky: Factory) -> None:
    server = quirky(token=TokenAuth())
    challenge = call(server, "GET", BLOB_PATH).headers["WWW-Authenticate"]
    assert challenge == f'Bearer realm="{server.url}/token",service="{server.host}",scope="{PULL}"'
    challenge = call(server, "POST", "/v2/team/app/blobs/uploads/").headers["WWW-Authenticate"]
    assert 'scope="repository:team/app:push,pull"' in challenge
    assert with_token(server, BLOB_PATH, token(server, PULL)).status == 200
    answer = with_token(server, "/v2/team/app/blobs/uploads/", token(server, PULL), "POST")
    assert (answer.status, 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]) == (401, True)
    assert with_token(server, "/v2/team/app/blobs/uploads/", token(server, PUSH), "POST").status == 202
    assert with_token(server, "/v2/team/app/manifests/1", token(server, PUSH), "DELETE").status == 401
    assert with_token(server, "/v2/team/app/manifests/1", token(server, DELETE), "DELETE").status == 202
    assert with_token(server, "/v2/_catalog", token(server, "registry:catalog:*")).status == 200


def test_tokens_of_two_repositories_for_a_mount(quirky: Factory) -> None:
    mount = f"/v2/team/other/blobs/uploads/?mount={DIGEST}&from=team/app"
    scopes = ("repository:team/other:pull,push", PULL)
    server = quirky(token=TokenAuth())
    assert with_token(server, mount, token(server, *scopes), "POST").status == 201
    server = quirky(token=TokenAuth(scopes="first"))
    assert with_token(server, mount, token(server, *scopes), "POST").status == 401


def test_tokens_for_nobody(quirky: Factory) -> None:
    server = quirky(token=TokenAuth())
    assert with_token(server, BLOB_PATH, token(server, PULL, user="")).status == 401
    server = quirky(token=TokenAuth(anonymous_pull="team/"))
    assert with_token(server, "/v2/team/app/blobs/uploads/", token(server, PUSH, user=""), "POST").status == 401
    assert with_token(server, BLOB_PATH, token(server, PULL, user="")).status == 200
    assert call(server, "GET", "/token?service=x", headers=basic("alice", "wrong")).status == 401


def test_tokens_that_wear_out(quirky: Factory) -> None:
    server = quirky(token=TokenAuth(uses=2, field="access_token", expires_in=0))
    text = token(server, PULL)
    assert [with_token(server, BLOB_PATH, text).status for _ in range(3)] == [200, 200, 401]


def test_tokens_by_post(quirky: Factory) -> None:
    form = f"grant_type=password&username=alice&password=s3cret&service=x&client_id=y&scope={PULL}".encode()
    assert call(quirky(token=TokenAuth(oauth2=False)), "POST", "/token", form).status == 404
    server = quirky(token=TokenAuth())
    answer = call(server, "POST", "/token", form)
    assert with_token(server, BLOB_PATH, answer.document["token"]).status == 200
    refresh = answer.document["refresh_token"]
    form = f"grant_type=refresh_token&refresh_token={refresh}&service=x&scope={PULL}".encode()
    assert with_token(server, BLOB_PATH, call(server, "POST", "/token", form).document["token"]).status == 200
    assert call(server, "POST", "/token", form.replace(refresh.encode(), b"made-up")).status == 401
    assert call(server, "POST", "/token", b"").status == 401
