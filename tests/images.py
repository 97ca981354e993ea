"""Images for tests: small ones built from nothing, and places to find them in."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Node, make_index, make_manifest, parse_manifest, to_json_bytes
from imgmove.model.platform import Platform
from imgmove.ports import Destination
from imgmove.streams import BytesReader


@dataclass(frozen=True)
class BuiltImage:
    """An image at hand: its nodes, children first, and its blobs."""

    nodes: tuple[Node, ...]
    blobs: Mapping[Digest, bytes]

    @property
    def root(self) -> Descriptor:
        return self.nodes[-1].descriptor

    def put(self, destination: Destination, *names: str) -> Descriptor:
        """Puts it where it is told."""
        for digest, content in self.blobs.items():
            put_blob(destination, Descriptor(media_types.OCTET_STREAM, digest, len(content)), content)
        for node in self.nodes:
            is_root = node is self.nodes[-1]
            destination.put_manifest(
                node.content, node.media_type, (names or (str(self.root.digest),)) if is_root else ()
            )
        return self.root


def put_blob(destination: Destination, descriptor: Descriptor, content: bytes) -> None:
    """Puts one blob."""
    if destination.has(descriptor):
        return
    writer = destination.put_blob(descriptor)
    writer.resume()
    writer.write(BytesReader(content))
    writer.commit(descriptor)


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A layer's tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if content.startswith(b"\x7fELF"):
                member.mode = 0o755
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def build_image(
    layers: Sequence[Mapping[str, bytes]] = ({"hello": b"world"},),
    platform: str = "linux/amd64",
    *,
    compression: str = "gzip",
    subject: Descriptor | None = None,
) -> BuiltImage:
    """An image of one platform."""
    tars = [tar_of(files) for files in layers]
    contents = [gzip.compress(tar, 1, mtime=0) if compression == "gzip" else tar for tar in tars]
    kind = media_types.OCI_LAYER_GZIP if compression == "gzip" else media_types.OCI_LAYER
    config = to_json_bytes(
        {
            **Platform.parse(platform).to_json(),
            "config": {"Cmd": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(tar)) for tar in tars]},
        }
    )
    manifest: Node = make_manifest(
        media_types.OCI_MANIFEST,
        Descriptor.of(config, media_types.OCI_CONFIG),
        [Descriptor.of(content, kind) for content in contents],
    )
    if subject is not None:
        document = json.loads(manifest.content) | {"subject": subject.to_json()}
        manifest = make_manifest_from(document)
    blobs = {Digest.of(content): content for content in (config, *contents)}
    return BuiltImage((manifest,), blobs)


def make_manifest_from(document: Mapping[str, object]) -> Node:
    """A manifest out of a document."""
    return parse_manifest(to_json_bytes(document))


def build_index(*platforms: str, attested: bool = False) -> BuiltImage:
    """An image of several platforms, each with a layer of its own; perhaps with BuildKit's attestations."""
    nodes: list[Node] = []
    blobs: dict[Digest, bytes] = {}
    entries: list[Descriptor] = []
    for platform in platforms:
        image = build_image([{"platform": platform.encode()}, {"shared": b"the same everywhere"}], platform)
        nodes += image.nodes
        blobs |= image.blobs
        root = image.root
        entries.append(Descriptor(root.media_type, root.digest, root.size, platform=Platform.parse(platform)))
        if attested:
            attestation = _attestation(root.digest)
            nodes += attestation.nodes
            blobs |= attestation.blobs
            entries.append(
                Descriptor(
                    attestation.root.media_type,
                    attestation.root.digest,
                    attestation.root.size,
                    annotations={
                        "vnd.docker.reference.digest": str(root.digest),
                        "vnd.docker.reference.type": "attestation-manifest",
                    },
                    platform=Platform("unknown", "unknown"),
                )
            )
    return BuiltImage((*nodes, make_index(media_types.OCI_INDEX, entries)), blobs)


def _attestation(subject: Digest) -> BuiltImage:
    statement = to_json_bytes(
        {"_type": "https://in-toto.io/Statement/v0.1", "subject": [{"digest": {"sha256": subject.hex}}]}
    )
    config = to_json_bytes(
        {
            "architecture": "unknown",
            "os": "unknown",
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(statement))]},
        }
    )
    manifest = make_manifest(
        media_types.OCI_MANIFEST,
        Descriptor.of(config, media_types.OCI_CONFIG),
        [Descriptor.of(statement, "application/vnd.in-toto+json")],
    )
    return BuiltImage((manifest,), {Digest.of(content): content for content in (config, statement)})


def build_artifact(subject: Descriptor | None = None, kind: str = "application/spdx+json") -> BuiltImage:
    """An SBOM, perhaps of some image."""
    content = to_json_bytes({"spdxVersion": "SPDX-2.3", "kind": kind})
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "artifactType": kind,
        "config": Descriptor.of(b"{}", media_types.OCI_EMPTY).to_json(),
        "layers": [Descriptor.of(content, kind).to_json()],
    }
    if subject is not None:
        document["subject"] = subject.to_json()
    return BuiltImage((make_manifest_from(document),), {Digest.of(item): item for item in (b"{}", content)})


def build_many_layers(count: int = 60) -> BuiltImage:
    """An image of many small layers that do not compress."""
    return build_image([{f"file-{number}": random.Random(number).randbytes(20_000)} for number in range(count)])


def docker_archive(
    path: Path, image: BuiltImage, name: str = "app:1", *, manifest_first: bool = False, lower: bool = False
) -> None:
    """An archive as docker 20 saves it: a folder a layer, the manifest at the end."""
    (node,) = image.nodes
    config = node.children[0]
    members: list[tuple[str, bytes]] = []
    layers = []
    for number, layer in enumerate(node.children[1:]):
        folder = f"{number:064x}"
        layers.append(f"{folder}/layer.tar")
        content = image.blobs[layer.digest]
        plain = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        members += [(f"{folder}/VERSION", b"1.0"), (f"{folder}/json", b'{"id":"x"}'), (layers[-1], plain)]
    members.append((f"{config.digest.hex}.json", image.blobs[config.digest]))
    entry = {"Config": members[-1][0], "RepoTags": [name], "Layers": layers}
    document = [{key.lower() if lower else key: value for key, value in entry.items()}]
    manifest = ("manifest.json", json.dumps(document).encode())
    members = [manifest, *members] if manifest_first else [*members, manifest]
    with tarfile.open(path, "w") as archive:
        for member_name, content in members:
            member = tarfile.TarInfo(member_name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
