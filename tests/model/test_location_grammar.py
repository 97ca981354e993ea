"""Locations: every form of the contract, and what is none."""

from __future__ import annotations

import contextlib

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
)
from imgmove.model.location_grammar import parse_location, parse_path_location
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
        ("docker.io/library/x.tar", RegistryLocation(Reference("docker.io", "library/x.tar", "latest"))),
        ("my.app:v1", RegistryLocation(Reference("docker.io", "library/my.app", "v1"))),
        ("docker://my.app:1", RegistryLocation(Reference("docker.io", "library/my.app", "1"))),
        ("x.tar:v1", RegistryLocation(Reference("docker.io", "library/x.tar", "v1"))),
        ("reg:5000/x.tar", RegistryLocation(Reference("reg:5000", "x.tar", "latest"))),
        ("oci:dir", LayoutLocation("dir")),
        ("oci:///srv/x", LayoutLocation("///srv/x")),
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
        ("bundle:a%3ab:c", BundleLocation("a:b:c")),
        ("-", PipeLocation()),
        (".", PathLocation(".")),
        ("..", PathLocation("..")),
        ("~", PathLocation("~")),
        ("./with space ", PathLocation("./with space ")),
        ("./x.tar", PathLocation("./x.tar")),
        ("../x", PathLocation("../x")),
        ("/x", PathLocation("/x")),
        ("~/x", PathLocation("~/x")),
        ("oci+ssh://ops@edge1/srv/images:app", LayoutLocation("/srv/images", "app", carrier=EDGE)),
        ("oci+ssh://ops@corp.example@edge1/x", LayoutLocation("/x", carrier=SshHost("edge1", "ops@corp.example"))),
        ("oci+ssh://ops@edge1/~/x", LayoutLocation("~/x", carrier=EDGE)),
        ("oci-archive+ssh://ops@edge1/x.tar", ArchiveLocation("oci-archive", "/x.tar", carrier=EDGE)),
        ("docker-daemon+ssh://ops@edge1/app:1", EngineLocation("docker-daemon", "app:1", carrier=EDGE)),
        ("docker-daemon+ssh://ops@edge1", EngineLocation("docker-daemon", carrier=EDGE)),
        ("podman+ssh://[::1]:2222/app", EngineLocation("podman", "app", carrier=SshHost("::1", port=2222))),
        ("registry+ssh://ops@edge1/reg/app:1", RegistryLocation(Reference("reg", "app", "1"), EDGE)),
        ("registry+ssh://ops@edge1/reg:5000/a/", RegistryPrefix("reg:5000", "a", EDGE)),
        ("registry+ssh://ops@edge1/reg", RegistryPrefix("reg", "", EDGE)),
        (
            "registry+ssh://ops@edge1/docker.io/alpine",
            RegistryLocation(Reference("docker.io", "library/alpine", "latest"), EDGE),
        ),
        ("docker://reg.example.com/team/", RegistryPrefix("reg.example.com", "team")),
        ("Reg/", RegistryPrefix("Reg")),
        # A scheme wins over a registry of that name, unless docker:// says so.
        ("oci:5000/app", LayoutLocation("5000/app")),
        ("docker://oci:5000/app:1", RegistryLocation(Reference("oci:5000", "app", "1"))),
        ("docker://docker:5000/a/", RegistryPrefix("docker:5000", "a")),
        ("oci+ssh://ops@edge1/~", LayoutLocation("~", carrier=EDGE)),
        ("oci+ssh://ops@edge1/~:app", LayoutLocation("~", "app", carrier=EDGE)),
        ("oci+ssh://ops@edge1/~@x", LayoutLocation("/~@x", carrier=EDGE)),
        (f"oci+ssh://ops@edge1/~@{DIGEST}", LayoutLocation("~", "", DIGEST, EDGE)),
        ("oci+ssh://ops@edge1//x", LayoutLocation("//x", carrier=EDGE)),
        ("oci:100%25:app", LayoutLocation("100%25", "app")),
        (
            "docker-daemon+ssh://ops@edge1?socket=/run/x.sock",
            EngineLocation("docker-daemon", socket="/run/x.sock", carrier=EDGE),
        ),
        (
            "containerd+ssh://ops@edge1/app?socket=/c.sock&namespace=k8s.io",
            EngineLocation("containerd", "app", socket="/c.sock", namespace="k8s.io", carrier=EDGE),
        ),
        ("podman:app?socket=/a+b%26c%25.sock", EngineLocation("podman", "app", socket="/a+b&c%.sock")),
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
        ("dir:app", "docker.io/library/dir:TAG"),
        ("dir:/tmp/app", "oci:DIR"),
        ("ocidir:app", "oci:DIR"),
        ("containers-storage:app", "podman:NAME"),
        ("docker:dind", "docker.io/library/docker:TAG"),
        ("docker:a\nb", "not a location"),
        ("docker://", "not an image reference"),
        ("docker:///", "not an image reference"),
        ("a//", "not an image reference"),
        ("reg.example.com//", "not an image reference"),
        ("https://reg.example.com/app:1", "write reg.example.com/app:1"),
        ("http://a b", "without http://"),
        ("oci:d@sha256:", "not a digest"),
        ("oci:d@sha256:zz", "not a sha256 digest"),
        (f"oci:d@md5:{'a' * 32}", "not supported"),
        (f"oci:d@SHA256:{'a' * 64}", "not a digest"),
        ("oci:d:a\nb", "not a name"),
        ("oci+ssh://ho st/x", "not an SSH host"),
        ("oci+ssh://h\n/x", "not an SSH host"),
        ("oci+ssh://h?a/x", "not an SSH host"),
        ("oci+ssh://-x@host/y", "not an SSH host"),
        (f"oci+ssh://host:{'1' * 5000}/y", "not an SSH host"),
        ("oci+ssh://host:65536/y", "not an SSH host"),
        *((f"oci+ssh://h{bad}x/y", "not an SSH host") for bad in "'\"`;&<>|(){}$\\"),
        *((f"oci+ssh://u{bad}x@h/y", "not an SSH host") for bad in "'\"`;&<>|(){}"),
        ("oci+ssh://u\\@h/y", "not an SSH host"),
        ("docker-daemon://app", "docker-daemon:NAME"),
        ("docker-daemon:a b", "not the name of an image"),
        ("podman:--help", "not the name of an image"),
        ("podman+ssh://edge1/@--output=x", "not the name of an image"),
        ("podman:app?", "no option"),
        ("podman:app?socket=", "takes one value"),
        ("podman:app?socket=/a&socket=/b", "takes one value"),
        ("podman:app?socket=%00", "takes one value"),
        ("registry+ssh://host/reg/App", "try app"),
        ("registry+ssh://host/reg/A B/", "not an image reference"),
        ("registry+ssh://host/reg//", "not an image reference"),
        ("dockr-archive:/x", "did you mean docker-archive:?"),
        ("images.tar", "a file is written ./images.tar, an image docker.io/library/images.tar:latest"),
        ("out/images.tar.gz", "a file is written ./out/images.tar.gz"),
        ("oci://out", "write oci:out, or oci:/out for one in the root folder"),
        ("docker-archive://x.tar", "write docker-archive:x.tar"),
        ("edge1:/srv/images", "a folder on another host is written oci+ssh://"),
        ("ops@edge1:/srv/images", "a folder on another host is written oci+ssh://"),
        ("file:///srv/images", "write ./PATH or /PATH"),
        ("tarball:x.tar", "imgmove import FILE"),
        ("docker+ssh://edge1/app", "write docker-daemon+ssh://HOST/NAME"),
        ("ssh://edge1/app", "write docker-daemon+ssh://HOST/NAME"),
        ("docker-daemon:ssh://edge1/app", "docker-daemon+ssh://HOST/NAME"),
        ("reg.example.com", "write reg.example.com/NAME:TAG, or reg.example.com/ where"),
        ("my.bundle", "or ./my.bundle for a file"),
        ("reg.example.com:5000", "imgmove repos reg.example.com:5000 lists"),
        ("127.0.0.1:5000", "write 127.0.0.1:5000/NAME:TAG"),
        ("localhost", "write localhost/NAME:TAG"),
        ("localhost:5000", "write localhost:5000/NAME:TAG"),
    ],
)
def test_what_is_no_location(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_location(text)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["oci+ssh://bob:hunter2@h/x", "https://bob:hunter2@h/x", "docker://bob:hunter2@h/x"])
def test_a_password_is_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_location(text)
    assert "hunter2" not in str(caught.value)


