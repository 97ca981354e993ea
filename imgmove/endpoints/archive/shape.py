"""What imgmove's own archives look like: two formats in one tar, written the same each time.

An OCI layout, whose ``index.json`` is authoritative, and docker's ``manifest.json`` over the same blobs: every engine
and tool finds the format that it knows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from imgmove.endpoints.archive.docker_format import MANIFEST, write_docker_manifest
from imgmove.endpoints.index_file import entries_of, is_digest
from imgmove.endpoints.layout_reader import INDEX, MARKER, MARKER_CONTENT
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Node, to_json_bytes
from imgmove.ports import NamedImage


def front_matter(roots: Sequence[NamedImage], nodes: Mapping[Digest, Node]) -> list[tuple[str, bytes]]:
    """The members that say what an archive holds: names and content, in their order."""
    members = [(MARKER, MARKER_CONTENT), (INDEX, _index(roots, nodes))]
    if docker := write_docker_manifest(roots, nodes):
        members.append((MANIFEST, json.dumps(docker, ensure_ascii=False, separators=(",", ":")).encode("utf-8")))
    return members


def merged(roots: Sequence[NamedImage]) -> list[NamedImage]:
    """Each root once with all of its names, in the order in which they first came."""
    names: dict[Digest, list[str]] = {}
    descriptors: dict[Digest, Descriptor] = {}
    for root in roots:
        descriptors.setdefault(root.descriptor.digest, root.descriptor)
        known = names.setdefault(root.descriptor.digest, [])
        known += [name for name in root.names if name not in known and not is_digest(name)]
    return [NamedImage(descriptor, tuple(names[digest])) for digest, descriptor in descriptors.items()]


def _index(roots: Sequence[NamedImage], nodes: Mapping[Digest, Node]) -> bytes:
    entries: list[dict[str, object]] = []
    for root in roots:
        node = nodes[root.descriptor.digest]
        kind = node.artifact_type if node.subject is not None else ""
        entries.extend(entries_of(node.descriptor, root.names, kind))
    return to_json_bytes({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": entries})
