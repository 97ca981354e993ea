from __future__ import annotations

import sys

import pytest

from imgmove.settings.environment import Environment
from tests.settings.conftest import Machine


def read(**variables: str) -> Environment:
    return Environment.read(variables, home="/home/me")


def test_the_processs_own_variables_are_taken_where_none_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("DOCKER_CONFIG", "/ci")
    environment = Environment.read()
    assert (environment.home, environment.docker_file) == ("/home/somebody", "/ci/config.json")
    assert Environment.read({"HOME": "/home/other"}).home == "/home/other"


def test_files_of_docker_and_podman() -> None:
    environment = read(XDG_RUNTIME_DIR="/run/user/7")
    assert environment.docker_file == "/home/me/.docker/config.json"
    assert environment.docker_legacy_file == "/home/me/.dockercfg"
    assert environment.containers_auth_files == (
        "/run/user/7/containers/auth.json",
        "/home/me/.config/containers/auth.json",
    )
    assert environment.certificate_folders == (
        "/home/me/.config/containers/certs.d",
        "/home/me/.config/docker/certs.d",
        "/etc/containers/certs.d",
        "/etc/docker/certs.d",
    )


def test_podmans_file_without_a_runtime_folder(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    monkeypatch.setattr("os.getuid", lambda: 1234)
    first = machine.environment(XDG_RUNTIME_DIR="").containers_auth_files[0]
    assert first == str(machine.system / "run/containers/1234/auth.json")


def test_folders_of_the_desktop_standard() -> None:
    environment = read(XDG_CONFIG_HOME="/c", XDG_CACHE_HOME="/k")
    assert environment.user_registries_file == "/c/containers/registries.conf"
    assert environment.cache_folder == "/k/imgmove"


@pytest.mark.parametrize(("platform", "folder"), [("linux", ".cache"), ("darwin", "Library/Caches")])
def test_the_cache_by_platform(monkeypatch: pytest.MonkeyPatch, platform: str, folder: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert read().cache_folder == f"/home/me/{folder}/imgmove"


def test_proxies_in_capitals_or_not() -> None:
    proxies = read(https_proxy="http://low:1", HTTP_PROXY="http://up:1", http_proxy="http://low:2").proxies
    assert proxies.proxy_for("https://example.org/") == "http://low:1"
    assert proxies.proxy_for("http://example.org/") == "http://up:1"
    assert read(HTTPS_PROXY="p:1", no_proxy=" a.org ,, example.org").proxies.proxy_for("https://example.org/") is None
    assert read().proxies.proxy_for("https://example.org/") is None


def test_variables_are_not_shown() -> None:
    assert "hunter2" not in repr(read(REGISTRY_PASSWORD="hunter2"))