def test_below_a_prefix() -> None:
    assert str(RegistryPrefix("reg:5000", "team").join("a/b")) == "reg:5000/team/a/b"
    # What is written is what would be read: Docker Hub has no repositories without a folder.
    assert str(RegistryPrefix("docker.io").join("alpine")) == "docker.io/library/alpine"
    with pytest.raises(UsageError, match="longer than"):
        RegistryPrefix("reg:5000", "team").join("x" * 253)


def test_whether_a_tag_was_typed() -> None:
    typed, filled = parse_location("app:latest"), parse_location("app")
    assert isinstance(typed, RegistryLocation)
    assert isinstance(filled, RegistryLocation)
    assert (typed.has_tag, filled.has_tag) == (True, False)


def test_where_files_are_expected_a_word_is_a_path() -> None:
    assert parse_path_location("images.tar") == PathLocation("./images.tar")
    assert parse_path_location("oci:images") == LayoutLocation("images")
    assert parse_path_location("-") == PipeLocation()
    assert [parse_path_location(text) for text in (".", "..", "~")] == [PathLocation(text) for text in (".", "..", "~")]
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


WORDS = st.from_regex(r"[a-z0-9]{1,6}(-[a-z0-9]{1,3})?", fullmatch=True)
# No location that was parsed has a path with %3A in it, since that was decoded to a colon.
PATHS = st.from_regex(r"[A-Za-z0-9_.:%~@ -]{0,8}/?[A-Za-z0-9_:]{1,8}", fullmatch=True).filter(
    lambda path: "%3" not in path and not path.startswith(" ")
)
# And /~ is the home folder on another host, never a folder of that name.
REMOTE_PATHS = PATHS.map("~/{}".format) | st.just("~") | PATHS.map("/{}".format).filter(lambda path: path[:3] != "/~/")
NAMES = st.sampled_from(["", "1", "app", "app:1", "reg:5000/app:1", "a name"])
DIGESTS = st.none() | st.just(DIGEST)
CARRIERS = st.builds(
    SshHost,
    st.sampled_from(["edge1", "10.0.0.1", "::1", "fe80::1%eth0", "edge_2.example.com"]),
    st.sampled_from(["", "ops", "a.b-c"]),
    st.none() | st.integers(1, 65535),
)
HERE_OR_THERE = st.none() | CARRIERS
ARCHIVES = st.sampled_from(["oci-archive", "docker-archive"])
HOSTS = st.sampled_from(["docker.io", "localhost", "reg.io", "oci:5000", "docker:5000", "[::1]:5000", "Reg"])
REPOSITORIES = st.lists(WORDS, min_size=2, max_size=3).map("/".join)
REFERENCES = st.builds(Reference, HOSTS, REPOSITORIES, st.sampled_from(["1", "latest", "V.x"]), DIGESTS)
FILES = st.builds(LayoutLocation, PATHS, NAMES, DIGESTS) | st.builds(ArchiveLocation, ARCHIVES, PATHS, NAMES, DIGESTS)
REMOTE_FILES = st.builds(LayoutLocation, REMOTE_PATHS, NAMES, DIGESTS, CARRIERS) | st.builds(
    ArchiveLocation, ARCHIVES, REMOTE_PATHS, NAMES, DIGESTS, CARRIERS
)
SOCKETS = st.sampled_from(["", "/run/x.sock", "/a+b&c=%41?.sock"])
ENGINES = (
    st.builds(
        EngineLocation,
        st.sampled_from(["docker-daemon", "podman"]),
        st.sampled_from(["", "app", "reg:5000/app:1", f"app@{DIGEST}"]),
        socket=SOCKETS,
        carrier=HERE_OR_THERE,
    )
    | st.builds(
        EngineLocation,
        st.just("containerd"),
        st.just("app"),
        socket=SOCKETS,
        namespace=st.sampled_from(["", "k8s.io"]),
        carrier=HERE_OR_THERE,
    )
    | st.builds(EngineLocation, st.just("podman"), container=WORDS, carrier=HERE_OR_THERE)
)
LOCATIONS = (
    FILES
    | REMOTE_FILES
    | ENGINES
    | st.builds(RegistryLocation, REFERENCES, HERE_OR_THERE)
    | st.builds(RegistryPrefix, HOSTS, st.just("") | REPOSITORIES, HERE_OR_THERE)
    | st.builds(BundleLocation, PATHS)
    | PATHS.map(lambda path: PathLocation(f"./{path}"))
    | st.just(PipeLocation())
)
SCHEMES = st.sampled_from(
    ["oci:", "oci+ssh://", "docker://", "podman:", "containerd+ssh://", "registry+ssh://", "bundle:"]
)
MARKS = st.sampled_from(["/", ":", "@", "?", "~", "%3A", "[::1]", "sha256:", "socket=", "&", "\n", "\x1b", "\udcff"])
PIECES = st.lists(SCHEMES | MARKS | st.sampled_from(["a", "A", "0", ".", "-", "%", " ", "é"]), max_size=12).map("".join)


@given(LOCATIONS)
def test_every_location_parses_back(location: Location) -> None:
    assert parse_location(str(location)) == location


@given(st.text(max_size=60) | st.text("abc:/@+.-%[]?=&~0123456789", max_size=40) | PIECES)
def test_any_text_is_a_location_or_a_usage_error(text: str) -> None:
    for parse in (parse_location, parse_path_location):
        try:
            location = parse(text)
        except UsageError as error:
            assert str(error).isprintable()
        else:
            assert parse_location(str(location)) == location


@pytest.mark.parametrize("piece", ["a", "-", "@", "@sha256:a", "%3A", ":", "a@", "[", "~", "&socket="])
@pytest.mark.parametrize("scheme", ["", "oci:", "oci+ssh://", "podman:x?", "registry+ssh://h/"])
def test_long_texts_are_read_in_linear_time(scheme: str, piece: str) -> None:
    # A grammar that backtracks would not come back from this at all.
    with contextlib.suppress(UsageError):
        parse_location(scheme + piece * 20_000 + "!")
