"""Small decisions about one registry that need no server."""

from __future__ import annotations

import pytest

from imgmove.endpoints.registry.host import Access, RegistryHost
from imgmove.wire.http import HttpClient, Response


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/v2/x/uploads/1?a=b", "https://reg.example.com/v2/x/uploads/1?a=b"),
        ("2", "https://reg.example.com/v2/x/2"),
        ("https://reg.example.com:443/u", "https://reg.example.com:443/u"),
        ("http://reg.example.com/u?a", "https://reg.example.com/u?a"),
        ("https://reg.example.com:8080/u", "https://reg.example.com:8080/u"),
        ("https://storage.example.net/u", "https://storage.example.net/u"),
    ],
)
def test_where_locations_lead(location: str, url: str) -> None:
    host = RegistryHost(
        Access("reg.example.com", plain_http=False, allows_http=False, credentials=lambda _: None), HttpClient()
    )
    assert host.following(Response(202, "https://reg.example.com/v2/x/1", {}, None), location) == url


def test_docker_hub_has_another_address() -> None:
    host = RegistryHost(
        Access("docker.io", plain_http=False, allows_http=False, credentials=lambda _: None), HttpClient()
    )
    assert host.url("/v2/") == "https://registry-1.docker.io/v2/"
