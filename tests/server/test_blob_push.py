"""Pushing blobs, after the cases of the distribution spec's conformance program."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.server import MemoryRepositories, Rules
from tests.quirks import RegistryServer
from tests.server.client import begin_upload, call, finish_upload

CONTENT = b"some content of a blob " * 1000
DIGEST = Digest.of(CONTENT)
ALGORITHMS = ("sha256", "sha512")


def held(server: RegistryServer, digest: Digest, repository: str = "team/app") -> bytes | None:
    """What the registry gives out under a digest."""
    answer = call(server, "GET", f"/v2/{repository}/blobs/{digest}")
    return answer.body if answer.status == 200 else None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_post_then_put(registry: RegistryServer, algorithm: str) -> None:
    digest = Digest.of(CONTENT, algorithm)
    answer = finish_upload(registry, begin_upload(registry), digest, CONTENT)
    assert answer.status == 201
    assert answer.headers["Location"] == f"/v2/team/app/blobs/{digest}"
    assert answer.headers["Docker-Content-Digest"] == str(digest)
    assert held(registry, digest) == CONTENT


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_post_alone(registry: RegistryServer, algorithm: str) -> None:
    digest = Digest.of(CONTENT, algorithm)
    answer = call(registry, "POST", f"/v2/team/app/blobs/uploads/?digest={digest}", CONTENT)
    assert answer.status == 201
    assert held(registry, digest) == CONTENT


def test_a_page_of_another_site_changes_nothing(registry: RegistryServer) -> None:
    """What a browser lets any page do without asking the server first."""
    digest = Digest.of(b"hello")
    place = f"/v2/team/app/blobs/uploads/?digest={digest}"
    for origin in ("https://evil.example.com", "null", "http://[", "", f"http://{registry.host}.evil.example.com"):
        told = call(registry, "POST", place, b"hello", {"Content-Type": "text/plain", "Origin": origin})
        assert (told.status, told.code) == (403, "DENIED")
        assert call(registry, "GET", "/v2/", headers={"Origin": origin}).status == 200
    assert held(registry, digest) is None
    assert call(registry, "POST", place, b"hello", {"Origin": f"http://{registry.host}"}).status == 201


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_in_chunks(registry: RegistryServer, algorithm: str) -> None:
    digest = Digest.of(CONTENT, algorithm)
    location = begin_upload(registry)
    for first in range(0, len(CONTENT), 7000):
        chunk = CONTENT[first : first + 7000]
        place = {"Content-Range": f"{first}-{first + len(chunk) - 1}"}
        answer = call(registry, "PATCH", location, chunk, place)
        assert answer.status == 202
        assert answer.headers["Range"] == f"0-{first + len(chunk) - 1}"
        location = answer.headers["Location"]
    assert finish_upload(registry, location, digest).status == 201
    assert held(registry, digest) == CONTENT


def test_an_algorithm_told_beforehand_needs_no_second_reading(registry: RegistryServer) -> None:
    digest = Digest.of(CONTENT, "sha512")
    location = begin_upload(registry, query="?digest-algorithm=sha512")
    call(registry, "PATCH", location, CONTENT)
    assert finish_upload(registry, location, digest).status == 201
    assert held(registry, digest) == CONTENT
    assert held(registry, DIGEST) is None


def test_an_unknown_algorithm_is_refused(registry: RegistryServer) -> None:
    answer = call(registry, "POST", "/v2/team/app/blobs/uploads/?digest-algorithm=md5")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_a_stream_without_a_length(registry: RegistryServer) -> None:
    location = begin_upload(registry)
    answer = call(registry, "PATCH", location, iter([CONTENT[:10], CONTENT[10:]]))
    assert (answer.status, answer.headers["Range"]) == (202, f"0-{len(CONTENT) - 1}")
    assert finish_upload(registry, location, DIGEST).status == 201
    assert held(registry, DIGEST) == CONTENT


def test_the_last_chunk_comes_with_the_put(registry: RegistryServer) -> None:
    location = begin_upload(registry)
    call(registry, "PATCH", location, CONTENT[:500], {"Content-Range": "0-499"})
    assert finish_upload(registry, location, DIGEST, CONTENT[500:]).status == 201
    assert held(registry, DIGEST) == CONTENT


def test_an_empty_blob(registry: RegistryServer) -> None:
    digest = Digest.of(b"")
    assert finish_upload(registry, begin_upload(registry), digest).status == 201
    assert held(registry, digest) == b""


@pytest.mark.parametrize("place", ["500-999", "0-499", "100-50", "x-y", "400-"])
def test_a_chunk_out_of_order_is_refused(registry: RegistryServer, place: str) -> None:
    location = begin_upload(registry)
    call(registry, "PATCH", location, CONTENT[:400], {"Content-Range": "0-399"})
    answer = call(registry, "PATCH", location, CONTENT[500:1000], {"Content-Range": place})
    assert (answer.status, answer.code) == (416, "BLOB_UPLOAD_INVALID")
    assert answer.headers["Range"] == "0-399"
    assert answer.headers["Location"] == location
    assert finish_upload(registry, location, DIGEST, CONTENT[400:]).status == 201


def test_the_first_chunk_must_begin_at_the_start(registry: RegistryServer) -> None:
    answer = call(registry, "PATCH", begin_upload(registry), b"later", {"Content-Range": "5-9"})
    assert answer.status == 416


def test_a_last_chunk_out_of_order_is_refused(registry: RegistryServer) -> None:
    location = begin_upload(registry)
    call(registry, "PATCH", location, CONTENT[:400])
    answer = call(registry, "PUT", f"{location}?digest={DIGEST}", CONTENT[500:], {"Content-Range": "500-22999"})
    assert answer.status == 416


def test_a_chunk_must_be_as_long_as_it_says(registry: RegistryServer) -> None:
    answer = call(registry, "PATCH", begin_upload(registry), b"12345", {"Content-Range": "0-9"})
    assert (answer.status, answer.code) == (400, "SIZE_INVALID")


def test_how_far_an_upload_is(registry: RegistryServer) -> None:
    location = begin_upload(registry)
    assert call(registry, "GET", location).headers["Range"] == "0-0"
    call(registry, "PATCH", location, CONTENT[:1234])
    answer = call(registry, "GET", location)
    assert (answer.status, answer.headers["Range"], answer.body) == (204, "0-1233", b"")
    assert answer.headers["Location"] == location


def test_an_upload_can_be_given_up(registry: RegistryServer) -> None:
    location = begin_upload(registry)
    assert call(registry, "DELETE", location).status == 204
    for method in ("GET", "PATCH", "DELETE"):
        answer = call(registry, method, location)
        assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_an_upload_belongs_to_its_repository(registry: RegistryServer) -> None:
    location = begin_upload(registry, "team/app")
    answer = call(registry, "PATCH", location.replace("team/app", "team/other"), b"x")
    assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_wrong_digest_stores_nothing(registry: RegistryServer, algorithm: str) -> None:
    wrong = Digest.of(b"other", algorithm)
    location = begin_upload(registry)
    call(registry, "PATCH", location, CONTENT[:100])
    answer = finish_upload(registry, location, wrong, CONTENT[100:])
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert held(registry, wrong) is None
    assert call(registry, "GET", location).status == 404


def test_a_wrong_digest_of_a_whole_stores_nothing(registry: RegistryServer) -> None:
    answer = call(registry, "POST", f"/v2/team/app/blobs/uploads/?digest={DIGEST}", b"other")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert held(registry, DIGEST) is None


@pytest.mark.parametrize("query", ["", "?digest=", "?digest=sha256:12", "?digest=md5:" + "0" * 32])
def test_an_end_without_a_digest_is_refused(registry: RegistryServer, query: str) -> None:
    answer = call(registry, "PUT", begin_upload(registry) + query, CONTENT)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_a_blob_twice_is_fine(registry: RegistryServer) -> None:
    for _ in range(2):
        assert finish_upload(registry, begin_upload(registry), DIGEST, CONTENT).status == 201
    assert held(registry, DIGEST) == CONTENT


def test_a_client_that_went_away_continues(registry: RegistryServer) -> None:
    """The bytes before the break are kept, and the hash goes on where they end."""
    location = begin_upload(registry)
    host, _, port = registry.host.partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode())
        connection.sendall(CONTENT[:5000])
    # The new request waits for the old one, which ends when the server sees that its client is gone.
    answer = call(registry, "PATCH", location, b"")
    assert answer.status == 202
    kept = int(answer.headers["Range"].partition("-")[2]) + 1
    assert 0 < kept <= 5000
    assert finish_upload(registry, location, DIGEST, CONTENT[kept:]).status == 201


def test_uploads_are_limited(registry_factory: Callable[..., RegistryServer]) -> None:
    server = registry_factory(rules=Rules(most_uploads=2))
    locations = [begin_upload(server) for _ in range(2)]
    answer = call(server, "POST", "/v2/team/app/blobs/uploads/")
    assert (answer.status, answer.code) == (429, "TOOMANYREQUESTS")
    call(server, "DELETE", locations[0])
    begin_upload(server)


def test_uploads_that_nobody_touches_are_forgotten(registry_factory: Callable[..., RegistryServer]) -> None:
    server = registry_factory(rules=Rules(upload_seconds=-1.0))
    stale = begin_upload(server)
    begin_upload(server)
    assert call(server, "GET", stale).status == 404


def test_a_mount_copies_nothing(registry: RegistryServer) -> None:
    blob = registry.put_blob("team/base", CONTENT)
    answer = call(registry, "POST", f"/v2/team/app/blobs/uploads/?mount={blob.digest}&from=team/base")
    assert answer.status == 201
    assert answer.headers["Location"] == f"/v2/team/app/blobs/{blob.digest}"
    assert held(registry, blob.digest) == CONTENT


def test_a_mount_without_from_looks_everywhere(registry: RegistryServer) -> None:
    blob = registry.put_blob("team/base", CONTENT)
    answer = call(registry, "POST", f"/v2/team/app/blobs/uploads/?mount={blob.digest}")
    assert answer.status == 201
    assert held(registry, blob.digest) == CONTENT


@pytest.mark.parametrize("origin", ["&from=team/base", "&from=nobody/here", "&from=../x", ""])
def test_a_mount_of_what_is_not_there_begins_an_upload(registry: RegistryServer, origin: str) -> None:
    registry.put_blob("team/base", b"another")
    answer = call(registry, "POST", f"/v2/team/app/blobs/uploads/?mount={DIGEST}{origin}")
    assert answer.status == 202
    assert finish_upload(registry, answer.headers["Location"], DIGEST, CONTENT).status == 201


def test_a_mount_of_no_digest_is_refused(registry: RegistryServer) -> None:
    answer = call(registry, "POST", "/v2/team/app/blobs/uploads/?mount=latest&from=team/base")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_many_clients_at_once(registry: RegistryServer) -> None:
    contents = [hashlib.sha256(bytes([n])).digest() * 5000 for n in range(24)]
    statuses: list[int] = []

    def push(content: bytes) -> None:
        location = begin_upload(registry)
        call(registry, "PATCH", location, content[:1000])
        statuses.append(finish_upload(registry, location, Digest.of(content), content[1000:]).status)

    threads = [threading.Thread(target=push, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [201] * len(contents)
    repository = registry.storage.make("team/app")
    assert all(repository.has(Descriptor.of(content, media_types.OCTET_STREAM)) for content in contents)


@pytest.mark.parametrize("how", ["wrong digest", "broken off"])
@pytest.mark.parametrize("start", ["POST", "PUT"])
def test_a_failed_upload_leaves_no_file(tmp_path: Path, how: str, start: str) -> None:
    with RegistryServer(storage=MemoryRepositories(tmp_path, largest_in_memory=10)) as server:
        path = begin_upload(server) if start == "PUT" else "/v2/team/app/blobs/uploads/"
        if how == "wrong digest":
            assert call(server, start, f"{path}?digest={DIGEST}", b"something else, and long").status == 400
            assert list(tmp_path.iterdir()) == []
        else:
            host, _, port = server.host.partition(":")
            head = f"{start} {path}?digest={DIGEST} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
            with socket.create_connection((host, int(port)), timeout=20) as connection:
                connection.sendall(head.encode() + CONTENT[:5000])
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(100) == b""
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_gone_is_told(tmp_path: Path) -> None:
    with RegistryServer(storage=MemoryRepositories(tmp_path / "gone", largest_in_memory=10)) as server:
        location = begin_upload(server)
        answer = call(server, "PATCH", location, CONTENT)
        assert (answer.status, answer.code) == (500, "UNKNOWN")
        assert "can't keep an upload" in answer.document["errors"][0]["message"]
        assert call(server, "GET", location).status == 404
