"""Engines as destinations: an image arrives under a name of its own, is looked at, and only then gets its real names.

So whatever goes wrong on the way leaves nothing under the names that people use.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from imgmove.endpoints.engines.removal import Removing, remove
from imgmove.endpoints.engines.shipment import Shipment, diff_ids_of
from imgmove.endpoints.engines.temporary_names import sweep, temporary_repository
from imgmove.errors import AccessDenied, ContentError, ImgmoveError, Interrupted, ServerRefused
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest, read_json_object
from imgmove.model.platform import Platform
from imgmove.ports import Holding, Opener


@dataclass(frozen=True, slots=True)
class EngineImage:
    """An image as an engine tells of it.

    Attributes:
        identity: the engine's word for it: the digest of its config or of its manifest.
    """

    identity: Digest
    diff_ids: tuple[Digest, ...]

    @classmethod
    def inspected(cls, identity: str, document: Mapping[str, object]) -> EngineImage:
        """An image as docker and podman show it to who looks into it."""
        root = document.get("RootFS")
        layers = listed(root, "Layers") if isinstance(root, dict) else ()
        return cls(Digest.parse(identity), tuple(map(Digest.parse, layers)))


def listed(document: Mapping[str, object], key: str) -> Sequence[object]:
    """What an engine lists under a key; nothing where it is no list."""
    value = document.get(key)
    return value if isinstance(value, list) else ()


@dataclass(frozen=True, slots=True)
class Way:
    """One way of getting an image into an engine.

    Attributes:
        what: names it in notes.
        take: brings the image in, under the temporary name that it is given.
        note: what a person should know when this way was taken.
    """

    what: str
    take: Callable[[Shipment, str], None]
    note: str = ""


class Engine(Removing, Protocol):
    """What is different from engine to engine."""

    def platform(self) -> Platform: ...

    def full_name(self, name: str) -> str:
        """The name as the engine keeps it."""
        ...

    def find(self, name: str) -> EngineImage | None:
        """An image, whole; None when there is none of that name."""
        ...

    def is_same(self, found: EngineImage, image: Manifest) -> bool:
        """Whether what is found is this image."""
        ...

    def references(self, start: str = "") -> list[str]:
        """All that names an image, by tag or by digest.

        Args:
            start: of the repository, below its host; others may be left out.
        """
        ...

    def held(self, image: Manifest, diff_ids: Sequence[Digest], names: Sequence[str]) -> Collection[Digest]:
        """The blobs of an image that need not be sent.

        Args:
            names: that the image is to get, so that earlier versions of it are looked at first.
        """
        ...

    def check(self, shipment: Shipment) -> None:
        """Raises what keeps the engine from taking an image at all."""
        ...

    def ways(self, shipment: Shipment) -> Sequence[Way]:
        """The ways to take an image, the cheapest first; the last one needs nothing of the engine's own."""
        ...

    def name(self, temporary: str, name: str) -> None:
        """Gives an image its real name, whatever had that before."""
        ...

    def close(self) -> None: ...


class EngineDestination:
    """An engine that images are moved to, one after another."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._is_swept = False

    def platform(self) -> Platform:
        """What the engine runs."""
        return self._engine.platform()

    def holding(self, image: Manifest, config: bytes, names: Sequence[str]) -> Holding:
        """What the engine holds of an image."""
        with self._lock:
            diff_ids = diff_ids_of(image, config)
            if all(self._has(name, image, diff_ids) for name in names):
                return Holding((), is_complete=True)
            held = self._engine.held(image, diff_ids, names)
            missing = {child.digest for child in image.children} - set(held)
            return Holding(missing, is_complete=False)

    def pull(self, image: Manifest, config: bytes, names: Sequence[str], content: Opener) -> Sequence[str]:
        """Takes an image by the cheapest way that works."""
        with self._lock:
            self._sweep_once()
            diff_ids = diff_ids_of(image, config)
            # Asked anew, as an image before this one may have brought layers that it needs too.
            held = self._engine.held(image, diff_ids, names)
            shipment = Shipment(image, diff_ids, Platform.from_json(read_json_object(config)), held, content)
            self._engine.check(shipment)
            try:
                notes = self._taken(shipment, names)
            except ImgmoveError as error:
                # Who tries again may never show this error, so what is left is kept for the next word.
                error.hint = "; ".join(filter(None, [error.hint, *self._engine.left.values()]))
                raise
            for name in list(self._engine.left):
                # It may have been away for a while.
                remove(self._engine, name)
            left = list(self._engine.left.values())
            self._engine.left.clear()
            return [*notes, *left]

    def close(self) -> None:
        """Closes connections."""
        self._engine.close()

    def _sweep_once(self) -> None:
        # Before anything is sent, as what was left takes room.
        if not self._is_swept:
            self._is_swept = True
            sweep(self._engine)

    def _taken(self, shipment: Shipment, names: Sequence[str]) -> Sequence[str]:
        ways = self._engine.ways(shipment)
        failed: list[str] = []
        for way in ways:
            try:
                self._take(way, shipment, names)
            except ImgmoveError as error:
                if way is ways[-1] or not _may_go_otherwise(error):
                    raise
                failed.append(f"{way.what} failed ({error.message})")
                continue
            return _notes(way, failed)
        raise AssertionError("an engine without a way")

    def _take(self, way: Way, shipment: Shipment, names: Sequence[str]) -> None:
        temporary = f"localhost/{temporary_repository()}:incoming"
        try:
            way.take(shipment, temporary)
            self._check(temporary, way, shipment)
            for name in names:
                self._engine.name(temporary, name)
        finally:
            remove(self._engine, temporary)

    def _check(self, temporary: str, way: Way, shipment: Shipment) -> None:
        """An engine may say yes to an image that it could not unpack."""
        if not self._has(temporary, shipment.image, shipment.diff_ids, by_layers=bool(way.note)):
            raise ServerRefused(f"{self._engine.label} took the image, but does not hold all of it")

    def _has(self, name: str, image: Manifest, diff_ids: tuple[Digest, ...], *, by_layers: bool = False) -> bool:
        found = self._engine.find(self._engine.full_name(name))
        if found is None or found.diff_ids != diff_ids:
            return False
        return by_layers or self._engine.is_same(found, image)


def _may_go_otherwise(error: ImgmoveError) -> bool:
    """Whether another way could succeed: not where the source fails, the link broke, or somebody ended it all."""
    if error.side == "source" or error.is_transient:
        return False
    return not isinstance(error, Interrupted | ContentError | AccessDenied)


def _notes(way: Way, failed: Sequence[str]) -> list[str]:
    notes = [way.note] if way.note else []
    if failed:
        notes.append(f"{', then '.join(failed)}; sent {way.what} instead")
    return notes
