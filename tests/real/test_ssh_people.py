"""What ssh users have in their configuration and type at their terminals, through the command line."""

from __future__ import annotations

import os
import pty
import select
import socket
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from tests.images import build_image
from tests.real.fixtures import RealRegistry
from tests.real.sshd import RealSshd, make_key, run_sshd
from tests.real.test_ssh_files import make, refused, run

pytestmark = pytest.mark.real


@pytest.fixture
def layout(tmp_path: Path) -> str:
    make(tmp_path / "layout", build_image(), "app:1")
    return str(tmp_path / "layout")


def typed(words: list[str], environment: dict[str, str], answers: list[tuple[str, str]]) -> tuple[int, str]:
    """Runs imgmove at a terminal of its own, where somebody answers its questions; its status and all that showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-m", "imgmove", *words], environment)
    shown, asked, waiting = "", 0, list(answers)
    while select.select([terminal], [], [], 60)[0]:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        shown += data.decode(errors="replace")
        if waiting and (found := shown.find(waiting[0][0], asked)) >= 0:
            asked = found + 1
            os.write(terminal, f"{waiting.pop(0)[1]}\n".encode())
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


def test_a_passphrase_is_asked_for_at_the_terminal(layout: str, environment: dict[str, str], tmp_path: Path) -> None:
    make_key(tmp_path / "user_key", "open sesame")
    with run_sshd(tmp_path) as sshd:
        words = ["inspect", *sshd.options, "--digest", f"oci+ssh://{sshd.host}{layout}"]
        question = f"Passphrase for {sshd.key}: "
        status, shown = typed(words, environment, [(question, "wrong"), (question, "open sesame")])
        assert status == 0, shown
        assert "sha256:" in shown
        assert "sesame" not in shown, "what is typed doesn't show"
        status, shown = typed(words, environment, 4 * [(question, "wrong")])
        assert status == 6, shown
        assert "needs another passphrase" in shown


def test_two_jumps_by_an_included_file(
    sshd: RealSshd, plain_registry: RealRegistry, layout: str, environment: dict[str, str], tmp_path: Path
) -> None:
    with run_sshd(tmp_path / "middle") as middle, run_sshd(tmp_path / "far") as far:
        hosts = {"near": sshd, "middle": middle, "far": far}
        known, config = tmp_path / "known", tmp_path / "config"
        known.write_text("".join(host.known_hosts.read_text() for host in hosts.values()))
        (tmp_path / "more").write_text(
            "".join(
                f"Host {name}\n  HostName 127.0.0.1\n  Port {host.port}\n  IdentityFile {host.key}\n"
                for name, host in hosts.items()
            )
        )
        config.write_text(
            f"Include {tmp_path / 'more'}\nMatch originalhost far\n  ProxyJump near,middle\n"
            "Host *\n  IdentitiesOnly yes\n  ConnectTimeout 30\n"
        )
        alone = {**environment, "SSH_AUTH_SOCK": ""}

        def ran(*words: object) -> str:
            # No key on the command line, by which every host would let us in.
            options = ("--ssh-config", config, "--ssh-known-hosts", known)
            command = [sys.executable, "-m", "imgmove", *map(str, (*words, *options))]
            done = subprocess.run(command, capture_output=True, text=True, env=alone)
            assert done.returncode == 0, done.stderr
            return done.stdout

        place = f"registry+ssh://far/{plain_registry.host}/t{uuid.uuid4().hex[:8]}/app"
        ran("copy", f"oci+ssh://far{layout}:app:1", f"{place}:1")
        assert ran("tags", place) == "1\n"
        mirror = tmp_path / "mirror.yaml"
        copied = f"{plain_registry.host}/t{uuid.uuid4().hex[:8]}/copied"
        mirror.write_text(f"version: 1\nmirrors:\n  - source: {place}\n    destination: {copied}\n")
        ran("mirror", mirror)
        for log in (far, middle):
            assert "Accepted publickey" in (log.folder / "log").read_text()


def test_a_revoked_key_and_a_host_that_does_not_answer(
    sshd: RealSshd, layout: str, environment: dict[str, str], tmp_path: Path
) -> None:
    known = tmp_path / "known"
    line = sshd.known_hosts.read_text()
    known.write_text(f"{line}@revoked * {line.partition(' ')[2]}")
    far = f"oci+ssh://{sshd.host}{layout}"
    refused(run(environment, replace(sshd, known_hosts=known), "inspect", far), 6, "is revoked (SHA256:")
    # It takes connections and says nothing.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = tmp_path / "config"
        config.write_text("Host *\n  ConnectTimeout 1\n")
        mute = f"oci+ssh://127.0.0.1:{silent.getsockname()[1]}{layout}"
        done = run(environment, replace(sshd, config=config), "inspect", "--retries=0", mute)
        refused(done, 1, "not answer")
