from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgmove.errors import ConfigError, ImgmoveError
from imgmove.model.credentials import Credentials
from imgmove.settings.auth_file import AuthFile, canonical_key, encode_entry, keys_for, registry_host
from tests.settings.conftest import FIXTURES


def read(name: str) -> AuthFile:
    file = AuthFile.read(str(FIXTURES / "auth" / name))
    assert file is not None
    return file


def pair(file: AuthFile, host: str, repository: str = "") -> tuple[str, str] | None:
    found = file.find(host, repository)
    return (found.username, found.password) if found else None


@pytest.mark.parametrize(
    ("key", "canonical"),
    [
        ("example.org", "example.org"),
        ("Example.org:5000", "example.org:5000"),
        ("https://example.org", "example.org"),
        ("http://example.org/v1/", "example.org"),
        ("https://example.org/suffix", "example.org"),
        ("example.org/v1", "example.org"),
        ("example.org/v2/", "example.org"),
        ("example.org/team/app", "example.org/team/app"),
        ("example.org/v2/app", "example.org/v2/app"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("index.docker.io/library", "docker.io/library"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_keys_are_read_as_hosts_or_repositories(key: str, canonical: str) -> None:
    assert canonical_key(key) == canonical


def test_a_registry_is_found_in_whatever_a_person_types() -> None:
    typed = ["docker.io", "https://index.docker.io/v1/", "example.org/team/app", "https://example.org:5000"]
    assert [registry_host(text) for text in typed] == ["docker.io", "docker.io", "example.org", "example.org:5000"]


def test_keys_are_tried_from_the_longest() -> None:
    assert list(keys_for("h:1", "a/b")) == ["h:1/a/b", "h:1/a", "h:1"]
    assert list(keys_for("index.docker.io", "")) == ["docker.io"]


@pytest.mark.parametrize(
    ("name", "host", "expected"),
    [
        ("containers-full.json", "example.org", ("example", "org")),
        ("containers-full.json", "docker.io", ("docker", "io")),
        ("containers-full.json", "index.docker.io", ("docker", "io")),
        ("containers-full.json", "localhost", ("local", "host")),
        ("containers-full.json", "localhost:5000", ("local", "host-5000")),
        ("containers-full.json", "10.10.30.45", ("10.10", "30.45")),
        ("containers-full.json", "10.10.30.45:5000", ("10.10", "30.45-5000")),
        ("containers-full.json", "normalize.example.org", ("normalize", "example")),
        ("containers-full.json", "example.com", None),
        ("containers-full.json", "10.10.30.45:5001", None),
        ("containers-abnormal.json", "docker.io", ("index", "docker.io")),
        ("containers-abnormal.json", "127.0.0.1:5000", ("127.0", "0.1-5000")),
        ("containers-abnormal.json", "localhost", ("local", "host")),
        ("containers-abnormal.json", "localhost:5000", ("local", "host-5000")),
        ("containers-abnormal.json", "localhost:5001", ("local", "host-5001")),
        ("containers-legacy.json", "docker.io", ("docker", "io-legacy")),
        ("containers-legacy.json", "localhost", ("local", "host-legacy")),
        ("containers-empty.json", "example.org", None),
        ("docker-cli-config.json", "example.org", None),
        ("oras-no_auths_config.json", "example.org", None),
        ("oras-valid_auths_config.json", "registry1.example.com", ("username", "password")),
        ("oras-valid_auths_config.json", "registry5.example.com", None),
        ("oras-valid_auths_config.json", "registry6.example.com", ("username", "password")),
        ("oras-valid_auths_config.json", "registry7.example.com", ("username", "password")),
        ("oras-credHelpers_config.json", "registry3.example.com", ("foo", "bar")),
        ("jib-dockerconfig.json", "some registry", ("some", "auth")),
        ("jib-dockerconfig.json", "some other registry", ("some", "other:auth")),
        ("jib-dockerconfig.json", "auth and userpw registry", ("some", "auth")),
        ("jib-dockerconfig.json", "userpw registry", ("someuser", "somepw")),
        ("jib-dockerconfig.json", "no auth field", None),
        ("jib-dockerconfig.json", "another.example.com", None),
    ],
)
def test_every_shape_of_entry(name: str, host: str, expected: tuple[str, str] | None) -> None:
    assert pair(read(name), host) == expected


@pytest.mark.parametrize(
    ("host", "repository", "expected"),
    [
        ("example.org", "repo", ("example", "org")),
        ("example.org", "repo/below", ("example", "org")),
        ("example.org", "repository", ("local", "host")),
        ("docker.io", "vendor/app", ("first", "level")),
        ("docker.io", "library/busybox", ("library", "busybox")),
        ("docker.io", "library/alpine", ("library", "other")),
        ("docker.io", "other/app", ("top", "level")),
    ],
)
def test_the_longest_path_wins(host: str, repository: str, expected: tuple[str, str]) -> None:
    assert pair(read("containers-refpath.json"), host, repository) == expected


def test_tokens() -> None:
    file = read("oras-valid_auths_config.json")
    assert file.find("registry2.example.com") == Credentials(identity_token="identity_token")
    assert file.find("registry3.example.com") == Credentials(registry_token="registry_token")
    everything = Credentials("username", "password", "identity_token", "registry_token")
    assert file.find("registry4.example.com") == everything
    azure = read("jib-dockerconfig_identity_token.json").find("some registry")
    assert azure == Credentials("00000000-0000-0000-0000-000000000000", "", "cool identity token")


@pytest.mark.parametrize(
    ("name", "host", "secret"),
    [
        ("oras-invalid_auths_entry_config.json", "registry1.example.com", "username:password"),
        ("oras-invalid_auths_entry_config.json", "registry2.example.com", "whatever"),
        ("oras-invalid_auths_entry_config.json", "registry3.example.com", "123"),
        ("jib-dockerconfig.json", "registry", "token"),
        ("jib-dockerconfig.json", "example.com", "should not match"),
    ],
)
def test_a_malformed_entry_fails_for_its_host_alone(name: str, host: str, secret: str) -> None:
    file = read(name)
    with pytest.raises(ConfigError) as caught:
        file.find(host)
    assert file.path in str(caught.value)
    assert host in str(caught.value)
    assert secret not in str(caught.value).replace(file.path, "")
    assert file.find("elsewhere.example.com") is None


@pytest.mark.parametrize(
    ("name", "host", "helper"),
    [
        ("docker-cli-config.json", "example.org", "secretservice"),
        ("oras-credHelpers_config.json", "registry1.example.com", "registry1-helper"),
        ("oras-credHelpers_config.json", "registry2.example.com", "registry2-helper"),
        ("oras-credHelpers_config.json", "registry3.example.com", ""),
        ("oras-credHelpers_config.json", "registry4.example.com", ""),
        ("jib-dockerconfig.json", "some registry", "some credential helper"),
        ("jib-dockerconfig.json", "docker.io", "index.docker.io credential helper"),
        ("jib-dockerconfig.json", "just.registry.in.helpers", "credHelper for just.registry.in.helpers"),
        ("jib-dockerconfig.json", "with.protocol.in.helpers", "credHelper for https__with.protocol.in.helpers"),
        ("jib-dockerconfig.json", "with.suffix.in.helpers", "credHelper for with.suffix.in.helpers/v2/"),
        (
            "jib-dockerconfig.json",
            "with.protocol.and.suffix.in.helpers",
            "credHelper for https__with.protocol.and.suffix.in.helpers/suffix",
        ),
        ("jib-dockerconfig.json", "example.com.in.helpers", "some credential store"),
    ],
)
def test_helpers_by_host_and_for_all(name: str, host: str, helper: str) -> None:
    assert read(name).helper_for(host) == helper


def test_an_empty_helper_switches_the_store_off_for_a_host(tmp_path: Path) -> None:
    file = AuthFile("config.json", {"credsStore": "desktop", "credHelpers": {"example.org": ""}})
    assert (file.helper_for("example.org"), file.helper_for("example.com")) == ("", "desktop")


def test_a_password_may_be_padded_with_zero_bytes() -> None:
    auth = base64.b64encode(b"user:secret\0\0").decode()
    assert AuthFile("f", {"auths": {"h": {"auth": auth}}}).find("h") == Credentials("user", "secret")


def test_a_secret_that_is_no_text_fails_for_its_host_alone() -> None:
    file = AuthFile("f", {"auths": {"h": {"username": "me", "password": "hunter2\ud800"}}})
    with pytest.raises(ConfigError, match=r"^f: the entry of 'h': credentials must be valid UTF-8 text$"):
        file.find("h")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert AuthFile.read(str(tmp_path / "absent")) is None
    (tmp_path / "file").touch()
    assert AuthFile.read(str(tmp_path / "file" / "below")) is None


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(" \n")
    file = AuthFile.read(str(path))
    assert file is not None
    assert file.find("example.org") is None


@pytest.mark.parametrize(
    "content",
    [b'{"auths": {"h": {"auth": "hunter2"', b"[]", b'"hunter2"', b"\xff\xfe\xfd", b"[" * 200_000, b"9" * 5000, b"NaN"],
    ids=["cut", "list", "text", "bytes", "deep", "number", "nan"],
)
def test_a_file_that_is_not_a_json_object(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        AuthFile.read(str(path))
    assert str(path) in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        AuthFile.read(str(tmp_path))


_SECRET = "s3cr3t-that-is-told-nobody"
_PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "a:b", "YTpi", "YQ", "\ud800", _SECRET])
)
_JSON = _PLAIN | st.lists(_PLAIN, max_size=2) | st.dictionaries(st.sampled_from(["auth", "h"]), _PLAIN, max_size=2)
_ENTRY = st.dictionaries(
    st.sampled_from(["auth", "username", "password", "identitytoken", "registrytoken", "email"]), _JSON
)
_FILE = st.fixed_dictionaries(
    {},
    optional={
        "auths": st.dictionaries(st.sampled_from(["h", "https://h/v1/", "h/a", "other"]), _ENTRY | _JSON) | _JSON,
        "credHelpers": st.dictionaries(st.sampled_from(["h", "other"]), _JSON) | _JSON,
        "credsStore": _JSON,
    },
)


@given(content=_FILE | st.dictionaries(st.sampled_from(["h", "http://h"]), _ENTRY))
def test_hostile_files_are_understood_or_refused_in_silence_about_secrets(content: dict[str, object]) -> None:
    file = AuthFile("config.json", json.loads(json.dumps(content)))
    for question in (lambda: file.find("h", "a/b"), lambda: file.helper_for("h")):
        try:
            answer = question()
        except ConfigError as error:
            assert _SECRET not in f"{error} {error!r}"
        else:
            assert isinstance(answer, Credentials | str | None)
    assert _SECRET not in repr(file)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_hostile_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    try:
        AuthFile.read(str(path))
    except ImgmoveError as error:
        assert isinstance(error, ConfigError)


@given(
    username=st.text(st.characters(exclude_characters=":\0", exclude_categories=["Cs"]), min_size=1),
    password=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    token=st.text(st.characters(exclude_categories=["Cs"])),
    word=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)),
)
def test_an_entry_is_read_as_it_was_written(username: str, password: str, token: str, word: str) -> None:
    credentials = Credentials(username, password, identity_token=token, registry_token=word)
    assert AuthFile("f", {"auths": {"h": encode_entry(credentials)}}).find("h") == credentials
