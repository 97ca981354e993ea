"""What an engine on another host saves, without layers that the destination holds: those never cross the line.

An engine's own ``save`` always writes the whole image, so the host's ``tar`` takes layers out of that before it is sent.
It does not matter how the layers came into the engine, and no port has to be opened.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from imgmove.endpoints.archive.docker_format import MANIFEST, parse_docker_manifest
from imgmove.endpoints.engines.commands import CommandOutput, Program
from imgmove.endpoints.engines.destination import EngineImage
from imgmove.endpoints.layout_reader import blob_path
from imgmove.engine.choose import choose_one
from imgmove.errors import MalformedContent
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Index, Manifest, parse_manifest
from imgmove.model.platform import Platform
from imgmove.ports import Machine

# A pipe alone would tell gzip's status: the first word is that of a save that failed, else of tar. Zeros stand for what such
# a save owes, as GNU tar 1.34 looks forever for the rest of a member that it leaves out.
# What follows the archive's end is taken too: a save whose last zeros nobody reads is ended by that.
_PIPE = (
    "{{ {{ {{ {{ {{ {save} || {{ echo $? >&3; cat /dev/zero; }}; }}"
    " | {{ {tar}; echo $? >&3; head -c 1048576 >/dev/null; }}; }} | gzip >&4; }} 3>&1; }}"
    " | {{ read -r status; exit $status; }}; }} 4>&1"
)


@dataclass(frozen=True, slots=True)
class SavedLayer:
    """A layer in what an engine saves.

    Attributes:
        path: of its member in the archive.
        diff_id: the digest of the uncompressed layer.
        blob: the layer as the image's own manifest names it; None where the engine keeps no manifests.
    """

    path: str
    diff_id: Digest
    blob: Descriptor | None = None


class ThinSave:
    """The saving of one image.

    Args:
        save: the words of the command that writes the archive.
        label: of the engine.
    """

    def __init__(self, machine: Machine, save: Sequence[str], label: str) -> None:
        self._shell = Program(machine, ["sh", "-c"], label)
        self._save = shlex.join(save)
        self._label = label

    def layers(self, image: EngineImage) -> Sequence[SavedLayer]:
        """The layers, where the archive has them under their diffIDs or under paths that only it knows."""
        (saved, *others) = parse_docker_manifest(self._member(MANIFEST))
        if others or len(saved.layers) != len(image.diff_ids):
            raise MalformedContent(f"{self._label} saves something else than it shows")
        return [SavedLayer(path, diff_id) for path, diff_id in zip(saved.layers, image.diff_ids, strict=True)]

    def blobs(self, image: EngineImage, platform: Platform) -> Sequence[SavedLayer]:
        """The layers, where the engine keeps manifests and goes by their digests."""
        manifest = self._manifest(image.identity, platform)
        if len(manifest.layers) != len(image.diff_ids):
            raise MalformedContent(f"{self._label} saves something else than it shows")
        pairs = zip(manifest.layers, image.diff_ids, strict=True)
        return [SavedLayer(blob_path(blob.digest), diff_id, blob) for blob, diff_id in pairs]

    def without(self, layers: Collection[SavedLayer]) -> CommandOutput:
        """The archive without some layers, gzipped."""
        tar = shlex.join(["tar", "-f", "-", "--delete", "--", *dict.fromkeys(layer.path for layer in layers)])
        return self._shell.output(_PIPE.format(save=self._save, tar=tar))

    def _manifest(self, digest: Digest, platform: Platform) -> Manifest:
        node = parse_manifest(self._member(blob_path(digest)))
        if isinstance(node, Index):
            return self._manifest(choose_one(node, platform).digest, platform)
        return node

    def _member(self, path: str) -> bytes:
        return self._shell.ask(f"{self._save} | tar -xOf - {shlex.quote(path)}")
