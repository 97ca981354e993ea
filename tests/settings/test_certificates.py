from __future__ import annotations

import pytest

from imgmove.errors import ConfigError
from imgmove.model.connection import TlsFiles
from imgmove.settings.certificates import read_certificate_folders
from tests.settings.conftest import Machine


def read(machine: Machine, host: str) -> TlsFiles:
    return read_certificate_folders([str(machine.folder / name) for name in ("podman", "docker")], host)


def test_nothing(machine: Machine) -> None:
    assert read(machine, "example.org") == TlsFiles()


def test_everything_of_all_folders_in_their_order(machine: Machine) -> None:
    for path in ("docker/h:5000/ca.crt", "podman/h:5000/b.crt", "podman/h:5000/a.crt", "podman/h:5000/README"):
        machine.write(path, "")
    for path in ("docker/h:5000/client.cert", "docker/h:5000/client.key", "podman/h/other.crt"):
        machine.write(path, "")
    at = f"{machine.folder}/{{}}/h:5000/{{}}".format
    assert read(machine, "h:5000") == TlsFiles(
        ca_files=(at("podman", "a.crt"), at("podman", "b.crt"), at("docker", "ca.crt")),
        client_pairs=((at("docker", "client.cert"), at("docker", "client.key")),),
    )


@pytest.mark.parametrize(("have", "lack"), [("client.cert", "client.key"), ("client.key", "client.cert")])
def test_half_a_pair(machine: Machine, have: str, lack: str) -> None:
    path = machine.write(f"docker/example.org/{have}", "")
    with pytest.raises(ConfigError) as caught:
        read(machine, "example.org")
    assert str(caught.value) == f"{path} has no {lack} beside it"


@pytest.mark.parametrize("host", ["..", ".", "", "../elsewhere", "/etc"])
def test_a_host_that_would_lead_elsewhere(machine: Machine, host: str) -> None:
    machine.write("elsewhere/ca.crt", "")
    machine.write("docker/ca.crt", "")
    machine.write("ca.crt", "")
    assert read(machine, host) == TlsFiles()


def test_a_file_in_place_of_a_folder(machine: Machine) -> None:
    machine.write("docker/example.org", "")
    assert read(machine, "example.org") == TlsFiles()
