"""Content discovery, after the cases of the distribution spec's conformance program."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest

from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.server import Rules
from tests.quirks import RegistryServer
from tests.server.client import Answer, call

TAGS = ["1", "10", "2", "B", "a", "latest"]


@pytest.fixture
def tagged(registry: RegistryServer) -> RegistryServer:
    registry.put_image("team/app", *reversed(TAGS))
    return registry


def pages(server: RegistryServer, path: str) -> Iterator[Answer]:
    """A list's pages, as the links lead."""
    next_path: str | None = path
    while next_path:
        answer = call(server, "GET", next_path)
        yield answer
        found = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers["Link"] or "")
        next_path = found[1] if found else None


def test_tags_come_sorted(tagged: RegistryServer) -> None:
    answer = call(tagged, "GET", "/v2/team/app/tags/list")
    assert answer.document == {"name": "team/app", "tags": TAGS}
    assert answer.headers["Link"] is None


@pytest.mark.parametrize("size", [1, 2, 4, 5, 6, 7])
def test_pages_of_tags_make_the_whole(tagged: RegistryServer, size: int) -> None:
    found = [answer.document["tags"] for answer in pages(tagged, f"/v2/team/app/tags/list?n={size}")]
    assert [tag for page in found for tag in page] == TAGS
    assert all(len(page) <= size for page in found)
    assert len(found) == -(-len(TAGS) // size)


def test_tags_after_the_last_one(tagged: RegistryServer) -> None:
    assert call(tagged, "GET", "/v2/team/app/tags/list?n=2&last=10").document["tags"] == ["2", "B"]
    assert call(tagged, "GET", "/v2/team/app/tags/list?last=3").document["tags"] == ["B", "a", "latest"]
    assert call(tagged, "GET", "/v2/team/app/tags/list?last=zzz").document["tags"] == []


def test_no_tags_are_asked_for(tagged: RegistryServer) -> None:
    answer = call(tagged, "GET", "/v2/team/app/tags/list?n=0")
    assert (answer.document["tags"], answer.headers["Link"]) == ([], None)


@pytest.mark.parametrize("number", ["-1", "x", "1.5", "1" * 30])
def test_n_must_be_a_number(tagged: RegistryServer, number: str) -> None:
    answer = call(tagged, "GET", f"/v2/team/app/tags/list?n={number}")
    assert (answer.status, answer.code) == (400, "PAGINATION_NUMBER_INVALID")


def test_the_registry_may_have_a_largest_page(registry_factory: Callable[..., RegistryServer]) -> None:
    server = registry_factory(rules=Rules(largest_page=2))
    server.put_image("team/app", *TAGS)
    found = [answer.document["tags"] for answer in pages(server, "/v2/team/app/tags/list?n=100")]
    assert [len(page) for page in found] == [2, 2, 2]


def test_the_tags_of_no_repository(registry: RegistryServer) -> None:
    answer = call(registry, "GET", "/v2/nobody/here/tags/list")
    assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")


def test_repositories_page_by_page(registry: RegistryServer) -> None:
    for name in ("b", "a/z", "a", "c"):
        registry.put_image(name, "1")
    assert call(registry, "GET", "/v2/_catalog").document == {"repositories": ["a", "a/z", "b", "c"]}
    found = [answer.document["repositories"] for answer in pages(registry, "/v2/_catalog?n=3")]
    assert found == [["a", "a/z", "b"], ["c"]]


def refer(server: RegistryServer, subject: Digest, kind: str, note: str = "") -> Descriptor:
    """Pushes an artifact that refers to a subject."""
    config = server.put_blob("team/app", b"{}", media_types.OCI_EMPTY)
    document = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "artifactType": kind,
        "config": config.to_json(),
        "layers": [config.to_json()],
        "subject": {"mediaType": media_types.OCI_MANIFEST, "digest": str(subject), "size": 7},
        "annotations": {"note": note},
    }
    content = json.dumps(document).encode()
    path = f"/v2/team/app/manifests/{Digest.of(content)}"
    answer = call(server, "PUT", path, content, {"Content-Type": media_types.OCI_MANIFEST})
    assert (answer.status, answer.headers["OCI-Subject"]) == (201, str(subject))
    return Descriptor.of(content, media_types.OCI_MANIFEST)


SUBJECT = Digest.of(b"some image")


def test_referrers_are_an_index(registry: RegistryServer) -> None:
    sbom = refer(registry, SUBJECT, "application/sbom", "s")
    signature = refer(registry, SUBJECT, "application/signature", "g")
    refer(registry, Digest.of(b"another image"), "application/sbom")
    answer = call(registry, "GET", f"/v2/team/app/referrers/{SUBJECT}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, media_types.OCI_INDEX)
    assert answer.headers["OCI-Filters-Applied"] is None
    assert (answer.document["schemaVersion"], answer.document["mediaType"]) == (2, media_types.OCI_INDEX)
    entries = {entry["digest"]: entry for entry in answer.document["manifests"]}
    assert set(entries) == {str(sbom.digest), str(signature.digest)}
    entry = entries[str(sbom.digest)]
    assert (entry["artifactType"], entry["size"], entry["annotations"]) == (
        "application/sbom",
        sbom.size,
        {"note": "s"},
    )


def test_referrers_of_a_kind(registry: RegistryServer) -> None:
    sbom = refer(registry, SUBJECT, "application/sbom")
    refer(registry, SUBJECT, "application/signature")
    answer = call(registry, "GET", f"/v2/team/app/referrers/{SUBJECT}?artifactType=application/sbom")
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    assert [entry["digest"] for entry in answer.document["manifests"]] == [str(sbom.digest)]


def test_the_config_stands_in_for_an_absent_artifact_type(registry: RegistryServer) -> None:
    refer(registry, SUBJECT, "")
    answer = call(registry, "GET", f"/v2/team/app/referrers/{SUBJECT}")
    assert answer.document["manifests"][0]["artifactType"] == media_types.OCI_EMPTY


@pytest.mark.parametrize("repository", ["team/app", "nobody/here"])
def test_no_referrers_are_an_empty_index(registry: RegistryServer, repository: str) -> None:
    registry.put_image("team/app", "1")
    answer = call(registry, "GET", f"/v2/{repository}/referrers/{SUBJECT}")
    assert (answer.status, answer.document["manifests"]) == (200, [])


def test_the_referrers_of_no_digest(registry: RegistryServer) -> None:
    answer = call(registry, "GET", "/v2/team/app/referrers/latest")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_referrers_page_by_page(registry_factory: Callable[..., RegistryServer]) -> None:
    server = registry_factory(rules=Rules(largest_page=2))
    pushed = {str(refer(server, SUBJECT, "application/sbom", str(n)).digest) for n in range(5)}
    refer(server, SUBJECT, "application/other")
    path = f"/v2/team/app/referrers/{SUBJECT}?artifactType=application/sbom"
    found = [[entry["digest"] for entry in answer.document["manifests"]] for answer in pages(server, path)]
    assert [len(page) for page in found] == [2, 2, 1]
    assert {digest for page in found for digest in page} == pushed


def test_a_deleted_referrer_is_listed_no_more(registry: RegistryServer) -> None:
    sbom = refer(registry, SUBJECT, "application/sbom")
    call(registry, "DELETE", f"/v2/team/app/manifests/{sbom.digest}")
    assert call(registry, "GET", f"/v2/team/app/referrers/{SUBJECT}").document["manifests"] == []
