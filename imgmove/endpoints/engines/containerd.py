"""Containerd, through its ``ctr`` (or k3s's), as its gRPC is not ours to speak.

It keeps manifests and blobs as they came, so it is a source like a layout is: each blob can be read by itself.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property

from imgmove.endpoints.engines.arrival import comes
from imgmove.endpoints.engines.commands import Program
from imgmove.endpoints.engines.destination import EngineImage, Way
from imgmove.endpoints.engines.nearest import no_such_image
from imgmove.endpoints.engines.record import ContainerdRecord, is_id
from imgmove.endpoints.engines.shipment import Shipment
from imgmove.engine.choose import choose_one
from imgmove.errors import DigestMismatch, LocalError, NotFound, ServerRefused
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Index, Manifest, Node, digests_of_layers, make_manifest, parse_manifest
from imgmove.model.number import read_decimal
from imgmove.model.platform import Platform
from imgmove.model.reference import Reference
from imgmove.ports import Machine, NamedImage, Reader
from imgmove.wire import codec

_UNCOMPRESSED = re.compile(r"containerd\.io/uncompressed=(sha256:[0-9a-f]{64})")
_LABEL = 'labels."containerd.io/uncompressed"'
_MOST_FILTERS = 200
"""In one question, whose length has a limit."""
_START = 512
_LAYERS = {
    "none": media_types.OCI_LAYER,
    "gzip": media_types.OCI_LAYER_GZIP,
    "zstd": media_types.OCI_LAYER_ZSTD,
}


class Containerd:
    """One namespace of one containerd.

    Args:
        address: of its socket; empty for the usual one.
        namespace: empty for the client's own.
    """

    keeps_manifests = True

    def __init__(self, machine: Machine, label: str, address: str = "", namespace: str = "") -> None:
        self.label = label
        self.left: dict[str, str] = {}
        self._blobs: Mapping[Digest, Digest | None] = {}
        self._machine = machine
        self._shell = Program(machine, ["sh", "-c"], label)
        self._options = (*(("-a", address) if address else ()), *(("-n", namespace) if namespace else ()))

    @cached_property
    def _words(self) -> tuple[str, ...]:
        """Containerd's own client, or the one that k3s brings along."""
        found = self._shell.ask("command -v ctr || command -v k3s || true").decode().strip()
        if not found:
            raise LocalError(f"{self.label}: there is no ctr", hint="it comes with containerd, and k3s has one too")
        return (found, "ctr", *self._options) if found.endswith("/k3s") else (found, *self._options)

    @cached_property
    def _program(self) -> Program:
        return Program(self._machine, self._words, self.label)

    # --- as a source

    def resolve(self, name: str) -> Descriptor:
        """What a name stands for; of an index whose parts are not all here, the manifest of the own platform.

        Raises:
            NotFound: nothing; the nearest names are given.
        """
        record = self._found(name)
        node = self._node(record.digest, record.media_type)
        if isinstance(node, Index) and not all(str(child.digest) in self._digests for child in node.manifests):
            return choose_one(node, self.platform())
        return Descriptor(record.media_type, record.digest, node.descriptor.size)

    def record_name(self, name: str) -> str:
        """The name of the record that a name or an ID means.

        Raises:
            NotFound: there is none; the nearest names are given.
        """
        return self._found(name).name

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        """The content of a digest."""
        if str(descriptor.digest) not in self._digests:
            raise NotFound(
                f"{self.label} does not hold {descriptor.digest}",
                hint="some of its users discard layers once they are unpacked; pull the image there again",
            )
        if not offset:
            return self._program.output("content", "get", str(descriptor.digest))
        return self._shell.output(f"{shlex.join(self._words)} content get {descriptor.digest} | tail -c +{offset + 1}")

    def images(self) -> Sequence[NamedImage]:
        """All images that have names."""
        return [
            NamedImage(self._described(item.digest, item.media_type), (item.name,))
            for item in self._records()
            if not item.name.startswith("sha256:")
        ]

    def close(self) -> None:
        """Nothing stays open."""

    # --- what it holds

    def platform(self) -> Platform:
        """What its machine runs."""
        return self._platform

    @cached_property
    def _platform(self) -> Platform:
        system, _, architecture = self._shell.ask("uname -sm").decode().strip().partition(" ")
        return Platform.parse(f"{system}/{architecture}")

    def full_name(self, name: str) -> str:
        """A name with its host and tag."""
        return str(Reference.parse(name))

    def find(self, name: str) -> EngineImage | None:
        """An image that is here with all of its content."""
        lines = self._program.ask("images", "check", f"name=={name}").decode().splitlines()[1:]
        row = next((row for row in map(str.split, lines) if row[:1] == [name]), [])
        if "complete" not in row:
            return None
        manifest = self._manifest(Digest.parse(row[2]), row[1])
        assert manifest.config is not None
        return EngineImage(manifest.descriptor.digest, tuple(digests_of_layers(self._document(manifest.config.digest))))

    def references(self, start: str = "") -> list[str]:
        """The names of all records."""
        return self._program.ask("images", "ls", "-q", *([f"name~=/{start}/"] if start else [])).decode().split()

    def is_same(self, found: EngineImage, image: Manifest) -> bool:
        """By the manifest's digest."""
        return found.identity == image.descriptor.digest

    def held(self, image: Manifest, diff_ids: Sequence[Digest], names: Sequence[str]) -> Collection[Digest]:  # noqa: ARG002 - it is asked for layers, not for images
        """Blobs that are here, and layers that are here in another compression."""
        self._blobs = self._here([child.digest for child in image.children], diff_ids)
        forms = {diff_id for diff_id in self._blobs.values() if diff_id is not None}
        held = {child.digest for child in image.children if child.digest in self._blobs}
        pairs = zip(image.layers, diff_ids, strict=True)
        return held | {layer.digest for layer, diff_id in pairs if diff_id in forms}

    def check(self, shipment: Shipment) -> None:
        """It takes all that there is."""

    # --- taking images

    def ways(self, shipment: Shipment) -> Sequence[Way]:
        """Archives; a layer that is here in another compression is named as it is here."""
        # Containerd goes on with a blob that an earlier import left unfinished, whatever was in that; if it was broken,
        # it is used up by the first import that fails for it.
        whole = [
            Way(what, lambda shipment, name: self._load(shipment, name, shipment.image, ()))
            for what in ("the whole image", "the whole image once more")
        ]
        if not shipment.is_sparse:
            return whole
        note = ""
        image = shipment.image
        if any(blob.digest in shipment.held and blob.digest not in self._blobs for blob in shipment.blobs):
            image = self._by_what_is_here(shipment)
            note = "containerd holds layers of it in another compression, so its manifest has a digest of its own"
        held = {child.digest for child in image.children if child.digest in self._blobs}
        part = Way(
            "only the missing layers",
            lambda shipment, name: self._load(shipment, name, image, held),
            note=note,
        )
        return [part, *whole]

    def name(self, temporary: str, name: str) -> None:
        """Gives it another name."""
        self._program.ask("images", "tag", "--force", temporary, self.full_name(name))

    def forget(self, temporary: str) -> None:
        """Removes the record; what nothing needs any more containerd collects by itself."""
        self._program.ask("images", "rm", temporary)

    def removing(self, name: str) -> str:
        """With its own client, in the namespace that was meant."""
        return shlex.join([*self._words, "images", "rm", name])

    def _load(self, shipment: Shipment, temporary: str, image: Manifest, held: Collection[Digest]) -> None:
        words = shlex.join([*self._words, "images", "import", "--platform", str(shipment.platform), "-"])
        try:
            # What it prints nobody reads; where the connection broke, printing would end it before it has unpacked.
            self._shell.feed(
                lambda sink: shipment.write_archive(sink, temporary, image, held),
                f"exec {words} > /dev/null",
                comes=lambda: comes(lambda: self._is_unpacked(temporary), shipment.missing_size),
            )
        finally:
            self._look_again()

    def _is_unpacked(self, name: str) -> bool:
        """Whether an import has done all that it does."""
        lines = self._program.ask("images", "check", f"name=={name}").decode().splitlines()[1:]
        return any(line.split()[-1:] == ["true"] for line in lines)

    def _by_what_is_here(self, shipment: Shipment) -> Manifest:
        here = {diff_id: digest for digest, diff_id in self._blobs.items() if diff_id is not None}
        layers = [
            layer if layer.digest in self._blobs or diff_id not in here else self._as_layer(here[diff_id])
            for layer, diff_id in zip(shipment.image.layers, shipment.diff_ids, strict=True)
        ]
        assert shipment.image.config is not None
        return make_manifest(media_types.OCI_MANIFEST, shipment.image.config, layers)

    def _as_layer(self, digest: Digest) -> Descriptor:
        # Cut short over there, as more than is read here would cross the line all the same.
        start = self._shell.ask(f"{shlex.join(self._words)} content get {digest} | head -c {_START}")
        return self._described(digest, _LAYERS[codec.sniff(start)])

    # --- asking

    def _look_again(self) -> None:
        self.__dict__.pop("_digests", None)

    @cached_property
    def _digests(self) -> Collection[str]:
        """All content."""
        return frozenset(self._program.ask("content", "ls", "-q").decode().split())

    def _here(self, digests: Iterable[Digest], diff_ids: Iterable[Digest]) -> dict[Digest, Digest | None]:
        """What is here of some content and layers, with the diffIDs of layers that were unpacked.

        All that there is may be more than what is about to be sent.
        """
        filters = [*(f"digest=={digest}" for digest in digests), *(f"{_LABEL}=={diff_id}" for diff_id in diff_ids)]
        found: dict[Digest, Digest | None] = {}
        for start in range(0, len(filters), _MOST_FILTERS):
            lines = self._program.ask("content", "ls", *filters[start:][:_MOST_FILTERS]).decode().splitlines()[1:]
            for words in filter(None, map(str.split, lines)):
                label = _UNCOMPRESSED.search(words[-1])
                found[Digest.parse(words[0])] = Digest.parse(label.group(1)) if label else None
        return found

    def _records(self, *filters: str) -> list[ContainerdRecord]:
        lines = self._program.ask("images", "ls", *filters).decode().splitlines()[1:]
        rows = [line.split() for line in lines]
        return [ContainerdRecord(row[0], row[1], Digest.parse(row[2])) for row in rows if len(row) > 2]

    def _found(self, name: str) -> ContainerdRecord:
        """A record by its name, or by a digest or the beginning of an ID, which Kubernetes gives records for a name."""
        full = name if is_id(name) else self.full_name(name)
        if found := self._record(name) or self._record(full):
            return found
        meant = {item.digest: item for item in self._records() if item.goes_by(name) or item.goes_by(full)}
        if len(meant) != 1:
            raise no_such_image(self.label, name, self.references())
        return next(iter(meant.values()))

    def _record(self, name: str) -> ContainerdRecord | None:
        return next((record for record in self._records(f"name=={name}") if record.name == name), None)

    def _manifest(self, digest: Digest, media_type: str) -> Manifest:
        node = self._node(digest, media_type)
        if isinstance(node, Index):
            chosen = choose_one(node, self.platform())
            node = self._node(chosen.digest, chosen.media_type)
        if not isinstance(node, Manifest) or node.config is None:
            raise ServerRefused(f"{digest} in {self.label} is no image")
        return node

    def _node(self, digest: Digest, media_type: str) -> Node:
        return parse_manifest(self._document(digest), media_type, digest.algorithm)

    def _document(self, digest: Digest) -> bytes:
        """Something small, whole and verified, without asking for its size first."""
        content = self._program.ask("content", "get", str(digest))
        if Digest.of(content, digest.algorithm) != digest:
            raise DigestMismatch(f"{self.label} has other content than {digest} says")
        return content

    def _described(self, digest: Digest, media_type: str) -> Descriptor:
        """Content with its exact size, which no command of ctr tells."""
        size = self._shell.ask(f"{shlex.join(self._words)} content get {digest} | wc -c")
        found = read_decimal(size.decode("ascii", "replace").strip())
        if found is None:
            raise ServerRefused(f"{self.label} answers with something that is no size: {size!r:.60}")
        return Descriptor(media_type, digest, found)
