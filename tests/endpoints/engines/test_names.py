"""What people call images in engines."""

from __future__ import annotations

import pytest

from imgmove.endpoints.engines.nearest import no_such_image
from imgmove.endpoints.engines.record import ContainerdRecord, is_id
from imgmove.model.digest import Digest

HEX = "43fb4e44c733a1b366270e71d08549fd7143749456b1e0f68b02b25a3e1b090e"
OTHER = "ef13eb0811e9ee92fd557bf4ac6f963629a605187ebb5539987d386340492b83"


@pytest.mark.parametrize("name", ["reg.example.com:5000/app:1", "reg.example.com:5000/app", f"sha256:{OTHER}"])
@pytest.mark.parametrize("text", [f"sha256:{HEX}", HEX, HEX[:12], f"sha256:{HEX[:12]}"])
def test_a_record_goes_by_its_digest(name: str, text: str) -> None:
    assert ContainerdRecord(name, "", Digest.parse(f"sha256:{HEX}")).goes_by(text)


def test_a_record_of_kubernetes_goes_by_the_id_that_it_is_named_by() -> None:
    record = ContainerdRecord(f"sha256:{OTHER}", "", Digest.parse(f"sha256:{HEX}"))
    assert record.goes_by(OTHER[:12])
    assert not record.goes_by(OTHER[1:13])


@pytest.mark.parametrize(
    "name", ["localhost:5/team/app:1", "localhost:5/team/app", f"localhost:5/team/app@sha256:{HEX}"]
)
def test_a_record_goes_by_its_repository_and_digest(name: str) -> None:
    record = ContainerdRecord(name, "", Digest.parse(f"sha256:{HEX}"))
    assert record.goes_by(f"localhost:5/team/app@sha256:{HEX}")
    assert not record.goes_by(f"localhost:5/team/app@sha256:{OTHER}")
    assert not record.goes_by(f"localhost:5/app@sha256:{HEX}")
    assert not record.goes_by("localhost:5/team/app:1")


def test_what_can_only_be_an_id() -> None:
    assert is_id(HEX)
    assert is_id(f"sha256:{HEX[:12]}")
    assert not is_id(HEX[:12])
    assert not is_id("app")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("docker.io/library/app:2", "localhost/app:2, localhost/app:1"),
        ("app", "localhost/app:1, localhost/app:2"),
        ("localhost/apps:1", "localhost/app:1, localhost/app:2"),
        ("nothing:1", None),
    ],
)
def test_the_nearest_names(name: str, near: str | None) -> None:
    known = ["localhost/app:1", "localhost/app:2", f"localhost/app@sha256:{HEX}", f"sha256:{HEX}"]
    assert no_such_image("podman", name, known).hint == (f"there is {near}" if near else "")
