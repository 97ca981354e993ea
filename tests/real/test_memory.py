"""A layer of 1 GiB in each direction, with the whole process under 100 MiB."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from imgmove.endpoints.layout import Layout
from imgmove.endpoints.layout_reader import blob_path
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import make_manifest, to_json_bytes
from imgmove.rootfs.tar import END, make_header, padding
from imgmove.wire.files import LocalFiles
from tests.images import put_blob
from tests.real.fixtures import RealRegistry, run_registry
from tests.real.sshd import RealSshd

pytestmark = [pytest.mark.real, pytest.mark.memory, pytest.mark.xdist_group("memory")]

SIZE = 1 << 30
MOST = 100 << 20
BLOCK = random.Random(1).randbytes(4 << 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """For the layout that all ways share; what one way makes goes with it, as disks are small."""
    path = tmp_path_factory.mktemp("gib")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RealRegistry]:
    with run_registry(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def layout(folder: Path) -> str:
    """An image with one uncompressed layer of 1 GiB: a tar of one file."""
    path = folder / "layout"
    layout = Layout.writable(LocalFiles(), str(path))
    (path / "blobs" / "sha256").mkdir(parents=True)
    hasher, size = hashlib.sha256(), 0
    with (path / "layer").open("wb") as file:
        for piece in _layer():
            file.write(piece)
            hasher.update(piece)
            size += len(piece)
    layer = Descriptor(media_types.OCI_LAYER, Digest("sha256", hasher.hexdigest()), size)
    (path / "layer").rename(path / blob_path(layer.digest))
    config = to_json_bytes(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [str(layer.digest)]}}
    )
    put_blob(layout, Descriptor.of(config, media_types.OCI_CONFIG), config)
    manifest = make_manifest(media_types.OCI_MANIFEST, Descriptor.of(config, media_types.OCI_CONFIG), [layer])
    layout.put_manifest(manifest.content, manifest.media_type, ("big:1",))
    return f"oci:{path}:big:1"


def _layer() -> Iterator[bytes]:
    yield make_header("file", SIZE)
    for number in range(SIZE // len(BLOCK)):
        yield number.to_bytes(8, "big") + BLOCK[8:]
    yield bytes(padding(SIZE)) + END


def _docker_archive(path: Path, layout: Path) -> None:
    """The same as docker 20 would save it."""
    source = Layout.existing(LocalFiles(), str(layout))
    with contextlib.closing(source.open(source.resolve("big:1"))) as reader:
        document = json.loads(reader.read())
    config, layer = (
        layout / blob_path(Digest.parse(item["digest"])) for item in (document["config"], document["layers"][0])
    )
    entry = to_json_bytes({"Config": "c.json", "RepoTags": ["big:1"], "Layers": ["0/layer.tar"]})
    _write_tar(path, [("0/layer.tar", layer), ("c.json", config), ("manifest.json", b"[" + entry + b"]")])


def _new_docker_archive(path: Path, layout: Path) -> None:
    """The same as docker 26 would save it: blobs by hash, and what they mean last."""
    blobs = sorted((layout / "blobs" / "sha256").iterdir())
    _write_tar(
        path, [(str(item.relative_to(layout)), item) for item in (*blobs, layout / "index.json", layout / "oci-layout")]
    )


def _write_tar(path: Path, members: Sequence[tuple[str, Path | bytes]]) -> None:
    with path.open("wb") as file:
        for name, content in members:
            size = content.stat().st_size if isinstance(content, Path) else len(content)
            file.write(make_header(name, size))
            with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as reader:
                shutil.copyfileobj(reader, file, 1 << 20)
            file.write(bytes(padding(size)))
        file.write(END)


# A small process in between: what a child used counts from the fork, and this one is large.
MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(done.returncode)
"""


def peak(environment: dict[str, str], *words: str, stdin: Path | None = None, stdout: Path | None = None) -> int:
    """The most memory that a run of imgmove held, in bytes."""
    source = subprocess.Popen(["cat", str(stdin)], stdout=subprocess.PIPE) if stdin else None
    told = Path(environment["TMPDIR"]) / f"peak-{uuid.uuid4().hex}"
    with (stdout or Path(os.devnull)).open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(told), sys.executable, "-m", "imgmove", *words],
            stdin=source.stdout if source else None,
            stdout=output,
            stderr=subprocess.PIPE,
            env=environment,
        )
    if source and source.stdout:
        source.stdout.close()
        source.wait()
    assert done.returncode == 0, done.stderr.decode()
    return int(told.read_text()) * (1 if sys.platform == "darwin" else 1024)


