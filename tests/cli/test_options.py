"""Each command has the options that work for it, its own first, and no others."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.cli.conftest import Run
from tests.quirks import Quirks, RegistryServer, TokenAuth

AT_ONCE = ("inspect", "tags", "repos", "tag", "delete", "login", "logout")


@pytest.mark.parametrize("command", AT_ONCE)
@pytest.mark.parametrize("option", ["--jobs", "--progress"])
def test_what_is_done_at_once_has_nothing_to_watch(imgmove: Run, command: str, option: str) -> None:
    ran = imgmove(command, option, "1", "example.com/a")
    assert ran.status == 2
    assert "no such option" in ran.stderr
    assert option not in imgmove(command, "--help").stdout


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("login", "--creds"),
        ("login", "--ssh-key"),
        ("logout", "--retries"),
        ("logout", "--timeout"),
        ("logout", "--plain-http"),
        ("serve", "--json"),
        ("serve", "--progress"),
        ("serve", "--jobs"),
    ],
)
def test_options_that_could_do_nothing(imgmove: Run, command: str, option: str) -> None:
    assert imgmove(command, option, "1", "example.com").status == 2
    assert option not in imgmove(command, "--help").stdout


@pytest.mark.parametrize("command", ["copy", "import", "mirror", "login", "serve", "bundle verify"])
def test_values_are_called_what_they_are(imgmove: Run, command: str) -> None:
    assert not re.search(r"<(str|int|float)>", imgmove(*command.split(), "--help").stdout)


@pytest.mark.parametrize(
    ("command", "first"),
    [("copy", "--to"), ("save", "--output"), ("load", "--input"), ("verify", "--key"), ("export", "--output")],
)
def test_own_options_come_first(imgmove: Run, command: str, first: str) -> None:
    shown = imgmove(command, "--help").stdout.partition("Options:")[2]
    assert first in shown.strip().splitlines()[0]


@pytest.mark.parametrize("written", ["http://{}", "https://{}/v2/", "{}/"])
def test_login_takes_an_address_as_docker_does(
    imgmove: Run, registry_factory: Callable[..., RegistryServer], tmp_path: Path, written: str
) -> None:
    server = registry_factory(Quirks(token=TokenAuth(users={"alice": "s3cret"})))
    file = tmp_path / "auth.json"
    ran = imgmove("login", written.format(server.host), "-u", "alice", "-p", "s3cret", "--authfile", file)
    assert (ran.status, ran.stdout) == (0, "Login succeeded\n")
    assert list(json.loads(file.read_text())["auths"]) == [server.host]
    assert imgmove("logout", written.format(server.host), "--authfile", file).status == 0
    assert json.loads(file.read_text())["auths"] == {}


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--authfile", "there is no credentials file gone"),
        ("--src-ca", "the certificate authority gone: no such file"),
        ("--ssh-key", "the private key gone: no such file"),
        ("--ssh-config", "the SSH configuration gone: no such file"),
    ],
)
def test_a_file_that_is_named_has_to_be_there(imgmove: Run, registry: RegistryServer, option: str, said: str) -> None:
    registry.put_image("app", "1")
    assert imgmove("inspect", f"{registry.host}/app:1", "-q").status == 0
    asked = len(registry.seen)
    ran = imgmove("inspect", f"{registry.host}/app:1", option, "gone")
    assert (ran.status, ran.stdout, ran.stderr) == (2, "", f"imgmove: {said}\n")
    assert len(registry.seen) == asked


def test_an_authfile_is_looked_at_even_if_nobody_asks_for_a_password(imgmove: Run, tmp_path: Path) -> None:
    (tmp_path / "auth.json").write_text("{")
    ran = imgmove("copy", "oci:x", "oci:y", "--authfile", "auth.json")
    assert (ran.status, "auth.json is not JSON" in ran.stderr) == (2, True)


def test_any_certificate_is_taken_without_a_word(imgmove: Run) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with RegistryServer(tls=context) as server:
        server.put_image("app", "1")
        ran = imgmove("tags", f"{server.host}/app", "--no-plain-http", "--no-tls-verify")
    assert (ran.status, ran.stdout, ran.stderr) == (0, "1\n", "")
