"""Programs on hosts whose users have other shells than most, or shells that talk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from imgmove.ports import read_all
from imgmove.wire.remote_machine import RemoteMachine
from imgmove.wire.ssh import SshHosts
from tests.real.requirements import require
from tests.real.sshd import RealSshd, run_sshd
from tests.real.test_ssh_files import refused, run, shell

pytestmark = pytest.mark.real

WORDS = ["", "a b", "it's", "a\\'b\\", "!x", '$HOME `x` "q" é', "{a,b} *", "~", "-n", "a;b|c&d<e>f#g"]


@pytest.mark.parametrize("name", ["sh", "bash -r", "tcsh", "fish"])
def test_words_come_through_any_shell(tmp_path: Path, name: str) -> None:
    require(name.split(maxsplit=1)[0])
    with run_sshd(tmp_path / "sshd", shell(tmp_path, "server", f'exec {name} -c "$SSH_ORIGINAL_COMMAND"')) as sshd:
        hosts = SshHosts(sshd.access)
        with (
            closing(hosts),
            closing(RemoteMachine(hosts.connection(sshd.carrier)).start(["printf", "%s\\n", *WORDS])) as it,
        ):
            assert read_all(it, 1 << 20).decode().splitlines() == WORDS
            assert it.wait() == (0, "")


@pytest.fixture
def talking(tmp_path: Path) -> Iterator[RealSshd]:
    """A host that greets whoever starts a program."""
    with run_sshd(tmp_path / "sshd", shell(tmp_path, "server", 'echo Welcome; eval "$SSH_ORIGINAL_COMMAND"')) as sshd:
        yield sshd


def test_a_shell_that_speaks_before_an_engine_does(talking: RealSshd, environment: dict[str, str]) -> None:
    for scheme in ("docker-daemon", "podman", "containerd"):
        done = run(environment, talking, "inspect", f"{scheme}+ssh://{talking.host}/app:1")
        refused(done, 1, "source: ", "greets with: Welcome", "prints at the start")