WAYS = [
    "layout to registry",
    "registry to layout",
    "registry to archive",
    "archive to registry",
    "registry to registry",
    "docker archive to registry",
    "docker archive from a pipe to registry",
    "docker 26 archive from a pipe to registry",
    "docker archive from a pipe to layout",
    "registry to pipe",
    "archive from a pipe to registry",
    "layout to compressed archive",
    "verify",
    "converted to zstd",
    "layout to another host",
    "another host to archive",
    "root file system to registry",
    "root file system from a pipe onto an image to pipe",
]


@pytest.mark.parametrize("way", WAYS)
def test_memory(
    way: str,
    tmp_path: Path,
    registry: RealRegistry,
    layout: str,
    environment: dict[str, str],
    sshd: RealSshd,
) -> None:
    environment = {**environment, "TMPDIR": str(tmp_path)}
    there, new = f"{registry.host}/there/big:1", f"{registry.host}/new/big:1"
    root, archive, out = Path(layout.split(":")[1]), tmp_path / "archive.tar", tmp_path / "out"
    if "registry to" in way or way == "verify":
        peak(environment, "copy", layout, there)
    if way.startswith("archive"):
        peak(environment, "copy", layout, str(archive))
    elif way.startswith("docker archive"):
        _docker_archive(archive, root)
    elif way.startswith("docker 26"):
        _new_docker_archive(archive, root)
    rootfs = max((root / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    # Every upload is a real one: what was put there before is not mounted.
    forgetful = {**environment, "XDG_CACHE_HOME": str(tmp_path / "forgetful")}
    commands = {
        "layout to registry": lambda: peak(forgetful, "copy", layout, new),
        "registry to layout": lambda: peak(forgetful, "copy", there, f"oci:{out}"),
        "registry to archive": lambda: peak(forgetful, "copy", there, f"oci-archive:{out}"),
        "archive to registry": lambda: peak(forgetful, "copy", str(archive), new),
        "registry to registry": lambda: peak(forgetful, "copy", there, new.replace("127.0.0.1", "localhost")),
        "docker archive to registry": lambda: peak(forgetful, "copy", str(archive), new),
        "docker archive from a pipe to registry": lambda: peak(forgetful, "copy", "-", new, stdin=archive),
        "docker 26 archive from a pipe to registry": lambda: peak(forgetful, "copy", "-", new, stdin=archive),
        "docker archive from a pipe to layout": lambda: peak(forgetful, "copy", "-", f"oci:{out}", stdin=archive),
        "layout to another host": lambda: peak(forgetful, "copy", *sshd.options, layout, f"oci+ssh://{sshd.host}{out}"),
        "another host to archive": lambda: peak(
            forgetful, "copy", *sshd.options, layout.replace("oci:", f"oci+ssh://{sshd.host}"), f"oci-archive:{out}"
        ),
        "registry to pipe": lambda: peak(forgetful, "copy", there, "-", stdout=out),
        "archive from a pipe to registry": lambda: peak(forgetful, "copy", "-", new, stdin=archive),
        "layout to compressed archive": lambda: peak(forgetful, "copy", layout, f"{out}.tar.zst"),
        "verify": lambda: peak(forgetful, "verify", there),
        "root file system to registry": lambda: peak(forgetful, "import", str(rootfs), new),
        "root file system from a pipe onto an image to pipe": lambda: peak(
            forgetful, "import", "-", "-", "--onto", layout, stdin=rootfs, stdout=out
        ),
        "converted to zstd": lambda: peak(forgetful, "copy", "--compression", "zstd", layout, new),
    }
    before = _temporary(tmp_path)
    assert commands[way]() < MOST
    assert _temporary(tmp_path) == before


def _temporary(folder: Path) -> set[str]:
    """Names that look like leftovers."""
    return {path.name for path in folder.iterdir() if path.name.startswith((".imgmove", "imgmove-", "tmp"))}
