"""Podman, through its own command, which reaches its service's socket as well as its own storage.

Podman knows a layer by its diffID always, and by the digest of its compressed form only where it came with a manifest
that named it so.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from imgmove.endpoints.engines.arrival import comes
from imgmove.endpoints.engines.commands import CommandOutput, Program
from imgmove.endpoints.engines.destination import EngineImage, Way
from imgmove.endpoints.engines.removal import remove
from imgmove.endpoints.engines.shipment import Shipment, earlier_first, held_below
from imgmove.endpoints.engines.temporary_names import temporary_repository
from imgmove.errors import ImgmoveError, NotFound
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest, make_manifest
from imgmove.model.platform import Platform
from imgmove.streams import BytesReader
from imgmove.wire.stream_http import json_lines

_AT_ONCE = 50
_COLUMNS = 2
_LAYERS_ALONE = '{"Id":"{{.Id}}","RootFS":{"Layers":{{json .RootFS.Layers}}}}'
_LOCAL = "localhost/"
_SAVE = ("save", "-q", "--format", "docker-archive")

# Podman keeps a folder beside what it saves, and leaves that where nobody reads on. What ends podman leaves the shell
# to tidy up.
_IN_OWN_FOLDER = (
    'trap : HUP INT TERM; folder=$(mktemp -d "${TMPDIR:-/var/tmp}/imgmove-XXXXXX") || exit; '
    'TMPDIR=$folder "$@"; status=$?; rm -rf "$folder"; exit $status'
)
# It keeps all that it loads in a file, and leaves that where nobody hears any more that it is done.
_UNHEARD = 'exec "$@" >/dev/null'


class Podman:
    """One podman."""

    keeps_manifests = False

    def __init__(self, program: Program) -> None:
        self._program = program
        self._saving = program.begun_by("sh", "-c", _IN_OWN_FOLDER, "sh")
        self._loading = program.begun_by("sh", "-c", _UNHEARD, "sh")
        self.label = program.label
        self.left: dict[str, str] = {}
        self._seen: dict[str, EngineImage] = {}

    def platform(self) -> Platform:
        """What it runs."""
        return self._platform

    @cached_property
    def _platform(self) -> Platform:
        text = self._program.ask("info", "--format", "{{.Host.OS}}/{{.Host.Arch}}").decode().strip()
        return Platform.parse(text)

    # --- what it holds

    def full_name(self, name: str) -> str:
        """Podman puts names without a host under ``localhost``."""
        first, slash, _ = name.partition("/")
        has_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
        return name if has_host else _LOCAL + name

    def find(self, name: str) -> EngineImage | None:
        """An image by its name or ID."""
        try:
            found = self._inspected(name)
        except NotFound:
            return None
        return found[0] if found else None

    def is_same(self, found: EngineImage, image: Manifest) -> bool:
        """Images go by the digest of their config."""
        return image.config is not None and found.identity == image.config.digest

    def held(self, image: Manifest, diff_ids: Sequence[Digest], names: Sequence[str]) -> Collection[Digest]:
        """Layers that some image has on top of the same lower ones."""
        return held_below(image, diff_ids, [seen.diff_ids for seen in self._seen.values()], self._layers(names))

    def references(self, start: str = "") -> list[str]:
        """All names of images."""
        chosen = ("--filter", f"reference=*/{start}*") if start else ()
        listed = self._program.ask("images", *chosen, "--format", "{{.Repository}}:{{.Tag}}").decode().split()
        return sorted(name for name in listed if "<none>" not in name)

    def _layers(self, names: Sequence[str]) -> Iterator[Sequence[Digest]]:
        """The layers of images that were not seen yet, some at a time, as a question can grow too long."""
        waiting = [identity for identity in earlier_first(self._identities, names) if identity not in self._seen]
        while waiting:
            asked, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
            # One of them may have gone meanwhile.
            with contextlib.suppress(NotFound):
                yield from [image.diff_ids for image in self._inspected(*asked)]

    @cached_property
    def _identities(self) -> Mapping[str, Sequence[str]]:
        """The IDs of images, with their names. What comes later in this run is seen when it comes."""
        lines = self._program.ask("images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}").decode()
        found: dict[str, list[str]] = {}
        for identity, name in (line.split() for line in lines.splitlines() if len(line.split()) == _COLUMNS):
            found.setdefault(identity, []).append(name)
        return found

    def _inspected(self, *names: str) -> list[EngineImage]:
        # The whole of what it knows is ten times as much.
        content = self._program.ask("image", "inspect", "--format", _LAYERS_ALONE, *names)
        found = [EngineImage.inspected(f"sha256:{item.get('Id')}", item) for item in json_lines(content)]
        self._seen |= {str(image.identity): image for image in found}
        return found

    # --- taking images

    def check(self, shipment: Shipment) -> None:
        """It takes all that there is."""

    def ways(self, shipment: Shipment) -> Sequence[Way]:
        """Archives; what it holds is named in them as it knows it."""
        whole = Way("the whole image", lambda shipment, name: self._load(shipment, name, shipment.image, ()))
        if not shipment.is_sparse:
            return [whole]
        if self._knows_as_named(shipment):
            part = Way(
                "only the missing layers",
                lambda shipment, name: self._load(shipment, name, shipment.image, shipment.held),
            )
            return [part, whole]
        image, held = _by_diff_ids(shipment)
        part = Way(
            "only the missing layers",
            lambda shipment, name: self._load(shipment, name, image, held),
            note="podman knows the layers that it holds by another name, so its manifest has a digest of its own",
        )
        return [part, whole]

    def name(self, temporary: str, name: str) -> None:
        """Tags it."""
        self._program.ask("tag", temporary, self.full_name(name))

    def forget(self, temporary: str) -> None:
        """Removes the name, and the image if it has no other."""
        with contextlib.suppress(NotFound):
            self._program.ask("rmi", temporary)

    def removing(self, name: str) -> str:
        """With podman itself."""
        return shlex.join(["podman", "rmi", name])

    def _load(self, shipment: Shipment, temporary: str, image: Manifest, held: Collection[Digest]) -> None:
        self._loading.feed(
            lambda sink: shipment.write_archive(sink, temporary, image, held),
            *("load", "-q"),
            comes=lambda: comes(lambda: self.find(temporary) is not None, shipment.missing_size),
        )

    def _knows_as_named(self, shipment: Shipment) -> bool:
        """Whether it knows the held layers by the digests that the manifest gives them.

        It is asked by an image of those layers alone, which costs a few hundred bytes and is taken away again.
        """
        layers = [layer for layer in shipment.image.layers if layer.digest in shipment.held]
        diff_ids = [str(diff_id) for diff_id in shipment.diff_ids[: len(layers)]]
        config = json.dumps(
            {**self._platform.to_json(), "rootfs": {"type": "layers", "diff_ids": diff_ids}}, sort_keys=True
        ).encode()
        described = Descriptor.of(config, media_types.OCI_CONFIG)
        probe = make_manifest(media_types.OCI_MANIFEST, described, layers)
        asked = replace(shipment, image=probe, content=_Bytes(config))
        name = f"{_LOCAL}{temporary_repository()}:probe"
        try:
            self._load(asked, name, probe, shipment.held)
        except ImgmoveError as error:
            if error.is_transient:
                raise
            return False
        finally:
            remove(self, name)
        return True

    # --- giving images

    def save(self, name: str) -> CommandOutput:
        """An archive of an image, as it comes."""
        self._program.ask("image", "inspect", "--format", "{{.Id}}", name)
        return self._saving.output(*_SAVE, name)

    def save_words(self, name: str) -> Sequence[str]:
        """The command that writes the archive of an image."""
        return [*self._saving.words, *_SAVE, name]

    def export(self, container: str) -> CommandOutput:
        """The root file system of a container, as it comes."""
        return self._program.output("export", container)

    def close(self) -> None:
        """Nothing stays open."""


class _Bytes:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def open(self, descriptor: Descriptor, offset: int = 0) -> BytesReader:  # noqa: ARG002 - there is one
        return BytesReader(self._content[offset:])


def _by_diff_ids(shipment: Shipment) -> tuple[Manifest, Collection[Digest]]:
    """The same image, with held layers named by their diffIDs. Podman looks at no size of what it holds."""
    held = {
        diff_id
        for layer, diff_id in zip(shipment.image.layers, shipment.diff_ids, strict=True)
        if layer.digest in shipment.held
    }
    layers = [
        replace(layer, media_type=media_types.OCI_LAYER, digest=diff_id, size=0)
        if layer.digest in shipment.held
        else layer
        for layer, diff_id in zip(shipment.image.layers, shipment.diff_ids, strict=True)
    ]
    assert shipment.image.config is not None
    return make_manifest(media_types.OCI_MANIFEST, shipment.image.config, layers), held
