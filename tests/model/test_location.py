"""Locations: every form of the contract, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.errors import UsageError
from imgmove.model.digest import Digest
from imgmove.model.location import (
    ArchiveLocation,
    BundleLocation,
    EngineLocation,
    LayoutLocation,
    Location,
    PathLocation,
    PipeLocation,
    RegistryLocation,
    RegistryPrefix,
    SshHost,
    archive_suffix,
    file_stem,
    parse_location,
    parse_path_location,
)
from imgmove.model.reference import Reference

DIGEST = Digest.of(b"content")
EDGE = SshHost("edge1", "ops")


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("alpine", RegistryLocation(Reference("docker.io", "library/alpine", "latest"))),
        ("docker://alpine:3", RegistryLocation(Reference("docker.io", "library/alpine", "3"))),
        (f"reg:5000/a/b:1@{DIGEST}", RegistryLocation(Reference("reg:5000", "a/b", "1", DIGEST))),
        ("reg.example.com/team/", RegistryPrefix("reg.example.com", "team")),
        ("localhost:5000/", RegistryPrefix("localhost:5000")),
        ("team/", RegistryPrefix("docker.io", "team")),
        ("oci:dir", LayoutLocation("dir")),
        ("oci:/srv/x:app:1", LayoutLocation("/srv/x", "app:1")),
        (f"oci:dir@{DIGEST}", LayoutLocation("dir", "", DIGEST)),
        ("oci:a%3Ab:name", LayoutLocation("a:b", "name")),
        ("oci-archive:x.tar:reg:5000/app:1", ArchiveLocation("oci-archive", "x.tar", "reg:5000/app:1")),
        ("docker-archive:x.tar", ArchiveLocation("docker-archive", "x.tar")),
        ("docker-daemon:app:1", EngineLocation("docker-daemon", "app:1")),
        ("docker-daemon:", EngineLocation("docker-daemon")),
        ("docker-daemon:@web", EngineLocation("docker-daemon", container="web")),
        ("podman:app?socket=/run/p.sock", EngineLocation("podman", "app", socket="/run/p.sock")),
        ("containerd:app?namespace=k8s.io", EngineLocation("containerd", "app", namespace="k8s.io")),
        ("podman:4", EngineLocation("podman", "4")),
        ("bundle:b.bundle", BundleLocation("b.bundle")),
        ("-", PipeLocation()),
        ("./x.tar", PathLocation("./x.tar")),
        ("../x", PathLocation("../x")),
        ("/x", PathLocation("/x")),
        ("~/x", PathLocation("~/x")),
        ("oci+ssh://ops@edge1/srv/images:app", LayoutLocation("/srv/images", "app", carrier=EDGE)),
        ("oci+ssh://ops@edge1/~/x", LayoutLocation("~/x", carrier=EDGE)),
        ("oci-archive+ssh://ops@edge1/x.tar", ArchiveLocation("oci-archive", "/x.tar", carrier=EDGE)),
        ("docker-daemon+ssh://ops@edge1/app:1", EngineLocation("docker-daemon", "app:1", carrier=EDGE)),
        ("docker-daemon+ssh://ops@edge1", EngineLocation("docker-daemon", carrier=EDGE)),
        ("podman+ssh://[::1]:2222/app", EngineLocation("podman", "app", carrier=SshHost("::1", port=2222))),
        ("registry+ssh://ops@edge1/reg/app:1", RegistryLocation(Reference("reg", "app", "1"), EDGE)),
        ("registry+ssh://ops@edge1/reg:5000/a/", RegistryPrefix("reg:5000", "a", EDGE)),
    ],
)
def test_the_forms_of_the_contract(text: str, location: Location) -> None:
    assert parse_location(text) == location
    assert parse_location(str(location)) == location


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a location"),
        (" alpine", "not a location"),
        ("al pine", "not an image reference"),
        ("docker:alpine", "docker://alpine"),
        ("oci:", "no path"),
        ("oci:d@sha256:00", "sha256"),
        ("oci-archve:./x.tar", "did you mean oci-archive:?"),
        ("oci+ssh:host", "oci+ssh://"),
        ("oci+ssh://host", "no path"),
        ("oci+ssh://-oProxyCommand=x/y", "not an SSH host"),
        ("oci+ssh://host:0/y", "not an SSH host"),
        ("docker-daemon:@", "no container"),
        ("docker-daemon:x?namespace=y", "no option"),
        ("registry+ssh://host//x", "not a registry host"),
        ("a/B", "lower case"),
    ],
)
def test_what_is_no_location(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_location(text)
    assert message in str(caught.value)


def test_whether_a_tag_was_typed() -> None:
    typed, filled = parse_location("app:latest"), parse_location("app")
    assert isinstance(typed, RegistryLocation)
    assert isinstance(filled, RegistryLocation)
    assert (typed.has_tag, filled.has_tag) == (True, False)


def test_where_files_are_expected_a_word_is_a_path() -> None:
    assert parse_path_location("images.tar") == PathLocation("./images.tar")
    assert parse_path_location("oci:images") == LayoutLocation("images")
    assert parse_path_location("-") == PipeLocation()
    with pytest.raises(UsageError):
        parse_path_location("")


def test_suffixes() -> None:
    assert [archive_suffix(name) for name in ("a.tar", "A.TGZ", "a.tar.gz", "a.tar.zst", "a.gz", "tar")] == [
        "none",
        "gzip",
        "gzip",
        "zstd",
        None,
        None,
    ]
    assert file_stem("/x/Images.tar.gz") == "images"
    assert file_stem("dir/") == "dir"


PATHS = st.from_regex(r"[A-Za-z0-9_.:% -]{0,8}/?[A-Za-z0-9_:]{1,8}", fullmatch=True).filter(
    lambda path: "%3" not in path
)


@given(PATHS, st.sampled_from(["", "app", "app:1", "reg:5000/app:1"]), st.none() | st.just(DIGEST))
def test_file_forms_parse_back(path: str, name: str, digest: Digest | None) -> None:
    for location in (LayoutLocation(path, name, digest), ArchiveLocation("oci-archive", path, name, digest)):
        if str(location) == str(location).strip():
            assert parse_location(str(location)) == location


@given(st.text(max_size=60) | st.text("abc:/@+.-%[]0123456789", max_size=40))
def test_any_text_is_a_location_or_a_usage_error(text: str) -> None:
    try:
        location = parse_location(text)
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        assert str(location)
