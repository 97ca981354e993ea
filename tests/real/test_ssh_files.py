"""Layouts, archives and registries by way of a real sshd: what it costs, what it survives, and what it says."""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from imgmove.endpoints.layout import Layout
from imgmove.wire.files import LocalFiles
from imgmove.wire.files.remote import RemoteFiles
from imgmove.wire.files.remote_flows import IN_FLIGHT
from imgmove.wire.ssh import Sftp, SshHosts
from imgmove.wire.ssh.sftp_session import Answer
from tests.images import BuiltImage, build_image
from tests.real.counted_link import CountedLink
from tests.real.fixtures import RealRegistry
from tests.real.requirements import require
from tests.real.sshd import RealSshd, make_key, run_sshd

pytestmark = pytest.mark.real

ODD = '-odd; $(touch x) "it\'s" !new\\\nline é'
"""A name that no shell may take for anything else."""

LAYERS = [{f"file{number}": random.Random(number).randbytes(3 << 20)} for number in range(4)]


def run(environment: dict[str, str], sshd: RealSshd, *words: object) -> subprocess.CompletedProcess[str]:
    """Runs imgmove without a terminal."""
    command = [sys.executable, "-m", "imgmove", str(words[0]), *sshd.options, *map(str, words[1:])]
    return subprocess.run(command, capture_output=True, text=True, env=environment, start_new_session=True)


def make(folder: Path, image: BuiltImage, name: str) -> str:
    """An image in a local layout."""
    image.put(Layout.writable(LocalFiles(), str(folder)), name)
    return f"oci:{folder}:{name}"


@contextmanager
def counted(sshd: RealSshd) -> Iterator[tuple[RealSshd, CountedLink]]:
    """The same host by way of a counter."""
    counter = CountedLink(sshd.port)
    try:
        yield known_as(sshd, counter.port), counter
    finally:
        counter.close()


def known_as(sshd: RealSshd, port: int) -> RealSshd:
    """The same host by way of another port."""
    known = sshd.folder / f"known{port}"
    known.write_text(sshd.known_hosts.read_text().replace(f":{sshd.port} ", f":{port} "))
    return replace(sshd, port=port, known_hosts=known)


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_only_what_is_missing_is_moved(sshd: RealSshd, environment: dict[str, str], tmp_path: Path, kind: str) -> None:
    one, two = build_image(LAYERS[:3]), build_image(LAYERS)
    make(tmp_path / "local", one, "app:1")
    make(tmp_path / "local", two, "app:2")
    missing = sum(len(content) for digest, content in two.blobs.items() if digest not in one.blobs)
    with counted(sshd) as (host, counter):

        def cost(*words: str) -> int:
            counter.bytes = 0
            done = run(environment, host, "copy", "-q", *words)
            assert done.returncode == 0, done.stderr
            return counter.bytes

        far = f"{kind}+ssh://{host.host}{tmp_path / 'far'}"
        first, second = (f"oci:{tmp_path / 'local'}:app:{number}" for number in (1, 2))
        if kind == "oci":
            cost(first, f"{far}:app:1")
            assert cost(second, f"{far}:app:2") < missing * 1.03 + (64 << 10)
            assert cost(second, f"{far}:app:2") < 64 << 10
        else:
            whole = sum(len(content) for content in {**one.blobs, **two.blobs}.values())
            assert cost(first, second, far) < whole * 1.03 + (64 << 10)
        cost(f"{far}:app:1", f"oci:{tmp_path / 'back'}:app:1")
        assert cost(f"{far}:app:2", f"oci:{tmp_path / 'back'}:app:2") < missing * 1.03 + (64 << 10)
        assert cost(f"{far}:app:2", f"oci:{tmp_path / 'back'}:app:2") < 64 << 10


