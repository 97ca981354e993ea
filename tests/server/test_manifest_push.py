"""Pushing manifests, after the cases of the distribution spec's conformance program."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Node, make_index, make_manifest
from imgmove.server import Rules, manifest_push
from tests.quirks import RegistryServer
from tests.server.client import Answer, call

CONFIG = b"{}"
LAYER = b"layer"
FOREIGN = Descriptor(media_types.OCI_FOREIGN_LAYER + "+gzip", Digest.of(b"elsewhere"), 9, urls=("https://x.example/l",))
ABSENT = Descriptor(media_types.OCI_LAYER_GZIP, Digest.of(b"never pushed"), 12)


def manifest(server: RegistryServer, *layers: Descriptor, **fields: object) -> bytes:
    """A manifest whose config and first layer are in the repository."""
    config = server.put_blob("team/app", CONFIG, media_types.OCI_CONFIG)
    layer = server.put_blob("team/app", LAYER, media_types.OCI_LAYER_GZIP)
    content = make_manifest(media_types.OCI_MANIFEST, config, [layer, *layers]).content
    return json.dumps(json.loads(content) | fields).encode()


def put(server: RegistryServer, reference: str, content: bytes, media_type: str = media_types.OCI_MANIFEST) -> Answer:
    return call(server, "PUT", f"/v2/team/app/manifests/{reference}", content, {"Content-Type": media_type})


def test_by_tag(registry: RegistryServer) -> None:
    content = manifest(registry)
    answer = put(registry, "1.0", content)
    digest = Digest.of(content)
    assert answer.status == 201
    assert answer.headers["Location"] == f"/v2/team/app/manifests/{digest}"
    assert answer.headers["Docker-Content-Digest"] == str(digest)
    for reference in ("1.0", str(digest)):
        assert call(registry, "GET", f"/v2/team/app/manifests/{reference}").body == content


def test_large_ones_are_taken_in_turns(registry: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    content = manifest(registry, annotations={"a": "x" * (1 << 20)})
    at_once, lock, is_crowded = 0, threading.Lock(), threading.Event()
    parse = manifest_push._parse

    def parsed(content: bytes, told: str) -> Node:
        nonlocal at_once
        with lock:
            at_once += 1
            if at_once > 2:
                is_crowded.set()
        is_crowded.wait(0.05)
        node = parse(content, told)
        with lock:
            at_once -= 1
        return node

    monkeypatch.setattr(manifest_push, "_parse", parsed)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda number: put(registry, f"t{number}", content), range(6)))
    assert {answer.status for answer in answers} == {201}
    assert not is_crowded.is_set()


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_by_digest(registry: RegistryServer, algorithm: str) -> None:
    content = manifest(registry)
    digest = Digest.of(content, algorithm)
    answer = put(registry, str(digest), content)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, str(digest))
    fetched = call(registry, "GET", f"/v2/team/app/manifests/{digest}")
    assert (fetched.body, fetched.headers["Docker-Content-Digest"]) == (content, str(digest))
    assert call(registry, "GET", "/v2/team/app/tags/list").document["tags"] == []


def test_by_digest_with_tags(registry: RegistryServer) -> None:
    content = manifest(registry)
    digest = Digest.of(content, "sha512")
    answer = put(registry, f"{digest}?tag=a&tag=b", content)
    assert (answer.status, answer.headers["OCI-Tag"]) == (201, "a, b")
    for tag in "ab":
        assert call(registry, "GET", f"/v2/team/app/manifests/{tag}").headers["Docker-Content-Digest"] == str(digest)


def test_a_tag_moves(registry: RegistryServer) -> None:
    first, second = manifest(registry), manifest(registry, annotations={"a": "b"})
    put(registry, "latest", first)
    put(registry, "latest", second)
    assert call(registry, "GET", "/v2/team/app/manifests/latest").body == second
    assert call(registry, "GET", f"/v2/team/app/manifests/{Digest.of(first)}").body == first


def test_whitespace_and_order_of_keys_stay(registry: RegistryServer) -> None:
    content = json.dumps(json.loads(manifest(registry)), indent=7, sort_keys=True).encode() + b"\n\n"
    put(registry, "1", content)
    assert call(registry, "GET", "/v2/team/app/manifests/1").body == content


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_wrong_digest_is_refused(registry: RegistryServer, algorithm: str) -> None:
    wrong = Digest.of(b"other", algorithm)
    answer = put(registry, str(wrong), manifest(registry))
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert call(registry, "GET", f"/v2/team/app/manifests/{wrong}").status == 404


@pytest.mark.parametrize("tag", [".hidden", "-x", "a" * 129, "a%20b", "ü"])
def test_a_tag_outside_the_grammar_is_refused(registry: RegistryServer, tag: str) -> None:
    from urllib.parse import quote

    answer = put(registry, quote(tag, safe="%"), manifest(registry))
    assert (answer.status, answer.code) == (400, "TAG_INVALID")


@pytest.mark.parametrize(
    "content",
    [b"", b"no json", b"[]", b"{}", b'{"schemaVersion":1}', b"[" * 100_000, b'{"schemaVersion":2,"layers":7}'],
)
def test_what_is_no_manifest_is_refused(registry: RegistryServer, content: bytes) -> None:
    answer = put(registry, "1", content, "application/json")
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")


def test_the_content_type_must_be_the_manifests_own(registry: RegistryServer) -> None:
    answer = put(registry, "1", manifest(registry), media_types.DOCKER_MANIFEST)
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")


def test_a_missing_layer_is_told(registry: RegistryServer) -> None:
    answer = put(registry, "1", manifest(registry, ABSENT))
    assert (answer.status, answer.code) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert str(ABSENT.digest) in answer.document["errors"][0]["message"]
    assert call(registry, "GET", "/v2/team/app/manifests/1").status == 404


def test_a_missing_manifest_of_an_index_is_told(registry: RegistryServer) -> None:
    child = Descriptor(media_types.OCI_MANIFEST, Digest.of(b"x"), 1)
    answer = put(registry, "1", make_index(media_types.OCI_INDEX, [child]).content, media_types.OCI_INDEX)
    assert (answer.status, answer.code) == (400, "MANIFEST_BLOB_UNKNOWN")


def test_children_may_go_unchecked(registry_factory: Callable[..., RegistryServer]) -> None:
    server = registry_factory(rules=Rules(checks_children=False))
    assert put(server, "1", manifest(server, ABSENT)).status == 201


def test_a_foreign_layer_may_be_absent(registry: RegistryServer) -> None:
    assert put(registry, "1", manifest(registry, FOREIGN)).status == 201


def test_a_subject_may_be_absent_and_is_named_in_the_answer(registry: RegistryServer) -> None:
    subject = Descriptor(media_types.OCI_MANIFEST, Digest.of(b"not here"), 8)
    answer = put(registry, "1", manifest(registry, subject=subject.to_json()))
    assert (answer.status, answer.headers["OCI-Subject"]) == (201, str(subject.digest))


def test_no_subject_no_header(registry: RegistryServer) -> None:
    assert put(registry, "1", manifest(registry)).headers["OCI-Subject"] is None


def test_an_index_of_what_is_there(registry: RegistryServer) -> None:
    children = [registry.put_image("team/app", layers=[bytes([n])]) for n in range(3)]
    index = make_index(media_types.OCI_INDEX, children)
    assert put(registry, "all", index.content, media_types.OCI_INDEX).status == 201
    answer = call(registry, "GET", "/v2/team/app/manifests/all")
    assert (answer.body, answer.headers["Content-Type"]) == (index.content, media_types.OCI_INDEX)


@pytest.mark.parametrize("is_chunked", [True, False])
def test_four_mebibytes_are_the_limit(registry: RegistryServer, is_chunked: bool) -> None:
    def padded(size: int) -> bytes:
        bare = manifest(registry, annotations={"pad": ""})
        return manifest(registry, annotations={"pad": "x" * (size - len(bare))})

    most, over = padded(4 << 20), padded((4 << 20) + 1)
    assert (len(most), len(over)) == (4 << 20, (4 << 20) + 1)
    assert put(registry, "most", most).status == 201
    body = iter([over]) if is_chunked else over
    answer = call(registry, "PUT", "/v2/team/app/manifests/over", body, {"Content-Type": media_types.OCI_MANIFEST})
    assert (answer.status, answer.code) == (413, "SIZE_INVALID")
