"""skopeo copies to and from imgmove's own registry, and finds there what it put."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import make_manifest
from tests.quirks import Quirks, RegistryServer, TokenAuth

pytestmark = pytest.mark.real

TARS = [random.Random(n).randbytes(3 << 20) for n in range(3)]
LAYERS = [gzip.compress(tar, 1, mtime=0) for tar in TARS]


@pytest.fixture(scope="module")
def skopeo() -> str:
    program = shutil.which("skopeo")
    if program is None:
        reason = "skopeo is missing: apt-get install skopeo"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return program


@pytest.fixture
def layout(tmp_path: Path) -> tuple[Path, Descriptor]:
    """An OCI layout of one image, and the image's descriptor."""
    folder = tmp_path / "layout"
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def keep(content: bytes, media_type: str) -> Descriptor:
        descriptor = Descriptor.of(content, media_type)
        (blobs / descriptor.digest.hex).write_bytes(content)
        return descriptor

    layers = [keep(layer, media_types.OCI_LAYER_GZIP) for layer in LAYERS]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(tar)) for tar in TARS]},
    }
    manifest = make_manifest(
        media_types.OCI_MANIFEST, keep(json.dumps(config).encode(), media_types.OCI_CONFIG), layers
    )
    image = keep(manifest.content, manifest.media_type)
    entry = image.to_json() | {"annotations": {"org.opencontainers.image.ref.name": "app"}}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return folder, image


def run(*command: str | Path) -> str:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def entry_of(folder: Path) -> str:
    return str(json.loads((folder / "index.json").read_text())["manifests"][0]["digest"])


@pytest.mark.parametrize(
    "quirks",
    [
        Quirks(),
        Quirks(location="url"),
        Quirks(location="query"),
        Quirks(referrers=404),
        Quirks(digest_header="missing"),
    ],
    ids=["spec", "url", "query", "no-referrers", "no-digest"],
)
def test_there_and_back(
    skopeo: str,
    layout: tuple[Path, Descriptor],
    tmp_path: Path,
    registry_factory: Callable[..., RegistryServer],
    quirks: Quirks,
) -> None:
    folder, image = layout
    server = registry_factory(quirks)
    copy = (skopeo, "--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false")
    run(*copy, f"oci:{folder}:app", f"docker://{server.host}/team/app:1")
    assert server.storage.make("team/app").resolve("1").digest == image.digest
    run(*copy, f"docker://{server.host}/team/app:1", f"oci:{tmp_path / 'back'}:app")
    assert entry_of(tmp_path / "back") == str(image.digest)
    for layer in LAYERS:
        assert (tmp_path / "back" / "blobs" / "sha256" / Digest.of(layer).hex).read_bytes() == layer


def test_the_second_repository_mounts(
    skopeo: str, layout: tuple[Path, Descriptor], registry_factory: Callable[..., RegistryServer]
) -> None:
    folder, image = layout
    server = registry_factory()
    copy = (skopeo, "--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false")
    run(*copy, f"oci:{folder}:app", f"docker://{server.host}/team/app:1")
    server.forget()
    run(*copy, f"docker://{server.host}/team/app:1", f"docker://{server.host}/team/other:1")
    # The config alone comes again: skopeo does not mount it.
    assert server.received("* upload") < 1000
    assert server.storage.make("team/other").resolve("1").digest == image.digest


def test_tags_and_deletion(skopeo: str, registry: RegistryServer) -> None:
    registry.put_image("team/app", "1", "2", "latest")
    tags = run(skopeo, "list-tags", "--tls-verify=false", f"docker://{registry.host}/team/app")
    assert json.loads(tags)["Tags"] == ["1", "2", "latest"]
    run(skopeo, "delete", "--tls-verify=false", f"docker://{registry.host}/team/app:1")
    assert list(registry.storage.make("team/app").tags()) == []


@pytest.mark.parametrize(
    "quirks", [Quirks(basic={"alice": "s3cret"}), Quirks(token=TokenAuth())], ids=["basic", "token"]
)
def test_tls_and_passwords(
    skopeo: str,
    layout: tuple[Path, Descriptor],
    tmp_path: Path,
    registry_factory: Callable[..., RegistryServer],
    quirks: Quirks,
) -> None:
    folder, image = layout
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    certificates = tmp_path / "certs"
    certificates.mkdir()
    authority.cert_pem.write_to_path(str(certificates / "ca.crt"))
    server = registry_factory(quirks, tls=context)
    run(
        *(skopeo, "--insecure-policy", "copy", "--dest-cert-dir", certificates, "--dest-creds", "alice:s3cret"),
        *(f"oci:{folder}:app", f"docker://{server.host}/team/app:1"),
    )
    run(
        *(skopeo, "--insecure-policy", "copy", "--src-cert-dir", certificates, "--src-creds", "alice:s3cret"),
        *(f"docker://{server.host}/team/app:1", f"oci:{tmp_path / 'back'}:app"),
    )
    assert entry_of(tmp_path / "back") == str(image.digest)
