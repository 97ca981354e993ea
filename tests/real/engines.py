"""Real container engines for tests, on sockets and in folders of their own; root is needed for them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.real.requirements import newer_programs, require

_PATIENCE = 60.0


@dataclass(frozen=True)
class RealEngine:
    """A running engine, and its own client for looking at what is in it.

    Attributes:
        scheme: of its locations.
        options: of its locations.
        client: the words that its client's commands begin with.
        keeps_manifests: whether digests survive in it.
    """

    name: str
    scheme: str
    options: str
    client: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    socket: str = ""
    keeps_manifests: bool = False

    def at(self, name: str) -> str:
        """An image of this engine as a location."""
        return f"{self.scheme}:{name}?{self.options}"

    def do(self, *words: str, stdin: bytes = b"", check: bool = True) -> str:
        """Runs the client."""
        done = subprocess.run(
            [*self.client, *words], input=stdin, capture_output=True, env={**os.environ, **self.variables}
        )
        assert not check or done.returncode == 0, f"{words}: {done.stderr.decode(errors='replace')}"
        return done.stdout.decode().strip()

    def names(self) -> list[str]:
        """Every name of an image, whatever it was that made it."""
        return sorted(self.do("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split())

    def diff_ids(self, name: str) -> list[str]:
        """The layers of an image, as the engine tells them."""
        found: list[str] = json.loads(self.do("image", "inspect", name))[0]["RootFS"]["Layers"]
        return found

    def shown(self, name: str) -> str:
        """How `names` shows a short name."""
        return name

    def load(self, archive: Path) -> None:
        """Loads an archive with the engine's own means."""
        self.do("load", "-q", "-i", str(archive))

    def pull(self, name: str) -> None:
        """Pulls from a registry."""
        self.do("pull", "-q", name)

    def clean(self) -> None:
        """Removes all images."""
        identities = self.do("image", "ls", "-q", "--no-trunc").split()
        if identities:
            self.do("image", "rm", "-f", *dict.fromkeys(identities), check=False)
        self.do("image", "prune", "-af", check=False)

    def hello(self, name: str) -> str:
        """What a container of an image says."""
        return self.do("run", "--rm", "--network", "none", name)


def _check_root() -> None:
    if os.geteuid() != 0 or platform.machine() != "x86_64":
        pytest.skip("engines are started as root, on amd64")


_IN_OWN_NETWORK = """
import fcntl, os, socket, struct, sys
up = struct.pack("16sh14x", b"lo", 0x49)  # IFF_UP, IFF_LOOPBACK, IFF_RUNNING
fcntl.ioctl(socket.socket(), 0x8914, up)  # SIOCSIFFLAGS
os.execvp(sys.argv[1], sys.argv[1:])
"""


def in_own_network() -> tuple[str, ...]:
    """What begins the command of a program that has a loopback interface of its own, as rootless engines have."""
    return ("unshare", "-n", sys.executable, "-c", _IN_OWN_NETWORK)


