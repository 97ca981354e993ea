"""OpenSSH's client configuration: blocks, includes, defaults, and what a connection makes of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from imgmove.errors import ConfigError, UsageError
from imgmove.model.location import SshHost
from imgmove.model.ssh import SshAccess, SshTarget
from imgmove.wire.ssh import SshHosts
from imgmove.wire.ssh.config import find_target, parse_jump
from tests.real.requirements import require


@pytest.fixture
def access(tmp_path: Path) -> SshAccess:
    (tmp_path / ".ssh").mkdir()
    return SshAccess(str(tmp_path), "me", "/agent", (str(tmp_path / ".ssh" / "config"),))


def write(access: SshAccess, text: str, name: str = "config") -> Path:
    path = Path(access.home, ".ssh", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def find(access: SshAccess, text: str, host: str = "edge", user: str = "", port: int | None = None) -> SshTarget:
    write(access, text)
    return find_target(access, SshHost(host, user, port))


def test_without_a_file(access: SshAccess) -> None:
    found = find_target(access, SshHost("edge"))
    assert (found.host, found.port, found.user, found.known_as) == ("edge", 22, "me", "edge")
    assert found.agent == "/agent"
    assert found.uses_other_keys
    assert not found.accepts_new
    assert found.known_hosts_files[0] == f"{access.home}/.ssh/known_hosts"
    assert found.known_hosts_files[-1] == "/etc/ssh/ssh_known_hosts2"


def test_the_words_of_a_host(access: SshAccess) -> None:
    text = """
    Host edge web?
        HostName %h.example.com
        User ops
        Port 2222
        IdentityFile ~/.ssh/one
        IdentityFile "/keys/%r two"
        IdentitiesOnly yes
        IdentityAgent none
        UserKnownHostsFile ~/.ssh/mine /else
        GlobalKnownHostsFile none
        StrictHostKeyChecking accept-new
        HashKnownHosts yes
        ConnectTimeout 1m30s
        ServerAliveInterval 7
    Host *
        User nobody
        HostKeyAlias never
        Port = 99
    """
    found = find(access, text.replace("HostKeyAlias never\n", "\n"))
    assert (found.host, found.port, found.user) == ("edge.example.com", 2222, "ops")
    assert found.known_as == "[edge.example.com]:2222"
    assert found.identity_files == (f"{access.home}/.ssh/one", "/keys/ops two")
    assert not found.uses_other_keys
    assert found.agent == ""
    assert found.known_hosts_files == (f"{access.home}/.ssh/mine", "/else")
    assert (found.accepts_new, found.hashes_names) == (True, True)
    assert (found.connect_timeout, found.alive_interval) == (90, 7)
    other = find(access, text, "web12")
    assert (other.user, other.port, other.known_as) == ("nobody", 99, "never")


def test_what_was_typed_comes_first(access: SshAccess) -> None:
    found = find(access, "Host *\n  User ops\n  Port 2222\n", user="typed", port=1)
    assert (found.user, found.port, found.known_as) == ("typed", 1, "[edge]:1")
    keyed = find(replace(access, key="/k", known_hosts="/h"), "IdentityFile /other\nUserKnownHostsFile /x\n")
    assert (keyed.identity_files, keyed.known_hosts_files) == (("/k", "/other"), ("/h",))


def test_negation_and_match_host(access: SshAccess) -> None:
    text = "Host * !edge\n  User wrong\nHost edge\n  HostName real\nMatch host real\n  User right\n"
    assert find(access, text).user == "right"
    assert find(access, text, "other").user == "wrong"
    assert find(access, "User ops\nMatch originalhost edge user ops\n Port 7\n").port == 7


def test_includes(access: SshAccess) -> None:
    write(access, "Host edge\n  User included\nHost else\n  Port 1\n", "conf.d/10-a")
    write(access, "Host edge\n  Port 1010\n", "conf.d/20-b")
    # What follows an include belongs to the block in which it stands.
    found = find(access, "Include conf.d/*\nConnectTimeout 9\nHost other\n  Include conf.d/none\n  Port 5\n")
    assert (found.user, found.port, found.connect_timeout) == ("included", 1010, 9)


def test_an_include_holds_only_where_it_stands(access: SshAccess) -> None:
    write(access, "User included\nHost *\n  Port 7\n", "more")
    text = "Host edge\n  Include ~/.ssh/more\n  HostName after\nMatch host nowhere\n  Include more\n"
    found = find(access, text)
    assert (found.user, found.port, found.host) == ("included", 7, "after")
    other = find(access, text, "other")
    assert (other.user, other.port, other.host) == ("me", 22, "other")


def test_endless_includes_are_refused(access: SshAccess) -> None:
    with pytest.raises(ConfigError, match="without end"):
        find(access, "Include config\n")


def test_the_users_file_comes_before_the_systems(access: SshAccess, tmp_path: Path) -> None:
    system = tmp_path / "ssh_config"
    system.write_text("Host *\n  User system\n  Port 3\n")
    both = replace(access, config_files=(*access.config_files, str(system)))
    found = find(both, "Host edge\n  User mine\n")
    assert (found.user, found.port) == ("mine", 3)


@pytest.mark.parametrize(
    ("text", "jumps", "command"),
    [
        ("ProxyJump a,ops@b:2222\n", ("a", "ops@b:2222"), ""),
        ("ProxyJump none\n", (), ""),
        ("ProxyCommand nc %h %p # %%\n", (), "nc edge 22"),
        ("ProxyCommand none\n", (), ""),
        ("ProxyCommand nc %h %p\nProxyJump a\n", (), "nc edge 22"),
        ("ProxyJump a\nProxyCommand nc %h %p\n", ("a",), ""),
    ],
)
def test_ways_to_get_there(access: SshAccess, text: str, jumps: tuple[str, ...], command: str) -> None:
    found = find(access, text)
    assert (found.jumps, found.command) == (jumps, command)


def test_jumps_are_hosts() -> None:
    assert parse_jump("a") == SshHost("a")
    assert parse_jump("me@[::1]:2222") == SshHost("::1", "me", 2222)
    assert parse_jump("ssh://me@a:1/") == SshHost("a", "me", 1)
    assert parse_jump("me@corp@a") == SshHost("a", "me@corp")
    for text in ("", "-oProxyCommand=x", "a:b:c", "a b:c", "a;id", "u$(id)@a"):
        with pytest.raises(ConfigError):
            parse_jump(text)


_QUICKLY = """
import sys
from imgmove.wire.ssh.late import import_paramiko
import_paramiko()
import paramiko
assert "invoke" not in sys.modules
found = paramiko.SSHConfig.from_text("Match exec 'test 1 = 1'\\n User yes\\nMatch exec 'test 1 = 2'\\n Port 1").lookup("h")
assert found == {"hostname": "h", "user": "yes"}, found
assert "invoke" in sys.modules
"""


def test_what_runs_programs_is_imported_when_some_are_run() -> None:
    subprocess.run([sys.executable, "-c", _QUICKLY], check=True)


def test_a_host_through_itself_is_refused(access: SshAccess) -> None:
    write(access, "Host *\n  ProxyJump bastion\n")
    with pytest.raises(UsageError, match="through itself"):
        SshHosts(access).connection(SshHost("edge"))


@pytest.mark.parametrize("text", ["Port x\n", "Port 70000\n", "ConnectTimeout soon\n", "Host\n"])
def test_nonsense_is_one_clear_line(access: SshAccess, text: str) -> None:
    with pytest.raises(ConfigError):
        find(access, text)


def test_openssh_reads_it_the_same_way(access: SshAccess, tmp_path: Path) -> None:
    require("ssh-keygen")
    included = write(access, "Host edge\n  User inc\n", "inc")
    text = (
        f"Host edge\n  HostName real\nInclude {included}\nHost e* !edge\n  Port 1\nMatch host real user inc\n  Port 2222\n"
        "Host *\n  ConnectTimeout 4\n  UserKnownHostsFile /a /b\n  User late\n"
    )
    found = find(access, text)
    done = subprocess.run(
        ["ssh", "-G", "-F", access.config_files[0], "edge"], capture_output=True, text=True, check=True
    )
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert (said["hostname"], said["user"], said["port"]) == (found.host, found.user, str(found.port))
    assert said["userknownhostsfile"].split() == list(found.known_hosts_files[:2])
    assert float(said["connecttimeout"]) == found.connect_timeout
