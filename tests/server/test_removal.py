"""Content management, after the cases of the distribution spec's conformance program."""

from __future__ import annotations

import pytest

from imgmove.model.digest import Digest
from tests.quirks import RegistryServer
from tests.server.client import call


def test_a_tag_goes_and_its_siblings_stay(registry: RegistryServer) -> None:
    image = registry.put_image("team/app", "1", "latest")
    assert call(registry, "DELETE", "/v2/team/app/manifests/1").status == 202
    assert call(registry, "GET", "/v2/team/app/manifests/1").status == 404
    assert call(registry, "GET", "/v2/team/app/manifests/latest").status == 200
    assert call(registry, "GET", f"/v2/team/app/manifests/{image.digest}").status == 200


def test_a_manifest_goes_with_its_tags(registry: RegistryServer) -> None:
    image = registry.put_image("team/app", "1", "latest")
    other = registry.put_image("team/app", "other", layers=[b"other"])
    assert call(registry, "DELETE", f"/v2/team/app/manifests/{image.digest}").status == 202
    for reference in ("1", "latest", str(image.digest)):
        assert call(registry, "GET", f"/v2/team/app/manifests/{reference}").status == 404
    assert call(registry, "GET", "/v2/team/app/tags/list").document["tags"] == ["other"]
    assert call(registry, "GET", f"/v2/team/app/manifests/{other.digest}").status == 200


def test_a_blob_goes_here_alone(registry: RegistryServer) -> None:
    blob = registry.put_blob("team/app", b"blob")
    registry.put_blob("team/other", b"blob")
    assert call(registry, "DELETE", f"/v2/team/app/blobs/{blob.digest}").status == 202
    assert call(registry, "GET", f"/v2/team/app/blobs/{blob.digest}").status == 404
    assert call(registry, "GET", f"/v2/team/other/blobs/{blob.digest}").body == b"blob"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("manifests/absent", "MANIFEST_UNKNOWN"),
        (f"manifests/{Digest.of(b'absent')}", "MANIFEST_UNKNOWN"),
        (f"blobs/{Digest.of(b'absent')}", "BLOB_UNKNOWN"),
    ],
)
def test_what_is_not_there_cannot_go(registry: RegistryServer, path: str, code: str) -> None:
    registry.put_image("team/app", "1")
    answer = call(registry, "DELETE", f"/v2/team/app/{path}")
    assert (answer.status, answer.code) == (404, code)
    assert call(registry, "DELETE", f"/v2/nobody/here/{path}").code == "NAME_UNKNOWN"


def test_a_manifest_and_a_blob_are_not_one(registry: RegistryServer) -> None:
    blob = registry.put_blob("team/app", b"blob")
    assert call(registry, "DELETE", f"/v2/team/app/manifests/{blob.digest}").status == 404


def test_a_repository_without_content_is_not_listed(registry: RegistryServer) -> None:
    blob = registry.put_blob("team/app", b"blob")
    call(registry, "DELETE", f"/v2/team/app/blobs/{blob.digest}")
    assert call(registry, "GET", "/v2/_catalog").document == {"repositories": []}
