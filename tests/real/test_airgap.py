"""Bundles between real registries, with real signatures, and read by others' tools; the served registry pulled from."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgmove.endpoints.layout import Layout
from imgmove.wire.files import LocalFiles
from tests.airgap.conftest import BASE, noise
from tests.images import BuiltImage, build_image
from tests.real.engines import RealEngine
from tests.real.fixtures import RealRegistry, run_registry
from tests.real.requirements import newer_programs, require

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]


class Desk:
    """A folder in which commands are run."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment

    def imgmove(self, *words: object) -> str:
        return self.do(sys.executable, "-m", "imgmove", *words)

    def do(self, *words: object) -> str:
        done = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, env=self.environment, cwd=self.folder
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def push(self, name: str, image: BuiltImage) -> None:
        layout = Layout.writable(LocalFiles(), str(self.folder / "seed"))
        image.put(layout, "x:1")
        self.imgmove("copy", "-q", f"oci:{self.folder / 'seed'}:x:1", name)


@pytest.fixture
def desk(tmp_path: Path, environment: dict[str, str]) -> Desk:
    return Desk(tmp_path, environment)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[RealRegistry]:
    folder = tmp_path / "far"
    folder.mkdir()
    with run_registry(folder) as registry:
        yield registry


@pytest.fixture
def cosign(desk: Desk) -> str:
    """Real cosign, with a key pair of its own."""
    program = f"{newer_programs()}/cosign"
    desk.environment["COSIGN_PASSWORD"] = ""
    desk.do(program, "generate-key-pair")
    return program


def test_round_trip_with_real_signatures(
    plain_registry: RealRegistry, far: RealRegistry, desk: Desk, cosign: str
) -> None:
    near = f"{plain_registry.host}/airgap{uuid.uuid4().hex[:8]}"
    path = near.partition("/")[2]
    for number in range(3):
        desk.push(f"{near}/app{number}:1", build_image([BASE, noise(30 + number)]))
    digest = desk.imgmove("inspect", "--digest", f"{near}/app0:1").strip()
    flags = ("--tlog-upload=false", "--allow-http-registry", "--allow-insecure-registry", "-y")
    desk.do(cosign, "sign", "--key", "cosign.key", *flags, f"{near}/app0@{digest}")
    names = [f"{near}/app{number}:1" for number in range(3)]
    desk.imgmove("bundle", "create", "-q", "-o", "full.bundle", *names)
    desk.imgmove("bundle", "load", "-q", "full.bundle", "--to", f"{far.host}/", "--receipt", "r.json")
    changed = {f"app{number}:2": build_image([BASE, noise(40 + number)]) for number in range(3)}
    for name, image in changed.items():
        desk.push(f"{near}/{name}", image)
    desk.imgmove(
        "bundle", "create", "-q", "-o", "delta.bundle", "--have", "r.json", *(f"{near}/{name}" for name in changed)
    )
    held = {blob["digest"] for blob in json.loads((desk.folder / "r.json").read_text())["content"]["blobs"]}
    blobs = {digest: content for image in changed.values() for digest, content in image.blobs.items()}
    new = sum(len(content) for digest, content in blobs.items() if str(digest) not in held)
    assert new <= (desk.folder / "delta.bundle").stat().st_size <= new * 1.01 + (64 << 10)
    desk.imgmove("bundle", "load", "-q", "delta.bundle", "--to", f"{far.host}/")
    for name in (*(f"app{number}:1" for number in range(3)), *changed):
        there = f"{far.host}/{path}/{name}"
        assert desk.imgmove("inspect", "--digest", there) == desk.imgmove("inspect", "--digest", f"{near}/{name}")
    offline = ("--insecure-ignore-tlog=true", "--allow-http-registry", "--allow-insecure-registry")
    desk.do(cosign, "verify", "--key", "cosign.pub", *offline, f"{far.host}/{path}/app0:1")
    assert "1 valid signature" in desk.imgmove("verify", "--key", "cosign.pub", f"{far.host}/{path}/app0:1")


@pytest.fixture
def bundle(desk: Desk) -> Path:
    """A full bundle of one image."""
    layout = Layout.writable(LocalFiles(), str(desk.folder / "one"))
    build_image([BASE, {"etc/hello": b"hello"}]).put(layout, "team/app:1")
    desk.imgmove("bundle", "create", "-q", "-o", "one.bundle", "oci:one:team/app:1")
    return desk.folder / "one.bundle"


@pytest.mark.parametrize("newer", [False, True], ids=["Debian 12's", "newer"])
def test_skopeo_reads_a_bundle(newer: bool, bundle: Path, desk: Desk) -> None:
    require("skopeo")
    skopeo = f"{newer_programs()}/skopeo" if newer else "skopeo"
    desk.do(skopeo, "--insecure-policy", "copy", f"oci-archive:{bundle}", f"oci:{desk.folder / 'out'}:x")
    one, two = (desk.imgmove("inspect", "--digest", f"oci:{name}") for name in ("one", "out"))
    assert one == two


@pytest.mark.parametrize("name", ["docker20", "docker26", "docker26_containerd", "podman4", "containerd1"])
def test_engines_read_a_bundle_and_pull_from_it(
    name: str, bundle: Path, desk: Desk, request: pytest.FixtureRequest
) -> None:
    engine: RealEngine = request.getfixturevalue(name)
    engine.clean()
    engine.load(bundle)
    assert "docker.io/team/app:1" in [
        image if "/" in image.partition(":")[0] and "." in image else f"docker.io/{image}" for image in engine.names()
    ]
    engine.clean()
    with serving(desk, f"bundle:{bundle}") as host:
        engine.pull(f"{host}/team/app:1")
        assert f"{host}/team/app:1" in engine.names()
        desk.do(
            "skopeo",
            "--insecure-policy",
            "copy",
            "--src-tls-verify=false",
            f"docker://{host}/team/app:1",
            f"oci:{desk.folder / 'pulled'}:x",
        )
    engine.clean()
    assert desk.imgmove("inspect", "--digest", "oci:pulled") == desk.imgmove("inspect", "--digest", "oci:one")


@pytest.mark.parametrize("name", ["docker20", "podman4", "containerd1"])
def test_deltas_into_engines(name: str, desk: Desk, request: pytest.FixtureRequest) -> None:
    engine: RealEngine = request.getfixturevalue(name)
    engine.clean()
    for number in (1, 2):
        layout = Layout.writable(LocalFiles(), str(desk.folder / f"v{number}"))
        build_image([BASE, noise(50 + number)]).put(layout, f"team/app:{number}")
    place = f"{engine.scheme}:?{engine.options}"
    desk.imgmove("bundle", "create", "-q", "-o", "one.bundle", "oci:v1")
    desk.imgmove("bundle", "load", "-q", "one.bundle", "--to", place, "--receipt", "r.json")
    desk.imgmove("bundle", "create", "-q", "-o", "two.bundle", "--have", "r.json", "oci:v1", "oci:v2")
    assert (desk.folder / "two.bundle").stat().st_size < 120_000, "the base layer is left out"
    desk.imgmove("bundle", "load", "-q", "two.bundle", "--to", place)
    shown = " ".join(engine.names())
    assert "team/app:1" in shown
    assert "team/app:2" in shown
    engine.clean()


@contextlib.contextmanager
def serving(desk: Desk, place: str) -> Iterator[str]:
    command = [sys.executable, "-m", "imgmove", "serve", place, "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=desk.environment, cwd=desk.folder) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip().removeprefix("http://")
        finally:
            process.terminate()
            assert process.wait(20) == 0
