"""A real sshd on loopback, with keys of its own, started by whoever needs one and stopped by its pid."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from imgmove.model.location import SshHost
from imgmove.model.ssh import SshAccess
from imgmove.settings import Settings, SshOptions
from tests.real.requirements import absent, require

_PATIENCE = 20.0


@dataclass(frozen=True)
class RealSshd:
    """A running sshd, and what a client needs to be let in.

    Attributes:
        pid: of the one that listens; each connection has a child of its own.
        key: the user's private key.
        known_hosts: a file that holds the host's key.
        config: an empty client configuration.
    """

    port: int
    pid: int
    folder: Path
    key: Path
    known_hosts: Path
    config: Path

    @property
    def host(self) -> str:
        """As a location has it."""
        return f"{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def carrier(self) -> SshHost:
        """As a parsed location has it."""
        return SshHost("127.0.0.1", getpass.getuser(), self.port)

    @property
    def options(self) -> list[str]:
        """For the command line."""
        files = (("--ssh-key", self.key), ("--ssh-known-hosts", self.known_hosts), ("--ssh-config", self.config))
        return [str(word) for pair in files for word in pair]

    @property
    def access(self) -> SshAccess:
        """For the wire."""
        return SshAccess(
            home=str(self.folder),
            user=getpass.getuser(),
            config_files=(str(self.config),),
            key=str(self.key),
            known_hosts=str(self.known_hosts),
            timeout=20,
        )

    def settings(self, settings: Settings) -> Settings:
        """Settings that get in."""
        return replace(settings, ssh=SshOptions(str(self.key), str(self.known_hosts), str(self.config)))

    def connections(self) -> list[int]:
        """The processes that serve connections."""
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.pid)], capture_output=True, text=True)
        return [int(word) for word in found.stdout.split()]

    def cut(self) -> int:
        """Ends all connections, as a broken line would; returns how many there were."""
        pids = self.connections()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                # The child that serves the session may be one further down, or this one, which would say that its program ended.
                os.kill(pid, signal.SIGSTOP)
                subprocess.run(["pkill", "-KILL", "-P", str(pid)])
                os.kill(pid, signal.SIGKILL)
        return len(pids)


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSshd]:
    """One for all tests of a worker; each test uses folders of its own."""
    with run_sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@contextmanager
def run_sshd(folder: Path, *lines: str, sftp: bool = True, port: int | None = None) -> Iterator[RealSshd]:
    """Runs an sshd until the block ends.

    Args:
        lines: of its configuration, before our own (the first of a kind counts).
        port: when an earlier one's is to be used again.
    """
    require("sshd", "ssh-keygen")
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program
    if os.getuid() == 0:
        try:
            pwd.getpwnam("sshd")
        except KeyError:
            absent("a user of the name sshd, without whom sshd refuses to start; openssh-server makes one")
        Path("/run/sshd").mkdir(mode=0o755, parents=True, exist_ok=True)
    port = port or _free_port()
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host_key", "user_key"):
        if not (folder / name).exists():
            make_key(folder / name)
    public = (folder / "host_key.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {' '.join(public)}\n")
    (folder / "client_config").write_text("")
    (folder / "sshd_config").write_text("\n".join([*lines, *_configuration(folder, port, sftp=sftp)]) + "\n")
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([program, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    running = RealSshd(port, process.pid, folder, folder / "user_key", folder / "known_hosts", folder / "client_config")
    try:
        _wait(port, process, folder / "log")
        yield running
    finally:
        running.cut()
        process.terminate()
        process.wait(10)


def make_key(path: Path, passphrase: str = "", kind: str = "ed25519") -> None:
    """A new key pair."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(path)], check=True)


def _configuration(folder: Path, port: int, *, sftp: bool) -> Iterator[str]:
    yield f"Port {port}"
    yield "ListenAddress 127.0.0.1"
    yield f"HostKey {folder / 'host_key'}"
    yield f"AuthorizedKeysFile {folder / 'user_key.pub'}"
    yield f"PidFile {folder / 'sshd.pid'}"
    yield from ("UsePAM no", "StrictModes no", "UseDNS no", "PermitRootLogin prohibit-password")
    yield "PasswordAuthentication no"
    # Many workers connect at once.
    yield "MaxStartups 100:30:200"
    if sftp:
        yield "Subsystem sftp internal-sftp"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            pytest.fail(f"sshd ended with status {process.returncode}: {log.read_text(errors='replace')[-500:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    pytest.fail("sshd did not begin to listen")
