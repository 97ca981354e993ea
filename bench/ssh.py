"""A layout on another host, written and read over SSH, beside scp on the same file."""

from __future__ import annotations

import contextlib
import getpass
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.images import build, noise
from bench.measure import Cost, Costs, in_turns, run_once
from bench.servers import free_port, slow_link, stopped_at_the_end, wait_for

_SIZE = 512 << 20
_SFTP_ALONE = "ForceCommand internal-sftp"


@dataclass(frozen=True, slots=True)
class SshRow:
    """One file of 512 MiB, one way.

    Attributes:
        verb: whether it is written to the other host, or read from it.
        target: how many times scp's time imgmove may take.
        round_trip: milliseconds.
        line: of sshd's configuration, before ours.
    """

    verb: str
    where: str
    target: float
    round_trip: float = 0
    line: str = ""

    @property
    def name(self) -> str:
        """What the row is called."""
        return f"512 MiB {self.verb} over SSH, {self.where}"


SSH_ROWS: Sequence[SshRow] = (
    SshRow("written", "loopback", 1.11),
    SshRow("read", "loopback", 1.11),
    SshRow("written", "40 ms round trip", 0.5, 40),
    SshRow("read", "40 ms round trip", 0.5, 40),
    SshRow("written", "a host that allows SFTP alone", 3.33, line=_SFTP_ALONE),
    SshRow("read", "a host that allows SFTP alone", 3.33, line=_SFTP_ALONE),
)


def measure(
    row: SshRow,
    folder: Path,
    environment: Mapping[str, str],
    rounds: int,
    others: Mapping[str, Callable[[], Cost]],
) -> dict[str, Costs]:
    """Costs of each program, ``others`` in turns with them; the file lies in an OCI layout, as its one layer."""
    layout = folder / "ssh-layout"
    if not layout.exists():
        build(layout, "image:1", (noise(_SIZE, number) for number in (1,)), is_gzipped=False)
    with contextlib.ExitStack() as stack:
        host = stack.enter_context(_sshd(folder / "sshd", row.line))
        if row.round_trip:
            host = stack.enter_context(slow_link(host, row.round_trip))
        # What imgmove says is there is on the disk, which scp leaves out; elsewhere the way takes longer than that.
        commands = _COMMANDS if row.where != "loopback" else {**_COMMANDS, "scp, then sync": _scp_and_sync}
        return in_turns(
            {
                **{name: partial(_run, row, folder, host, command, environment) for name, command in commands.items()},
                **others,
            },
            rounds,
        )


def _run(row: SshRow, folder: Path, host: str, command: Command, environment: Mapping[str, str]) -> Cost:
    out = folder / "ssh-out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    subprocess.run(["sync"], check=True)
    cost = run_once(command(row, folder, host, out), environment, folder)
    shutil.rmtree(out)
    return cost


Command = Callable[[SshRow, Path, str, Path], list[str]]


def _imgmove(row: SshRow, folder: Path, host: str, out: Path) -> list[str]:
    keys = folder / "sshd"
    known = _known(keys, host)
    options = ["--ssh-key", str(keys / "user"), "--ssh-known-hosts", str(known), "--ssh-config", str(keys / "empty")]
    far, here = f"oci+ssh://{getpass.getuser()}@{host}", f"oci:{folder / 'ssh-layout'}:image:1"
    if row.verb == "written":
        return ["imgmove", "copy", "-q", *options, here, f"{far}{out}/layout:1"]
    return ["imgmove", "copy", "-q", *options, f"{far}{folder / 'ssh-layout'}:image:1", f"oci:{out}/layout:1"]


def _scp(row: SshRow, folder: Path, host: str, out: Path) -> list[str]:
    keys = folder / "sshd"
    name, _, port = host.partition(":")
    known = f"UserKnownHostsFile={_known(keys, host)}"
    words = ["scp", "-q", "-F", "none", "-P", port, "-i", str(keys / "user"), "-o", known]
    file = max((folder / "ssh-layout" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    far = f"{getpass.getuser()}@{name}:"
    places = (str(file), f"{far}{out}/file") if row.verb == "written" else (f"{far}{file}", f"{out}/file")
    return [*words, *places]


def _scp_and_sync(row: SshRow, folder: Path, host: str, out: Path) -> list[str]:
    # Both ends are this machine.
    return ["sh", "-c", f"{shlex.join(_scp(row, folder, host, out))} && sync {shlex.quote(str(out / 'file'))}"]


_COMMANDS: Mapping[str, Command] = {"imgmove": _imgmove, "scp": _scp}


def _known(keys: Path, host: str) -> Path:
    name, _, port = host.partition(":")
    public = (keys / "host.pub").read_text().split()[:2]
    known = keys / "known_hosts"
    known.write_text(f"[{name}]:{port} {' '.join(public)}\n")
    return known


@contextlib.contextmanager
def _sshd(folder: Path, line: str) -> Iterator[str]:
    """An sshd with keys of its own; gives its host."""
    folder.mkdir(exist_ok=True)
    for name in ("host", "user"):
        if not (folder / name).exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "empty").touch()
    port = free_port()
    words = [
        *(line, f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {folder / 'host'}", "StrictModes no"),
        *(f"AuthorizedKeysFile {folder / 'user.pub'}", f"PidFile {folder / 'pid'}", "UsePAM no", "UseDNS no"),
        *("PermitRootLogin prohibit-password", "Subsystem sftp internal-sftp"),
    ]
    (folder / "config").write_text("\n".join(words) + "\n")
    Path("/run/sshd").mkdir(mode=0o755, parents=True, exist_ok=True)
    program = shutil.which("sshd") or "/usr/sbin/sshd"
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([program, "-D", "-e", "-f", str(folder / "config")], stderr=log)
    with stopped_at_the_end(process):
        wait_for(port, process)
        yield f"127.0.0.1:{port}"
