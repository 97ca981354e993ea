from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgmove.errors import ConfigError, LocalError
from imgmove.model.credentials import Credentials
from imgmove.settings.credential_store import CredentialStore
from tests.settings.conftest import FIXTURES, Helper, Machine

DOCKER = "home/.docker/config.json"
PODMAN = "runtime/containers/auth.json"
SECRET = "s3cr3t-that-is-told-nobody"


def entry(username: str, password: str = "pw") -> dict[str, str]:
    return {"username": username, "password": password}


def file_of(*hosts: str, username: str) -> dict[str, object]:
    return {"auths": {host: entry(username) for host in hosts}}


def user(store: CredentialStore, host: str = "example.org", repository: str = "") -> str | None:
    found = store.find(host, repository)
    return found.username if found else None


class TestFinding:
    def test_nothing_anywhere(self, machine: Machine) -> None:
        assert CredentialStore(machine.environment()).find("example.org", "app") is None

    def test_files_in_their_order(self, machine: Machine) -> None:
        places = [
            "home/.dockercfg",
            DOCKER,
            "home/.config/containers/auth.json",
            PODMAN,
        ]
        for place in places:
            entries = file_of("example.org", username=place)
            machine.write_json(place, entries["auths"] if place.endswith("cfg") else entries)
            assert user(CredentialStore(machine.environment())) == place

    def test_a_file_that_does_not_know_the_registry_is_passed_over(self, machine: Machine) -> None:
        machine.write_json(PODMAN, file_of("other.org", username="podman"))
        machine.write_json(DOCKER, file_of("example.org", username="docker"))
        assert user(CredentialStore(machine.environment())) == "docker"

    def test_the_folder_that_docker_config_names(self, machine: Machine) -> None:
        machine.write_json(DOCKER, file_of("example.org", username="home"))
        machine.write_json("ci/config.json", file_of("example.org", username="ci"))
        environment = machine.environment(DOCKER_CONFIG=str(machine.folder / "ci"))
        assert user(CredentialStore(environment)) == "ci"

    def test_a_named_file_is_the_only_one(self, machine: Machine) -> None:
        machine.write_json(DOCKER, file_of("example.org", "docker.org", username="docker"))
        variable = machine.write_json("variable.json", file_of("example.org", username="variable"))
        option = machine.write_json("option.json", file_of("example.org", username="option"))
        environment = machine.environment(REGISTRY_AUTH_FILE=str(variable))
        assert user(CredentialStore(environment)) == "variable"
        assert user(CredentialStore(environment, str(option))) == "option"
        assert user(CredentialStore(environment), "docker.org") is None

    def test_a_named_file_that_is_missing(self, machine: Machine) -> None:
        environment = machine.environment(REGISTRY_AUTH_FILE=str(machine.folder / "absent"))
        assert CredentialStore(environment).find("example.org") is None
        with pytest.raises(ConfigError, match="there is no credentials file"):
            CredentialStore(environment, str(machine.folder / "absent")).find("example.org")

    def test_an_old_file_by_its_option(self, machine: Machine) -> None:
        store = CredentialStore(machine.environment(), str(FIXTURES / "auth" / "containers-legacy.json"))
        assert store.find("docker.io", "library/alpine") == Credentials("docker", "io-legacy")

    def test_a_helper_comes_before_the_entry(self, machine: Machine) -> None:
        helper = Helper(machine, "fake", {"example.org": {"Username": "helper", "Secret": "pw"}})
        machine.write_json(DOCKER, file_of("example.org", "other.org", username="entry") | {"credsStore": "fake"})
        store = CredentialStore(machine.environment())
        assert (user(store), user(store, "other.org"), user(store, "third.org")) == ("helper", "entry", None)
        asked = [["get", "example.org"], ["get", "other.org"], ["get", "https://other.org"]]
        assert helper.calls == [*asked, ["get", "third.org"], ["get", "https://third.org"]]

    def test_a_helper_knows_docker_hub_by_its_old_address(self, machine: Machine) -> None:
        Helper(machine, "fake", {"https://index.docker.io/v1/": {"Username": "helper", "Secret": "pw"}})
        machine.write_json(DOCKER, {"credHelpers": {"docker.io": "fake"}})
        store = CredentialStore(machine.environment())
        assert [user(store, host) for host in ("docker.io", "index.docker.io")] == ["helper", "helper"]

    def test_a_helper_is_asked_once(self, machine: Machine) -> None:
        helper = Helper(machine, "fake", {"example.org": {"Username": "helper", "Secret": "pw"}})
        machine.write_json(DOCKER, {"credsStore": "fake"})
        store = CredentialStore(machine.environment())
        threads = [threading.Thread(target=store.find, args=("example.org", "app")) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert helper.calls == [["get", "example.org"]]

    def test_everything_is_read_anew_when_told_to_forget(self, machine: Machine) -> None:
        helper = Helper(machine, "fake", {"example.org": {"Username": "helper", "Secret": "pw"}})
        machine.write_json(DOCKER, {"credsStore": "fake"})
        store = CredentialStore(machine.environment())
        assert user(store) == "helper"
        store.forget()
        machine.write_json(DOCKER, file_of("example.org", username="entry"))
        assert user(store) == "entry"
        assert helper.calls == [["get", "example.org"]]

    def test_a_missing_helper_of_another_host_does_no_harm(self, machine: Machine) -> None:
        machine.write_json(
            DOCKER, file_of("example.org", username="entry") | {"credHelpers": {"ecr.example.com": "absent"}}
        )
        store = CredentialStore(machine.environment())
        assert user(store) == "entry"
        with pytest.raises(ConfigError, match="docker-credential-absent"):
            store.find("ecr.example.com")

    def test_a_file_that_cannot_be_read(self, machine: Machine) -> None:
        # A link to itself, since to root no permission is denied.
        link = machine.folder / DOCKER
        link.parent.mkdir()
        link.symlink_to(link)
        with pytest.raises(LocalError, match=r"config\.json cannot be read: too many levels of symbolic links"):
            CredentialStore(machine.environment()).find("example.org")

    def test_secrets_are_not_shown(self, machine: Machine) -> None:
        machine.write_json(DOCKER, {"auths": {"example.org": entry("me", SECRET)}})
        store = CredentialStore(machine.environment(SOME_TOKEN=SECRET))
        found = store.find("example.org")
        assert found == Credentials("me", SECRET)
        assert SECRET not in f"{store!r} {store} {found!r} {found}"


class TestStoring:
    def content(self, machine: Machine, place: str = DOCKER) -> dict[str, object]:
        content: dict[str, object] = json.loads((machine.folder / place).read_text())
        return content

    def test_makes_dockers_file_for_its_owner_alone(self, machine: Machine) -> None:
        store = CredentialStore(machine.environment())
        path = store.store("example.org:5000", Credentials("me", "pw"))
        assert path == str(machine.folder / DOCKER)
        assert self.content(machine) == {"auths": {"example.org:5000": {"auth": "bWU6cHc="}}}
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert os.listdir(os.path.dirname(path)) == ["config.json"]
        assert user(store, "example.org:5000") == "me"

    def test_docker_hub_goes_by_the_key_that_docker_reads(self, machine: Machine) -> None:
        CredentialStore(machine.environment()).store("docker.io", Credentials("me", "pw"))
        assert self.content(machine) == {"auths": {"https://index.docker.io/v1/": {"auth": "bWU6cHc="}}}

    def test_takes_the_place_of_every_key_of_the_host_and_of_nothing_else(self, machine: Machine) -> None:
        other = {"example.org/team": entry("team"), "example.org:5000": entry("port")}
        machine.write_json(
            DOCKER,
            {"HttpHeaders": {"X": "y"}, "auths": {"https://example.org/v1/": entry("old"), **other}, "psFormat": "x"},
        )
        store = CredentialStore(machine.environment())
        assert user(store) == "old"
        store.store("https://example.org", Credentials("new", "pw"))
        assert user(store) == "new"
        auths = {**other, "example.org": {"auth": "bmV3OnB3"}}
        assert self.content(machine) == {"HttpHeaders": {"X": "y"}, "auths": auths, "psFormat": "x"}
        assert store.erase("example.org")
        assert self.content(machine) == {"HttpHeaders": {"X": "y"}, "auths": other, "psFormat": "x"}
        assert user(store) is None

    @pytest.mark.parametrize("by_option", [True, False])
    def test_writes_to_the_named_file(self, machine: Machine, by_option: bool) -> None:
        path = str(machine.folder / "new" / "auth.json")
        environment = machine.environment(REGISTRY_AUTH_FILE="" if by_option else path)
        store = CredentialStore(environment, path if by_option else "")
        assert store.store("example.org", Credentials("me", "pw")) == path
        assert user(store) == "me"
        assert not (machine.folder / DOCKER).exists()

    def test_a_helper_keeps_the_secret_and_the_file_only_a_mark(self, machine: Machine) -> None:
        helper = Helper(machine, "fake", {})
        machine.write_json(DOCKER, file_of("example.org", username="old") | {"credsStore": "fake"})
        store = CredentialStore(machine.environment())
        assert store.store("example.org", Credentials("me", SECRET)) == "docker-credential-fake"
        assert helper.servers == {"example.org": {"ServerURL": "example.org", "Username": "me", "Secret": SECRET}}
        assert self.content(machine) == {"auths": {"example.org": {}}, "credsStore": "fake"}
        assert user(store) == "me"
        assert store.erase("example.org")
        assert (helper.servers, self.content(machine)) == ({}, {"auths": {}, "credsStore": "fake"})

    def test_erasing_what_is_not_there(self, machine: Machine) -> None:
        store = CredentialStore(machine.environment())
        assert not store.erase("example.org")
        assert not (machine.folder / "home" / ".docker").exists()
        Helper(machine, "fake", {})
        path = machine.write_json(DOCKER, {"credsStore": "fake"})
        before = path.read_bytes()
        assert not store.erase("example.org")
        assert path.read_bytes() == before

    def test_a_symbolic_link_stays(self, machine: Machine) -> None:
        target = machine.write_json("dotfiles/docker.json", {})
        link = machine.folder / DOCKER
        link.parent.mkdir()
        link.symlink_to(target)
        CredentialStore(machine.environment()).store("example.org", Credentials("me", "pw"))
        assert link.is_symlink()
        assert "auths" in self.content(machine, "dotfiles/docker.json")

    @pytest.mark.parametrize("content", ["{", "[]", '{"auths": 7}', '{"h": {"auth": "YTpi"}}'])
    def test_a_file_that_is_wrong_is_left_as_it_is(self, machine: Machine, content: str) -> None:
        path = machine.write(DOCKER, content)
        store = CredentialStore(machine.environment())
        for change in (lambda: store.store("h", Credentials("me", "pw")), lambda: store.erase("h")):
            with pytest.raises(ConfigError, match="config.json"):
                change()
        assert path.read_text() == content

    def test_a_folder_that_cannot_be_made(self, machine: Machine) -> None:
        machine.write("home/.docker", "a file")
        with pytest.raises(LocalError, match="cannot be written"):
            CredentialStore(machine.environment()).store("example.org", Credentials("me", "pw"))

    def test_writers_at_the_same_time_lose_nothing(self, machine: Machine) -> None:
        hosts = [f"host{number}.example.org" for number in range(12)]

        def login(host: str) -> None:
            CredentialStore(machine.environment()).store(host, Credentials("me", "pw"))

        threads = [threading.Thread(target=login, args=(host,)) for host in hosts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        auths = self.content(machine)["auths"]
        assert isinstance(auths, dict)
        assert sorted(auths) == sorted(hosts)


@pytest.mark.parametrize("path", sorted((FIXTURES / "auth").glob("*.json")), ids=lambda path: path.stem)
def test_what_is_stored_in_any_real_file_is_found_again(machine: Machine, path: Path) -> None:
    content = json.loads(path.read_bytes())
    if path.stem == "containers-legacy":
        content = {"auths": content}
    machine.write_json(DOCKER, {key: value for key, value in content.items() if not key.startswith("cred")})
    store = CredentialStore(machine.environment())
    store.store("registry1.example.com", Credentials("me", SECRET))
    assert store.find("registry1.example.com", "any/repository") == Credentials("me", SECRET)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(
    credentials=st.builds(
        Credentials,
        st.text(st.characters(exclude_characters=":\0", exclude_categories=["Cs"]), min_size=1, max_size=8),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
    ),
    host=st.sampled_from(["docker.io", "localhost:5000", "[::1]:5000", "example.org"]),
)
def test_any_credentials_survive(machine: Machine, credentials: Credentials, host: str) -> None:
    CredentialStore(machine.environment()).store(host, credentials)
    assert CredentialStore(machine.environment()).find(host) == credentials
