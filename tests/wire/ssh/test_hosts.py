"""known_hosts files: hashed names, ports, patterns, revoked keys, authorities, and what is refused how."""

from __future__ import annotations

import base64
import os
from dataclasses import replace
from pathlib import Path

import pytest

from imgmove.errors import AccessDenied
from imgmove.model.ssh import SshTarget
from imgmove.wire.ssh.hosts import HostKey, KnownHosts, hashed

KEY = HostKey("ssh-ed25519", b"one")
OTHER = HostKey("ssh-ed25519", b"two")
RSA = HostKey("ssh-rsa", b"three")


@pytest.fixture
def target(tmp_path: Path) -> SshTarget:
    return SshTarget("me@edge", "edge", 22, "me", "edge", known_hosts_files=(str(tmp_path / "known"),))


def line(names: str, key: HostKey = KEY, marker: str = "") -> str:
    return f"{marker}{names} {key.kind} {base64.b64encode(key.blob).decode()} comment\n"


def known(target: SshTarget, *lines: str) -> KnownHosts:
    Path(target.known_hosts_files[0]).write_text("# a comment\n\nrubbish\nedge ssh-ed25519 !!!\n" + "".join(lines))
    return KnownHosts(target)


@pytest.mark.parametrize("names", ["edge", "other,edge", "ed*", "?dge", "EDGE", "*,!other", hashed("edge", b"0" * 20)])
def test_a_known_host(target: SshTarget, names: str) -> None:
    assert known(target, line(names)).check(KEY) == ""


@pytest.mark.parametrize(
    "names", ["other", "*,!edge", "[edge]:2222", hashed("other", b"0" * 20), "|1||", "|1|x", "e", "edgee"]
)
def test_an_unknown_host(target: SshTarget, names: str) -> None:
    with pytest.raises(AccessDenied, match="not known: ssh-ed25519 SHA256:") as caught:
        known(target, line(names)).check(KEY)
    assert f"ssh-keyscan edge >> {target.known_hosts_files[0]}" in caught.value.hint
    assert caught.value.exit_status == 6


def test_a_host_with_a_port(target: SshTarget) -> None:
    ported = replace(target, port=2222, known_as="[edge]:2222")
    assert known(ported, line("[edge]:2222")).check(KEY) == ""
    assert known(ported, line(hashed("[edge]:2222"))).check(KEY) == ""
    with pytest.raises(AccessDenied) as caught:
        known(ported, line("edge")).check(KEY)
    assert "ssh-keyscan -p 2222 edge" in caught.value.hint
    with pytest.raises(AccessDenied) as caught:
        known(replace(ported, jumps=("a",)), line("edge")).check(KEY)
    assert "connect once with ssh me@edge" in caught.value.hint
    with pytest.raises(AccessDenied) as caught:
        known(replace(ported, known_as="alias", name="me@[::1]:2222"), line("edge")).check(KEY)
    assert "connect once with ssh -p 2222 me@::1" in caught.value.hint


def test_a_changed_key(target: SshTarget) -> None:
    with pytest.raises(AccessDenied, match="another one than before") as caught:
        known(replace(target, accepts_new=True), line("edge", OTHER)).check(KEY)
    assert f"ssh-keygen -f {target.known_hosts_files[0]} -R 'edge'" in caught.value.hint
    assert "line 5" in caught.value.message
    with pytest.raises(AccessDenied, match="another one"):
        known(target, line("edge", RSA)).check(KEY)
    assert known(target, line("edge", OTHER), line("edge")).check(KEY) == ""


def test_a_revoked_key(target: SshTarget) -> None:
    with pytest.raises(AccessDenied, match="revoked"):
        known(target, line("edge"), line("*", marker="@revoked ")).check(KEY)
    assert known(target, line("edge"), line("*", OTHER, marker="@revoked ")).check(KEY) == ""


@pytest.mark.parametrize("accepts_new", [False, True])
def test_an_authority_is_not_enough(target: SshTarget, accepts_new: bool) -> None:
    with pytest.raises(AccessDenied, match="only an authority is known"):
        known(replace(target, accepts_new=accepts_new), line("*", OTHER, marker="@cert-authority ")).check(KEY)


def test_the_kinds_of_keys_that_are_known(target: SshTarget) -> None:
    assert known(target, line("edge", RSA), line("edge"), line("other")).kinds == ("ssh-rsa", "ssh-ed25519")


@pytest.mark.parametrize("is_hashed", [False, True])
def test_a_new_host_is_remembered_when_asked_to(target: SshTarget, is_hashed: bool, tmp_path: Path) -> None:
    path = tmp_path / "new" / "known"
    trusting = replace(target, accepts_new=True, hashes_names=is_hashed, known_hosts_files=(str(path),))
    assert "new and trusted" in KnownHosts(trusting).check(KEY)
    assert (b"edge" in path.read_bytes()) != is_hashed
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert KnownHosts(target=replace(trusting, accepts_new=False)).check(KEY) == ""
    path.write_text(line("another").rstrip("\n"))
    KnownHosts(trusting).check(KEY)
    assert KnownHosts(replace(trusting, accepts_new=False)).check(KEY) == ""
    assert KnownHosts(replace(trusting, known_as="another")).check(KEY) == ""
