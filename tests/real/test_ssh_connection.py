"""Connections to a real sshd: being let in, being refused clearly, and what flows over one connection."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from imgmove.errors import AccessDenied, ImgmoveError, NetworkError
from imgmove.model.ssh import SshAccess
from imgmove.streams import drain
from imgmove.wire.ssh import SshConnection, SshHosts
from imgmove.wire.ssh.errors import ConnectionBroke, NoSession
from tests.real.requirements import require
from tests.real.sshd import RealSshd, make_key, run_sshd

pytestmark = pytest.mark.real


@pytest.fixture
def hosts(sshd: RealSshd) -> Iterator[SshHosts]:
    found = SshHosts(sshd.access)
    yield found
    found.close()


@pytest.fixture
def connection(hosts: SshHosts, sshd: RealSshd) -> SshConnection:
    return hosts.connection(sshd.carrier)


def said_by(access: SshAccess, sshd: RealSshd, ask: dict[str, str] | None = None) -> str:
    """What a host answers to ``echo``, over a connection of its own."""
    answers = ask or {}
    asked = SshHosts(access, lambda text: next((answers[key] for key in answers if key in text), None))
    try:
        return asked.connection(sshd.carrier).run("echo in").output.decode().strip()
    finally:
        asked.close()


def echoed(connection: SshConnection) -> None:
    """Has content go there and back, much of it at a time."""
    content = os.urandom(3_000_000)
    with connection.execute("cat") as process:

        def send() -> None:
            process.write(content)
            process.close_input()

        sender = threading.Thread(target=send)
        sender.start()
        assert b"".join(iter(lambda: process.read(100_000), b"")) == content
        sender.join()
        assert process.wait() == 0


def test_a_program_has_streams_and_a_status(connection: SshConnection) -> None:
    done = connection.run("cat; echo 'something else' >&2; exit 3", b"content")
    assert (done.status, done.output, done.said) == (3, b"content", "something else")
    echoed(connection)


@pytest.mark.parametrize(
    "line",
    ["Ciphers aes256-gcm@openssh.com", "Ciphers aes192-ctr", "RekeyLimit 200K", "Ciphers aes128-ctr\nRekeyLimit 200K"],
)
def test_what_the_host_wants_of_encryption(line: str, tmp_path: Path) -> None:
    with run_sshd(tmp_path, line) as own:
        hosts = SshHosts(own.access)
        try:
            echoed(hosts.connection(own.carrier))
        finally:
            hosts.close()


def test_a_program_that_ends_where_new_keys_would_be_asked_for(connection: SshConnection) -> None:
    """Left alone, paramiko asks after 512 MiB, and breaks 30 s later when a channel is closed meanwhile."""
    size = (1 << 29) + (1 << 19)
    with connection.execute(f"head -c {size} /dev/zero") as process:
        assert sum(iter(lambda: len(process.read(1 << 20)), 0)) == size
        assert process.wait() == 0


def test_a_socket_that_the_host_opens(connection: SshConnection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = connection.connect_tcp("127.0.0.1", server.getsockname()[1])
        there, _ = server.accept()
        with there:
            stream.sendall(b"ping\n")
            assert there.recv(10) == b"ping\n"
            there.sendall(b"pong\nrest")
            with stream.makefile("rb") as file:
                assert file.readline() == b"pong\n"
        stream.close()
    with pytest.raises(NetworkError, match=r"can't reach 127\.0\.0\.1:1: connect failed"):
        connection.connect_tcp("127.0.0.1", 1)


def test_ports_that_the_host_listens_on(connection: SshConnection) -> None:
    with connection.listen() as one, connection.listen() as two:
        assert one.port != two.port
        for listener, word in ((two, b"two"), (one, b"one")):
            with socket.create_connection(("127.0.0.1", listener.port)) as there:
                there.sendall(word)
                stream = listener.accept(10)
                assert stream is not None
                assert stream.recv(10) == word
                stream.close()
        assert one.accept(0.01) is None
        two.close()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", two.port))
        with socket.create_connection(("127.0.0.1", one.port)):
            assert one.accept(10) is not None


def test_a_broken_connection_is_made_anew(connection: SshConnection, tmp_path: Path) -> None:
    with run_sshd(tmp_path) as own:
        hosts = SshHosts(own.access)
        mine = hosts.connection(own.carrier)
        process = mine.execute("sleep 100")
        listener = mine.listen()
        assert own.cut() == 1
        with pytest.raises(ConnectionBroke):
            drain(process.stream)
        with pytest.raises(ConnectionBroke):
            listener.accept(20)
        assert mine.run("echo again").output == b"again\n"
        hosts.close()
        with pytest.raises(NetworkError, match="ended"):
            mine.run("echo never")


def test_threads_share_few_sessions(tmp_path: Path) -> None:
    with run_sshd(tmp_path, "MaxSessions 2") as own:
        hosts = SshHosts(own.access)
        connection = hosts.connection(own.carrier)
        done: list[int] = []
        threads = [threading.Thread(target=lambda: done.append(connection.run("sleep 0.1").status)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert done == [0] * 6
        assert len(own.connections()) == 1
        hosts.close()


def test_no_session_at_all(tmp_path: Path) -> None:
    with run_sshd(tmp_path, "MaxSessions 0") as own, pytest.raises(NoSession, match="MaxSessions"):
        said_by(own.access, own)


def test_forwarding_may_be_forbidden(tmp_path: Path) -> None:
    with run_sshd(tmp_path, "AllowTcpForwarding no") as own:
        hosts = SshHosts(own.access)
        connection = hosts.connection(own.carrier)
        with pytest.raises(AccessDenied, match="makes no connection") as caught:
            connection.connect_tcp("127.0.0.1", own.port)
        assert "AllowTcpForwarding" in caught.value.hint
        with pytest.raises(AccessDenied, match="listens on no port"):
            connection.listen()
        assert connection.run("echo on").output == b"on\n"
        hosts.close()


# --- who we are


def test_a_wrong_key_is_refused(sshd: RealSshd, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    with pytest.raises(AccessDenied, match="lets nobody in with what was shown: 1 key") as caught:
        said_by(replace(sshd.access, key=str(tmp_path / "other")), sshd)
    assert caught.value.exit_status == 6
    assert "publickey" in caught.value.hint
    with pytest.raises(AccessDenied, match="no key"):
        said_by(replace(sshd.access, key="", home=str(tmp_path)), sshd)
    (tmp_path / "rubbish").write_text("rubbish")
    with pytest.raises(AccessDenied, match="is no key that can be used"):
        said_by(replace(sshd.access, key=str(tmp_path / "rubbish")), sshd)


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_an_encrypted_key(tmp_path: Path, kind: str) -> None:
    make_key(tmp_path / "user_key", "s3cret", kind)
    with run_sshd(tmp_path) as own:
        assert said_by(own.access, own, {"user_key": "s3cret"}) == "in"
        with pytest.raises(AccessDenied, match="needs a passphrase, and there is no terminal") as caught:
            said_by(own.access, own)
        assert "s3cret" not in str(caught.value)
        with pytest.raises(AccessDenied, match="needs another passphrase"):
            said_by(own.access, own, {"user_key": "wrong"})


def test_the_usual_keys_are_found(tmp_path: Path) -> None:
    with run_sshd(tmp_path) as own:
        home = tmp_path / "home"
        (home / ".ssh").mkdir(parents=True)
        (own.key).rename(home / ".ssh" / "id_ed25519")
        assert said_by(replace(own.access, key="", home=str(home)), own) == "in"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    require("ssh-keygen")
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        while not path.exists():
            assert process.poll() is None
        yield str(path)
    finally:
        process.terminate()
        process.wait(10)


def test_an_agent(sshd: RealSshd, agent: str, tmp_path: Path) -> None:
    bare = replace(sshd.access, key="", home=str(tmp_path), agent=agent)
    with pytest.raises(AccessDenied, match="no key"):
        said_by(bare, sshd)
    subprocess.run(["ssh-add", "-q", str(sshd.key)], env={**os.environ, "SSH_AUTH_SOCK": agent}, check=True)
    assert said_by(bare, sshd) == "in"
    config = tmp_path / "config"
    config.write_text(f"IdentitiesOnly yes\nIdentityFile {tmp_path / 'none'}\n")
    with pytest.raises(AccessDenied, match="no key; .*none is not there"):
        said_by(replace(bare, config_files=(str(config),)), sshd)
    # The public half says which of the agent's keys is meant.
    (tmp_path / "meant.pub").write_text(sshd.key.with_suffix(".pub").read_text())
    config.write_text(f"IdentitiesOnly yes\nIdentityFile {tmp_path / 'meant'}\nIdentityAgent {agent}\n")
    assert said_by(replace(bare, agent="", config_files=(str(config),)), sshd) == "in"


def test_too_many_keys(tmp_path: Path) -> None:
    with run_sshd(tmp_path, "MaxAuthTries 2") as own:
        for number in range(4):
            make_key(tmp_path / f"k{number}")
        own.config.write_text("".join(f"IdentityFile {tmp_path / f'k{number}'}\n" for number in range(4)))
        with pytest.raises(AccessDenied, match="ended the connection after") as caught:
            said_by(replace(own.access, key=""), own)
        assert "IdentitiesOnly" in caught.value.hint


# --- who the host is


def test_an_unknown_and_a_changed_host(sshd: RealSshd, tmp_path: Path) -> None:
    unknown = replace(sshd.access, known_hosts=str(tmp_path / "known"))
    with pytest.raises(AccessDenied, match="not known: ssh-ed25519 SHA256:") as caught:
        said_by(unknown, sshd)
    assert f"ssh-keyscan -p {sshd.port} 127.0.0.1 >> {tmp_path / 'known'}" in caught.value.hint
    assert not (tmp_path / "known").exists()
    make_key(tmp_path / "other")
    words = (tmp_path / "other.pub").read_text().split()[:2]
    (tmp_path / "known").write_text(f"[127.0.0.1]:{sshd.port} {' '.join(words)}\n")
    with pytest.raises(AccessDenied, match="another one than before") as caught:
        said_by(unknown, sshd)
    # The line that is shown does what it says.
    subprocess.run(caught.value.hint.partition(": ")[2].partition(",")[0], shell=True, check=True)
    with pytest.raises(AccessDenied, match="not known"):
        said_by(unknown, sshd)
    (tmp_path / "config").write_text("StrictHostKeyChecking accept-new\nHashKnownHosts yes\n")
    assert said_by(replace(unknown, config_files=(str(tmp_path / "config"),)), sshd) == "in"
    assert said_by(unknown, sshd) == "in"
    # OpenSSH finds what was written.
    name = f"[127.0.0.1]:{sshd.port}"
    found = subprocess.run(["ssh-keygen", "-F", name, "-f", str(tmp_path / "known")], capture_output=True, text=True)
    assert "found" in found.stdout


def test_only_the_rsa_key_is_known(tmp_path: Path) -> None:
    make_key(tmp_path / "rsa", kind="rsa")
    with run_sshd(tmp_path, f"HostKey {tmp_path / 'rsa'}") as own:
        words = (tmp_path / "rsa.pub").read_text().split()[:2]
        own.known_hosts.write_text(f"[127.0.0.1]:{own.port} {' '.join(words)}\n")
        assert said_by(own.access, own) == "in"


# --- on the way


def test_through_jump_hosts(sshd: RealSshd, tmp_path: Path) -> None:
    with run_sshd(tmp_path / "far") as far:
        known = tmp_path / "known"
        known.write_text(sshd.known_hosts.read_text() + far.known_hosts.read_text())
        config = tmp_path / "config"
        config.write_text(
            f"Host near\n  HostName 127.0.0.1\n  Port {sshd.port}\n  IdentityFile {sshd.key}\n"
            f"Host middle\n  HostName 127.0.0.1\n  Port {sshd.port}\n  IdentityFile {sshd.key}\n"
            f"Match host 127.0.0.1 originalhost 127.0.0.1\n  ProxyJump near,middle\n  IdentityFile {far.key}\n"
        )
        access = replace(sshd.access, key="", config_files=(str(config),), known_hosts=str(known))
        assert said_by(access, far) == "in"
        hosts = SshHosts(access)
        echoed(hosts.connection(far.carrier))
        hosts.close()
        config.write_text(config.read_text().replace("near,middle", "nowhere.invalid"))
        with pytest.raises(NetworkError, match="no such host: nowhere"):
            said_by(access, far)


def test_through_a_command(sshd: RealSshd, tmp_path: Path) -> None:
    config = tmp_path / "config"
    relay = tmp_path / "relay.py"
    relay.write_text(
        "import os, socket, sys, threading\n"
        "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n"
        "    while data := os.read(0, 65536): s.sendall(data)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while data := s.recv(65536): os.write(1, data)\n"
    )
    config.write_text(f"ProxyCommand python3 {relay} %h %p\n")
    access = replace(sshd.access, config_files=(str(config),))
    hosts = SshHosts(access)
    echoed(hosts.connection(sshd.carrier))
    hosts.close()
    config.write_text("ProxyCommand echo 'all went wrong' >&2; exit 1\n")
    with pytest.raises(NetworkError) as caught:
        said_by(access, sshd)
    assert "all went wrong" in str(caught.value)


def test_nobody_answers(sshd: RealSshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    hosts = SshHosts(sshd.access)
    with pytest.raises(NetworkError, match="refused the connection"):
        hosts.connection(replace(sshd.carrier, port=port)).run("true")
    with pytest.raises(ImgmoveError, match="no such host"):
        hosts.connection(replace(sshd.carrier, host="nowhere.invalid")).run("true")