@pytest.mark.parametrize("line", ["", "ForceCommand internal-sftp", "MaxSessions 1"])
@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_content_is_proven_where_it_lies(environment: dict[str, str], tmp_path: Path, kind: str, line: str) -> None:
    image = build_image(LAYERS)
    local = make(tmp_path / ODD, image, "app:1")
    place = tmp_path / ODD
    if kind == "oci-archive":
        place = tmp_path / "it's.tar"
        subprocess.run(
            [sys.executable, "-m", "imgmove", "copy", "-q", local, f"{kind}:{place}:app:1"], check=True, env=environment
        )
    with run_sshd(tmp_path / "sshd", line) as sshd, counted(sshd) as (host, counter):
        done = run(environment, host, "verify", f"{kind}+ssh://{host.host}{place}:app:1")
        assert done.returncode == 0, done.stderr
        # Whoever has no shell or no session for it reads; the last bytes are counted when they are through.
        total = sum(len(content) for content in image.blobs.values())
        assert counter.bytes > total * 0.9 if line else counter.bytes < 64 << 10
        for file in place.glob("blobs/sha256/*") if kind == "oci" else [place]:
            if file.stat().st_size > 1 << 20:
                with file.open("r+b") as opened:
                    opened.seek(1 << 20)
                    opened.write(b"wrong")
        refused(run(environment, host, "verify", f"{kind}+ssh://{host.host}{place}:app:1"), 4, "source: ")
    assert not (tmp_path / "x").exists()


def shell(folder: Path, sftp: str, other: str) -> str:
    """A line for sshd that has it do something else where SFTP is asked for, and where anything else is."""
    (folder / "shell").write_text(
        "#!/bin/sh\nserver() { for d in /usr/lib/openssh /usr/libexec/openssh /usr/libexec /usr/lib/ssh; do "
        '[ -x $d/sftp-server ] && exec $d/sftp-server; done; }\ncase "$SSH_ORIGINAL_COMMAND" in\n'
        f"  *sftp*) {sftp};;\n  *) {other};;\nesac\n"
    )
    (folder / "shell").chmod(0o755)
    return f"ForceCommand {folder / 'shell'}"


@pytest.mark.parametrize(
    ("other", "hashes"),
    [
        ('echo Welcome; printf "on the edge"; exec /bin/sh', True),
        ('exec tcsh -c "$SSH_ORIGINAL_COMMAND"', True),
        ('exec fish -c "$SSH_ORIGINAL_COMMAND"', True),
        ('exec bash -r -c "$SSH_ORIGINAL_COMMAND"', True),
        ("exec cat", False),
        ("yes | head -n 9999", False),
        ("PATH=/nowhere; exec /bin/sh", False),
        ("echo This account is not available; exit 1", False),
        ("echo Unmatched quote. >&2; kill -9 $$", False),
        ("exec sleep 100", False),
    ],
    ids=["banner", "tcsh", "fish", "restricted", "echo", "noise", "no programs", "no login", "killed", "silence"],
)
def test_a_shell_of_another_kind(environment: dict[str, str], tmp_path: Path, other: str, hashes: bool) -> None:
    require("tcsh", "fish", "bash")
    make(tmp_path / ODD, build_image(LAYERS[:1]), "app:1")
    with run_sshd(tmp_path / "sshd", shell(tmp_path, "server", other)) as sshd, counted(sshd) as (host, counter):
        far = f"oci+ssh://{host.host}{tmp_path / ODD}:app:1"
        # One that says nothing is not waited for; the others may be busy.
        done = run(environment, host, "verify", "--timeout", "20" if hashes else "1", far)
        assert done.returncode == 0, done.stderr
        # Whoever can't have the content hashed there reads it.
        assert counter.bytes < 64 << 10 if hashes else counter.bytes > 2 << 20
        if hashes:
            largest = max((tmp_path / ODD / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
            largest.write_bytes(bytes(largest.stat().st_size))
            refused(run(environment, host, "verify", "-q", far), 4, "source: ")


def test_a_shell_that_speaks_where_sftp_should(small: str, environment: dict[str, str], tmp_path: Path) -> None:
    with run_sshd(tmp_path / "sshd", shell(tmp_path, "echo Welcome to the edge; server", "true")) as sshd:
        far = f"oci+ssh://{sshd.host}{tmp_path / 'far'}:app:1"
        refused(run(environment, sshd, "copy", small, far), 1, "sends what is no SFTP", "prints at the start")


def leftovers(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".imgmove-*"))


def whole_blobs(folder: Path) -> bool:
    """Whether every blob that shows has the content of its name."""
    import hashlib

    blobs = [path for path in folder.glob("blobs/sha256/*") if not path.name.startswith(".imgmove-")]
    return all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in blobs)


