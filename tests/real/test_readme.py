"""The README's recipes, pasted into a shell; only the names of hosts and of programs that aren't here are changed."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from imgmove.endpoints.layout import Layout
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.wire.files import LocalFiles
from tests.images import BuiltImage, build_image, build_index, make_manifest_from
from tests.real.engines import RealEngine
from tests.real.fixtures import RealRegistry
from tests.real.sshd import RealSshd, run_sshd

# One worker has all engines.
pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]

README = Path(__file__).parents[2] / "README.md"


def recipes() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.fixture
def engines(docker20: RealEngine, podman4: RealEngine, environment: dict[str, str], layout: str) -> Iterator[None]:
    """A docker that has an image, and a podman, both found by their variables."""
    for engine in (docker20, podman4):
        engine.clean()
    environment["DOCKER_HOST"] = f"unix://{docker20.socket}"
    environment["CONTAINER_HOST"] = f"unix://{podman4.socket}"
    words = ["copy", "-q", f"{layout}:app:1", "docker-daemon:web:1"]
    subprocess.run([sys.executable, "-m", "imgmove", *words], check=True, env=environment)
    yield
    for engine in (docker20, podman4):
        engine.clean()


@pytest.fixture
def edges(
    docker20: RealEngine, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealSshd]:
    """Hosts that the user's SSH settings lead to; all are one, and have the docker of this machine."""
    line = f"SetEnv PATH={os.environ['PATH']} DOCKER_HOST=unix://{docker20.socket}"
    with run_sshd(tmp_path_factory.mktemp("edges"), line) as sshd:
        settings = Path(environment["HOME"]) / ".ssh" / "config"
        settings.parent.mkdir(mode=0o700)
        settings.write_text(
            f"IdentityFile {sshd.key}\nUserKnownHostsFile {sshd.known_hosts}\n"
            f"Host edge*\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User root\n"
        )
        yield sshd


@pytest.fixture
def prepared(
    plain_registry: RealRegistry, engines: None, edges: RealSshd, environment: dict[str, str], tmp_path: Path
) -> dict[str, str]:
    """A registry that holds what the recipes speak of, and the texts that stand for it."""
    run = f"{plain_registry.host}/readme{uuid.uuid4().hex[:8]}"
    layout = Layout.writable(LocalFiles(), str(tmp_path / "seed"))
    build_index("linux/amd64", "linux/arm64", attested=True).put(layout, "multi:1")
    app = build_image()
    app.put(layout, "app:1")
    _sign(app, tmp_path / "cosign.pub").put(layout, f"sha256-{app.root.digest.hex}.sig")
    seeds = {"multi:1": ["hub/alpine:3.20", "hub/busybox:1.36"], "app:1": ["com/team/app:1", "com/team/app:0.9"]}
    for name, places in seeds.items():
        for place in places:
            words = ["copy", "-q", f"oci:{tmp_path / 'seed'}:{name}", f"{run}/{place}"]
            subprocess.run([sys.executable, "-m", "imgmove", *words], check=True, env=environment)
    subprocess.run(
        [sys.executable, "-m", "imgmove", "copy", "-q", f"{run}/com/team/app:1", f"oci:{tmp_path / 'layout'}:app:1"],
        check=True,
        env=environment,
    )
    for folder in ("vm", "patch"):
        (tmp_path / folder / "etc").mkdir(parents=True)
        (tmp_path / folder / "etc" / "hostname").write_text(folder)
    (tmp_path / "mirror.yaml").write_text(
        f"version: 1\nmirrors: [{{source: {run}/com/team/app, destination: {run}/mirrored/, prune: {{enabled: true}}}}]\n"
    )
    return {
        "registry.example.com": f"{run}/com",
        "registry.example.org": f"{run}/org",
        " alpine:3.20": f" {run}/hub/alpine:3.20",
        " busybox:1.36": f" {run}/hub/busybox:1.36",
        "{1..40}": "{1..2}",
        "import /mnt/vm": "import ./vm",
        "virt-tar-out -a disk.qcow2 / -": "tar -C vm -c .",
        "ssh edge1 docker load": "cat > /dev/null",
        "ops@bastion.example.com": edges.host,
        "ops@store.example.com": edges.host,
        "ops@": "",
        "/srv/images": str(tmp_path / "images"),
        "imgmove ": f"{sys.executable} -m imgmove ",
    }


def _sign(image: BuiltImage, key_file: Path) -> BuiltImage:
    key = ec.generate_private_key(ec.SECP256R1())
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    key_file.write_bytes(key.public_key().public_bytes(*form))
    signed = {"type": "cosign container image signature", "image": {"docker-manifest-digest": str(image.root.digest)}}
    payload = json.dumps({"critical": signed}).encode()
    layer = Descriptor.of(payload, "application/vnd.dev.cosign.simplesigning.v1+json").to_json()
    text = base64.b64encode(key.sign(payload, ec.ECDSA(hashes.SHA256()))).decode()
    layer["annotations"] = {"dev.cosignproject.cosign/signature": text}
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": Descriptor.of(b"{}", media_types.OCI_CONFIG).to_json(),
        "layers": [layer],
    }
    return BuiltImage(
        (make_manifest_from(manifest),), {Descriptor.of(item, "x").digest: item for item in (b"{}", payload)}
    )


def test_recipes_work_when_pasted(prepared: dict[str, str], environment: dict[str, str], tmp_path: Path) -> None:
    texts = recipes()
    assert len(texts) >= 10
    for text in texts:
        script = text
        for written, meant in prepared.items():
            script = script.replace(written, meant)
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
        )
        assert done.returncode == 0, f"{text}\n{done.stderr}"


def test_the_python_examples(prepared: dict[str, str], environment: dict[str, str], tmp_path: Path) -> None:
    texts = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(texts) == 3
    for text in texts:
        script = text.replace('"alpine:3.20"', f'"{prepared[" alpine:3.20"].strip()}"')
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("sha256:")


def test_the_demo(environment: dict[str, str]) -> None:
    demo = Path(__file__).parents[2] / "examples" / "demo.py"
    done = subprocess.run([sys.executable, str(demo)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "1 SBOM came along" in done.stdout
    assert "nothing was sent" in done.stdout
