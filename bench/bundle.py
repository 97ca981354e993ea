"""A large bundle made and loaded, beside copying the same blobs with cp and hashing them once."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from bench.measure import Cost, Costs, in_turns, run_once
from imgmove.endpoints.layout import Layout
from imgmove.endpoints.layout_reader import blob_path
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import make_manifest, to_json_bytes
from imgmove.wire.files import LocalFiles

_BLOCK = 4 << 20
_LAYER = 1 << 30


def make_layout(folder: Path, size: int) -> None:
    """An image of layers of 1 GiB that nothing compresses, ``size`` bytes in all."""
    layout = Layout.writable(LocalFiles(), str(folder))
    (folder / "blobs" / "sha256").mkdir(parents=True)
    noise = random.Random(1).randbytes(_BLOCK)
    layers = []
    for number in range(size // _LAYER):
        hasher, place = hashlib.sha256(), folder / "layer"
        with place.open("wb") as file:
            for part in range(_LAYER // _BLOCK):
                block = f"{number} {part}".encode().ljust(64) + noise[64:]
                file.write(block)
                hasher.update(block)
        layers.append(Descriptor(media_types.OCI_LAYER, Digest("sha256", hasher.hexdigest()), _LAYER))
        place.rename(folder / blob_path(layers[-1].digest))
    rootfs = {"type": "layers", "diff_ids": [str(layer.digest) for layer in layers]}
    config = to_json_bytes({"architecture": "amd64", "os": "linux", "rootfs": rootfs})
    described = Descriptor.of(config, media_types.OCI_CONFIG)
    (folder / blob_path(described.digest)).write_bytes(config)
    manifest = make_manifest(media_types.OCI_MANIFEST, described, layers)
    layout.put_manifest(manifest.content, manifest.media_type, ("team/large:1",))


def measure(folder: Path, size: int, environment: Mapping[str, str], rounds: int) -> dict[str, Costs]:
    """Costs of each way; ``folder`` needs room for four times ``size``."""
    layout, copy, bundle, loaded = (folder / name for name in ("bundled", "copied", "large.bundle", "loaded"))
    make_layout(layout, size)
    copied, hashed = f"cp -r {layout}/blobs {copy}", f"sha256sum {copy}/sha256/* > /dev/null"
    commands = {
        "cp, sha256sum": ["sh", "-c", f"{copied} && {hashed}"],
        "cp, sync, sha256sum": ["sh", "-c", f"{copied} && sync {copy}/sha256/* && {hashed}"],
        "bundle create": ["imgmove", "bundle", "create", "-q", "-o", str(bundle), f"oci:{layout}:team/large:1"],
        "bundle load": ["imgmove", "bundle", "load", "-q", str(bundle), "--to", f"oci:{loaded}"],
    }

    def run(name: str) -> Cost:
        for place in (copy, loaded):
            shutil.rmtree(place, ignore_errors=True)
        if name == "bundle create":
            bundle.unlink(missing_ok=True)
        return run_once(commands[name], environment, folder)

    found = in_turns({name: partial(run, name) for name in commands}, rounds)
    for place in (layout, copy, loaded):
        shutil.rmtree(place, ignore_errors=True)
    bundle.unlink(missing_ok=True)
    return found