def begin(environment: dict[str, str], sshd: RealSshd, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "imgmove", "copy", *sshd.options, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def pair(host: RealSshd, tmp_path: Path, *, writing: bool) -> tuple[str, str]:
    """A source with an image of many bytes, and a place for it, one of which is on the host."""
    local = make(tmp_path / "local", build_image(LAYERS), "app:1")
    far = f"oci+ssh://{host.host}{tmp_path / ('far' if writing else 'local')}:app:1"
    return (local, far) if writing else (far, f"oci:{tmp_path / 'far'}:app:1")


@pytest.mark.parametrize("writing", [True, False], ids=["writing", "reading"])
def test_a_cut_connection_is_gone_on_with(
    tmp_path: Path, sshd: RealSshd, environment: dict[str, str], writing: bool
) -> None:
    far = tmp_path / "far"
    with run_sshd(tmp_path / "sshd") as own, counted(own) as (host, link):
        ended: list[int] = []

        def cut() -> None:
            ended.append(own.cut() if whole_blobs(far) else 0)
            # What the system still had of the old connection would count for the new one.
            link.cut()
            link.cut_after = 3 << 20 if len(ended) < 2 else None

        link.cut_after, link.then = 3 << 20, cut
        done = run(environment, host, "copy", *pair(host, tmp_path, writing=writing))
        assert done.returncode == 0, done.stderr
        assert ended == [1, 1]
        assert link.bytes > sum(len(content) for layer in LAYERS for content in layer.values())
    done = run(environment, sshd, "verify", f"oci:{far}:app:1")
    assert done.returncode == 0, done.stderr
    assert leftovers(far) == []


@pytest.mark.parametrize("writing", [True, False], ids=["writing", "reading"])
def test_a_connection_that_falls_silent_is_gone_on_with(
    tmp_path: Path, sshd: RealSshd, environment: dict[str, str], writing: bool
) -> None:
    with counted(sshd) as (host, link):
        link.cut_after, link.then = 5 << 20, link.freeze
        done = run(environment, host, "copy", "--timeout", "1", *pair(host, tmp_path, writing=writing))
        assert done.returncode == 0, done.stderr
        assert link.cuts == 1
    done = run(environment, sshd, "verify", f"oci:{tmp_path / 'far'}:app:1")
    assert done.returncode == 0, done.stderr


def test_an_archive_on_another_host_is_gone_on_with(
    tmp_path: Path, sshd: RealSshd, environment: dict[str, str]
) -> None:
    image = build_image(LAYERS)
    local = make(tmp_path / "local", image, "app:1")
    total = sum(len(content) for content in image.blobs.values())
    with counted(sshd) as (host, link):
        link.cut_after = total // 2
        far = f"oci-archive+ssh://{host.host}{tmp_path / 'far.tar'}:app:1"
        done = run(environment, host, "copy", local, far)
        assert (done.returncode, link.cuts) == (0, 1), done.stderr
        # Sent twice: what was under way when the line broke.
        assert total < link.bytes < total + IN_FLIGHT + (1 << 20)
        back = f"oci:{tmp_path / 'back'}:app:1"
        link.bytes, link.cut_after = 0, total // 2
        done = run(environment, host, "copy", far, back)
        assert (done.returncode, link.cuts) == (0, 2), done.stderr
        assert total < link.bytes < total + IN_FLIGHT + (1 << 20)
    assert run(environment, sshd, "verify", f"oci-archive:{tmp_path / 'far.tar'}", back).returncode == 0
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_a_killed_run_is_gone_on_with(tmp_path: Path, sshd: RealSshd, environment: dict[str, str], kind: str) -> None:
    image = build_image([{"big": random.Random(9).randbytes(30 << 20)}])
    local = make(tmp_path / "local", image, "app:1")
    place = tmp_path / ("far" if kind == "oci" else "far.tar")
    with counted(sshd) as (host, link):
        process = begin(environment, host, local, f"{kind}+ssh://{host.host}{place}:app:1")
        link.cut_after, link.then = 20 << 20, process.kill
        process.communicate()
    assert process.returncode == -9
    assert whole_blobs(tmp_path / "far")
    whole = [path.name for path in (tmp_path / "far").glob("blobs/sha256/[!.]*")]
    assert not (tmp_path / "far.tar").exists()
    with counted(sshd) as (host, counter):
        done = run(environment, host, "copy", local, f"{kind}+ssh://{host.host}{place}:app:1")
        assert done.returncode == 0, done.stderr
        assert "taken over" in done.stderr
        if kind == "oci":
            # Sent anew: what was missing, and what may have been under way; what lies there is read once to be hashed.
            assert counter.bytes < 33 << 20
    # Who is killed right after a blob got its name leaves its lock, which nobody comes past until it is swept.
    unneeded = {f"far/blobs/sha256/.imgmove-{name}.blob.partial.lock" for name in whole}
    assert set(leftovers(tmp_path)) <= unneeded
    check = run(environment, sshd, "verify", f"{kind}:{place}")
    assert check.returncode == 0, check.stderr


# --- what is refused, and how


def refused(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    assert done.returncode == status, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


@pytest.fixture
def small(tmp_path: Path) -> str:
    return make(tmp_path / "small", build_image(), "app:1")


def test_a_host_that_does_not_let_us_in(
    sshd: RealSshd, small: str, environment: dict[str, str], tmp_path: Path
) -> None:
    far = f"oci+ssh://{sshd.host}{tmp_path / 'far'}"
    make_key(tmp_path / "other")
    refused(run(environment, replace(sshd, key=tmp_path / "other"), "copy", small, far), 6, "lets nobody in")
    (tmp_path / "none").touch()
    unknown = run(environment, replace(sshd, known_hosts=tmp_path / "none"), "copy", small, far)
    refused(unknown, 6, "is not known: ssh-ed25519 SHA256:", "ssh-keyscan")
    words = (tmp_path / "other.pub").read_text().split()[:2]
    (tmp_path / "changed").write_text(f"[127.0.0.1]:{sshd.port} {' '.join(words)}\n")
    changed = run(environment, replace(sshd, known_hosts=tmp_path / "changed"), "copy", small, far)
    refused(changed, 6, "another one than before", "ssh-keygen")
    make_key(tmp_path / "locked", "s3cret")
    locked = run(environment, replace(sshd, key=tmp_path / "locked"), "copy", small, far)
    refused(locked, 6, "needs a passphrase, and there is no terminal")
    refused(run(environment, replace(sshd, key=tmp_path / "gone"), "copy", small, far), 2, "no such file")
    assert not (tmp_path / "far").exists()


def test_an_archive_for_a_folder_that_is_not_there(
    sshd: RealSshd, small: str, environment: dict[str, str], tmp_path: Path
) -> None:
    ran = run(environment, sshd, "copy", small, f"oci-archive+ssh://{sshd.host}{tmp_path / 'gone' / 'x.tar'}")
    refused(ran, 1, "destination: ", f"{tmp_path / 'gone'}: no such folder to write to")
    assert not (tmp_path / "gone").exists()


def test_no_sftp(small: str, environment: dict[str, str], tmp_path: Path) -> None:
    with run_sshd(tmp_path / "sshd", sftp=False) as sshd:
        refused(run(environment, sshd, "copy", small, f"oci+ssh://{sshd.host}{tmp_path / 'far'}"), 1, "offers no SFTP")


def test_no_right_to_write(small: str, environment: dict[str, str], tmp_path: Path) -> None:
    with run_sshd(tmp_path / "sshd", "ForceCommand internal-sftp -R") as sshd:
        for far in (f"oci+ssh://{sshd.host}{tmp_path / 'far'}", f"oci-archive+ssh://{sshd.host}{tmp_path / 'x.tar'}"):
            done = run(environment, sshd, "copy", small, far)
            refused(done, 6, "destination: ", "permission denied")
            assert ".imgmove-" not in done.stderr
        assert run(environment, sshd, "tags", f"oci+ssh://{sshd.host}{tmp_path / 'small'}").stdout == "app:1\n"


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(full: Path, sshd: RealSshd, environment: dict[str, str], tmp_path: Path) -> None:
    local = make(tmp_path / "local", build_image(LAYERS), "app:1")
    refused(run(environment, sshd, "copy", "-q", local, f"oci+ssh://{sshd.host}{full / 'x'}"), 1, "no space left")
    refused(
        run(environment, sshd, "copy", "-q", local, f"oci-archive+ssh://{sshd.host}{full / 'x.tar'}"), 1, "no space"
    )
    assert not (full / "x.tar").exists()
    assert leftovers(full) == []


def test_one_session_is_enough(environment: dict[str, str], tmp_path: Path) -> None:
    local = make(tmp_path / "local", build_image(LAYERS), "app:1")
    with run_sshd(tmp_path / "sshd", "MaxSessions 1") as sshd:
        one, two = (f"oci+ssh://{sshd.host}{tmp_path / name}:app:1" for name in ("one", "two"))
        archive = f"oci-archive+ssh://{sshd.host}{tmp_path / 'x.tar'}"
        for pair in ((local, one), (one, two), (two, archive)):
            done = run(environment, sshd, "copy", *pair)
            assert done.returncode == 0, done.stderr
        assert f"from {sshd.host} to {sshd.host}, all content comes through this machine" in done.stderr
        assert run(environment, sshd, "verify", archive, one).returncode == 0


def test_what_is_not_there(sshd: RealSshd, environment: dict[str, str], tmp_path: Path) -> None:
    for kind in ("oci", "oci-archive", "docker-archive"):
        refused(run(environment, sshd, "inspect", f"{kind}+ssh://{sshd.host}{tmp_path / 'none'}"), 5, "no such")


# --- registries behind a host


def test_a_registry_behind_a_host(
    sshd: RealSshd, plain_registry: RealRegistry, environment: dict[str, str], small: str
) -> None:
    repository = f"t{uuid.uuid4().hex[:8]}/app"
    far = f"registry+ssh://{sshd.host}/{plain_registry.host}/{repository}"
    done = run(environment, sshd, "copy", small, f"{far}:1")
    assert done.returncode == 0, done.stderr
    assert re.match(rf"{re.escape(far)}:1@sha256:", done.stdout)
    assert run(environment, sshd, "tags", far).stdout == "1\n"
    assert repository in run(environment, sshd, "repos", f"registry+ssh://{sshd.host}/{plain_registry.host}").stdout
    assert "linux/amd64" in run(environment, sshd, "inspect", f"{far}:1").stdout
    assert run(environment, sshd, "tag", f"{far}:1", "2").stdout.startswith(f"{far}:2@")
    assert run(environment, sshd, "verify", f"{far}:2", small).returncode == 0
    refused(run(environment, sshd, "inspect", f"{far}:none"), 5)
    nobody = f"registry+ssh://{sshd.host}/127.0.0.1:1/x:1"
    refused(run(environment, sshd, "inspect", "--retries=0", nobody), 1, "can't reach 127.0.0.1:1: connect failed")


def test_a_registry_with_tls_behind_a_host(
    sshd: RealSshd, tls_registry: RealRegistry, environment: dict[str, str], small: str
) -> None:
    far = f"registry+ssh://{sshd.host}/{tls_registry.host}/t{uuid.uuid4().hex[:8]}/app:1"
    access = ("--dest-ca", tls_registry.ca_file, "--dest-creds", tls_registry.credentials)
    assert run(environment, sshd, "copy", *access, small, far).returncode == 0
    mine = ("--ca", tls_registry.ca_file, "--creds", tls_registry.credentials)
    assert run(environment, sshd, "inspect", *mine, "--digest", far).returncode == 0
    untrusted = run(environment, sshd, "inspect", "--no-plain-http", "--creds", tls_registry.credentials, far)
    refused(untrusted, 6, "certificate", "not trusted")
    refused(run(environment, sshd, "inspect", "--ca", tls_registry.ca_file, far), 6)


def test_no_forwarding(plain_registry: RealRegistry, environment: dict[str, str], tmp_path: Path) -> None:
    with run_sshd(tmp_path / "sshd", "AllowTcpForwarding no") as sshd:
        far = f"registry+ssh://{sshd.host}/{plain_registry.host}/x:1"
        refused(run(environment, sshd, "inspect", far), 6, "makes no connection", "AllowTcpForwarding")


def test_a_jump_host_on_the_way(
    sshd: RealSshd, plain_registry: RealRegistry, environment: dict[str, str], small: str, tmp_path: Path
) -> None:
    with run_sshd(tmp_path / "far") as far:
        config, known = tmp_path / "config", tmp_path / "known"
        known.write_text(sshd.known_hosts.read_text() + far.known_hosts.read_text())
        config.write_text(
            f"Host bastion\n  HostName 127.0.0.1\n  Port {sshd.port}\n  IdentityFile {sshd.key}\n"
            f"Host edge\n  HostName 127.0.0.1\n  Port {far.port}\n  ProxyJump bastion\n"
        )
        through = replace(far, config=config, known_hosts=known)
        done = run(environment, through, "copy", small, f"oci+ssh://edge{tmp_path / 'lay'}:app:1")
        assert done.returncode == 0, done.stderr
        place = f"registry+ssh://edge/{plain_registry.host}/t{uuid.uuid4().hex[:8]}/app:1"
        done = run(environment, through, "copy", f"oci+ssh://edge{tmp_path / 'lay'}:app:1", place)
        assert done.returncode == 0, done.stderr


# --- files alone


def test_files_below_the_home_folder(sshd: RealSshd, environment: dict[str, str], small: str) -> None:
    name = f"-imgmove-test-{uuid.uuid4().hex[:8]}"
    home = Path(os.path.expanduser("~"))
    try:
        done = run(environment, sshd, "copy", small, f"oci+ssh://{sshd.host}/~/{name}:app:1")
        assert done.returncode == 0, done.stderr
        assert (home / name / "index.json").exists()
        assert run(environment, sshd, "verify", f"oci+ssh://{sshd.host}/~/{name}").returncode == 0
    finally:
        subprocess.run(["rm", "-rf", str(home / name)], check=True)


@contextmanager
def remote_files(sshd: RealSshd, *, far: float = 1.0, stale: float = 20.0) -> Iterator[tuple[RemoteFiles, list[str]]]:
    """Files of a host, and what is told of them."""
    notes: list[str] = []
    hosts = SshHosts(sshd.access)
    found = RemoteFiles(hosts.connection(sshd.carrier), notes.append, far=far, stale=stale)
    try:
        yield found, notes
    finally:
        found.close()
        hosts.close()


def test_a_file_goes_over_several_sessions(sshd: RealSshd, tmp_path: Path) -> None:
    content = random.Random(3).randbytes((6 << 20) + 17)
    with remote_files(sshd, far=0.0) as (files, _):
        writer = files.create(str(tmp_path / "file"))
        for start in range(0, len(content), 1 << 20):
            writer.write_at(start, content[start : start + (1 << 20)])
            if start == 2 << 20:
                while not (further := files.lanes.further()):
                    time.sleep(0.01)
            if start == 4 << 20:
                # One of the sessions breaks; what it had not confirmed is sent again.
                further[0].end()
        writer.commit()
        assert files.read_at(str(tmp_path / "file"), 0, len(content) + 1) == content
        reader = files.open(str(tmp_path / "file"), 5)
        assert reader.read() == content[5:]
        reader.close()
    assert (tmp_path / "file").read_bytes() == content


@pytest.mark.parametrize("line", ["", "MaxSessions 1"])
def test_a_long_file_is_put_on_the_disk_as_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """By way of a session of its own, where the host takes one, as nothing else would be answered meanwhile."""
    monkeypatch.setattr("imgmove.wire.files.early_sync.EVERY", 1 << 20)
    synced, sync = set(), Sftp.sync

    def watched(lane: Sftp, handle: bytes) -> Answer | None:
        synced.add(lane)
        return sync(lane, handle)

    monkeypatch.setattr(Sftp, "sync", watched)
    content = random.Random(4).randbytes(8 << 20)
    with run_sshd(tmp_path / "sshd", line) as own, remote_files(own) as (files, _):
        writer = files.create(str(tmp_path / "file"))
        for start in range(0, len(content), 1 << 20):
            writer.write_at(start, content[start : start + (1 << 20)])
        for thread in threading.enumerate():
            if thread.name == "imgmove-sync":
                thread.join()
        assert len(synced) == (0 if line else 1)
        writer.commit()
        assert len(synced) == (1 if line else 2)
    assert (tmp_path / "file").read_bytes() == content


def test_a_link_is_followed_when_written_to(sshd: RealSshd, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    for name in ("there", "dangling"):
        (tmp_path / name).symlink_to(Path("real") / name)
    (tmp_path / "real" / "there").write_text("before")
    with remote_files(sshd) as (files, _):
        for name in ("there", "dangling"):
            files.write(str(tmp_path / name), b"after")
    for name in ("there", "dangling"):
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "real" / name).read_bytes() == b"after"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("pid", ["12", "\u00b2", "-1"])
def test_a_lock_without_a_sign_of_life_is_taken_over(sshd: RealSshd, tmp_path: Path, pid: str) -> None:
    left = tmp_path / ".imgmove-index.lock"
    host = "elsewhere" if pid == "12" else socket.gethostname()
    left.write_text(f"{host} {pid} abc 00000001\n")
    with remote_files(sshd, stale=0.2) as (files, notes), files.lock(str(tmp_path)):
        assert str(os.getpid()) in left.read_text()
        assert [note for note in notes if f"left by {host} {pid}" in note and "taken over" in note] == notes != []
    assert leftovers(tmp_path) == []


@pytest.fixture
def files(sshd: RealSshd) -> Iterator[RemoteFiles]:
    hosts = SshHosts(sshd.access)
    found = RemoteFiles(hosts.connection(sshd.carrier))
    yield found
    found.close()
    hosts.close()


def test_a_file_appears_when_it_is_committed(files: RemoteFiles, tmp_path: Path) -> None:
    path = tmp_path / "odd name; $(touch x) 'é"
    writer = files.create(str(path))
    writer.write_at(3, b"def")
    writer.write_at(0, b"abc")
    assert not path.exists()
    assert files.list(str(tmp_path)) == []
    assert (writer.size, writer.read_at(1, 4)) == (6, b"bcde")
    writer.commit()
    writer.abort()
    assert path.read_bytes() == b"abcdef"
    assert files.list(str(tmp_path)) == [path.name]
    aborted = files.create(str(path))
    aborted.write_at(0, b"new")
    aborted.abort()
    assert path.read_bytes() == b"abcdef"
    assert leftovers(tmp_path) == []
    status = files.status(str(path))
    assert status is not None
    assert (status.size, status.is_folder) == (6, False)
    assert files.free_space(str(tmp_path / "not" / "there"))
    files.remove(str(path))
    files.remove(str(path))
    assert files.status(str(path)) is None


def test_locks_keep_others_waiting_and_dead_ones_are_taken_over(files: RemoteFiles, tmp_path: Path) -> None:
    inside: list[int] = []

    def work() -> None:
        with files.lock(str(tmp_path)):
            inside.append(1)
            assert len(inside) == 1
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = tmp_path / ".imgmove-index.lock"
    left.write_text(f"{socket.gethostname()} {dead.pid} abc 00000001\n")
    with files.lock(str(tmp_path)):
        assert str(os.getpid()) in left.read_text()
    assert leftovers(tmp_path) == []
