"""Tars for tests, member by member, also such as no sane program writes."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

from imgmove.model.manifest import to_json_bytes
from tests.images import BuiltImage


@dataclass(frozen=True)
class Item:
    """A member: content, or a link to some target."""

    name: str
    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    target: str = ""


def symlink(name: str, target: str) -> Item:
    return Item(name, kind=tarfile.SYMTYPE, target=target)


def hardlink(name: str, target: str) -> Item:
    return Item(name, kind=tarfile.LNKTYPE, target=target)


def tar_with(*items: Item) -> bytes:
    """A tar of these members in this order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for item in items:
            member = tarfile.TarInfo(item.name)
            member.type, member.linkname, member.size = item.kind, item.target, len(item.content)
            archive.addfile(member, io.BytesIO(item.content))
    return buffer.getvalue()


def layout_items(image: BuiltImage, *names: str) -> list[Item]:
    """The members of an OCI archive, as docker 25 orders them: by hash, then the index."""
    contents = {**image.blobs, **{node.descriptor.digest: node.content for node in image.nodes}}
    entries = [
        {**image.root.to_json(), **({"annotations": {"org.opencontainers.image.ref.name": name}} if name else {})}
        for name in names or ("",)
    ]
    return [
        *(Item(f"blobs/{digest.algorithm}/{digest.hex}", contents[digest]) for digest in sorted(contents)),
        Item("index.json", to_json_bytes({"schemaVersion": 2, "manifests": entries})),
        Item("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
    ]


def docker_items(
    config: bytes, layers: Sequence[tuple[str, bytes]], names: Sequence[str] | None, config_name: str = "config.json"
) -> list[Item]:
    """The members of a docker archive: layers, config, manifest."""
    entry = {"Config": config_name, "RepoTags": names, "Layers": [name for name, _ in layers]}
    return [
        *(Item(name, content) for name, content in layers),
        Item(config_name, config),
        Item("manifest.json", json.dumps([entry]).encode()),
    ]