@contextmanager
def run_dockerd(
    folder: Path, *flags: str, path: str = "", keeps_manifests: bool = False, start: Sequence[str] = ()
) -> Iterator[RealEngine]:
    """Runs a docker daemon over a folder until the block ends.

    Args:
        start: the words that its command begins with.
    """
    _check_root()
    socket = folder / "docker.sock"
    words = [
        *start,
        *("dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false"),
        *("--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")),
        *("-H", f"unix://{socket}", "--pidfile", str(folder / "docker.pid"), *flags),
    ]
    variables = {"PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **variables})
    client = ("docker", "-H", f"unix://{socket}")
    options = f"socket={socket}"
    engine = RealEngine(
        folder.name, "docker-daemon", options, client, socket=str(socket), keeps_manifests=keeps_manifests
    )
    try:
        _wait([*client, "version"], process, folder / "log")
        yield engine
    finally:
        process.terminate()
        process.wait(30)


def _wait(words: Sequence[str], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while subprocess.run(words, capture_output=True).returncode:
        if process.poll() is not None or time.monotonic() > end:
            pytest.fail(f"an engine did not begin to answer: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.2)


@pytest.fixture(scope="session")
def docker20(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEngine]:
    """Debian's docker, whose store is the classic one."""
    require("dockerd", "docker")
    with run_dockerd(tmp_path_factory.mktemp("docker20"), "--storage-driver", "overlay2") as engine:
        yield engine


@pytest.fixture(scope="session")
def docker26(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEngine]:
    """A newer docker with the classic store."""
    require("docker")
    path = newer_programs()
    with run_dockerd(tmp_path_factory.mktemp("docker26"), "--storage-driver", "overlay2", path=path) as engine:
        yield engine


@pytest.fixture(scope="session")
def docker26_containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEngine]:
    """A newer docker with containerd's store."""
    require("docker")
    path, folder = newer_programs(), tmp_path_factory.mktemp("docker26c")
    (folder / "daemon.json").write_text('{"features": {"containerd-snapshotter": true}}')
    flags = ("--config-file", str(folder / "daemon.json"))
    with run_dockerd(folder, *flags, path=path, keeps_manifests=True) as engine:
        yield engine


class PodmanEngine(RealEngine):
    """Podman, whose short names stand below ``localhost``."""

    def shown(self, name: str) -> str:
        return f"localhost/{name}"

    def pull(self, name: str) -> None:
        self.do("pull", "-q", "--tls-verify=false", name)

    def hello(self, name: str) -> str:
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
        return self.do("run", "--rm", "--network", "none", *limits, name)

    def names(self) -> list[str]:
        return [name for name in super().names() if name != "<none>:<none>"]

    def diff_ids(self, name: str) -> list[str]:
        found: list[str] = json.loads(self.do("image", "inspect", name))[0]["RootFS"]["Layers"]
        return found


class ContainerdEngine(RealEngine):
    """Containerd, whose client knows full names alone."""

    def shown(self, name: str) -> str:
        return name if "/" in name else f"docker.io/library/{name}"

    def names(self) -> list[str]:
        return sorted(self.do("images", "ls", "-q").split())

    def load(self, archive: Path) -> None:
        self.do("images", "import", str(archive))

    def pull(self, name: str) -> None:
        self.do("images", "pull", "--plain-http", name)

    def clean(self) -> None:
        if names := self.names():
            self.do("images", "rm", "--sync", *names)

    def content(self, digest: str) -> dict[str, Any]:
        """A document in the store."""
        found: dict[str, Any] = json.loads(self.do("content", "get", digest))
        return found

    def diff_ids(self, name: str) -> list[str]:
        lines = self.do("images", "check").splitlines()
        (line,) = [line for line in lines if line.split()[0] == self.shown(name)]
        assert " complete " in line, line
        assert line.split()[-1] == "true", "it is not unpacked"
        manifest = self.content(line.split()[2])
        found: list[str] = self.content(manifest["config"]["digest"])["rootfs"]["diff_ids"]
        return found

    def hello(self, name: str) -> str:
        return self.do("run", "--rm", "--runc-binary", "runc", self.shown(name), f"c{time.monotonic_ns()}")


@pytest.fixture(scope="session")
def podman4() -> Iterator[RealEngine]:
    """Debian's podman, with its service on a socket."""
    require("podman")
    _check_root()
    # Podman takes no long paths.
    with tempfile.TemporaryDirectory(prefix="imgmove-", ignore_cleanup_errors=True) as folder:
        yield from _podman(Path(folder))


def _podman(folder: Path) -> Iterator[RealEngine]:
    socket = folder / "podman.sock"
    words = [
        *("podman", "--root", str(folder / "root"), "--runroot", str(folder / "run"), "--tmpdir", str(folder / "tmp")),
        *("--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "none"),
        *("--runtime", "runc"),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*words, "system", "service", "-t", "0", f"unix://{socket}"], stdout=log, stderr=subprocess.STDOUT
        )
    client = ("podman", "--url", f"unix://{socket}")
    try:
        _wait([*client, "version"], process, folder / "log")
        yield PodmanEngine("podman4", "podman", f"socket={socket}", tuple(words), socket=str(socket))
    finally:
        # It would take three seconds to end by itself, and nothing of it is used again.
        process.kill()
        process.wait(30)
        subprocess.run(["umount", str(folder / "root" / "overlay")], capture_output=True)


@pytest.fixture(scope="session")
def containerd1(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEngine]:
    """Debian's containerd."""
    require("containerd", "ctr")
    _check_root()
    folder = tmp_path_factory.mktemp("containerd")
    socket = folder / "containerd.sock"
    (folder / "config.toml").write_text(
        "\n".join(
            (
                "version = 2",
                f'root = "{folder / "root"}"',
                f'state = "{folder / "state"}"',
                'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
                f'[grpc]\naddress = "{socket}"',
                f'[plugins."io.containerd.internal.v1.opt"]\npath = "{folder / "opt"}"',
            )
        )
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["containerd", "-c", str(folder / "config.toml")], stdout=log, stderr=subprocess.STDOUT
        )
    client = ("ctr", "-a", str(socket), "-n", "tests")
    try:
        _wait([*client, "version"], process, folder / "log")
        options = f"socket={socket}&namespace=tests"
        yield ContainerdEngine("containerd1", "containerd", options, client, socket=str(socket), keeps_manifests=True)
    finally:
        process.terminate()
        process.wait(30)
