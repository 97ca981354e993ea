"""Taking stock of a place: which blobs it really holds, so that the next bundle can leave them out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from imgmove.airgap.documents import HeldBlob, Holdings, seal
from imgmove.engine.verify import verify
from imgmove.errors import ImgmoveError, UsageError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.location import EngineLocation, Location, PipeLocation, RegistryLocation, RegistryPrefix
from imgmove.model.manifest import Manifest
from imgmove.model.reference import Reference
from imgmove.ports import Destination, ImageLister, NamedImage, Source, TagLister
from imgmove.stages.session import Session
from imgmove.wire.signing import SigningKey


@dataclass(frozen=True)
class Stock:
    """What an inventory found.

    Attributes:
        skipped: images that could not be read, a line each; what they hold may still be listed for others.
    """

    holdings: Holdings
    skipped: Sequence[str]

    def seal(self, key: SigningKey | None = None) -> bytes:
        """The inventory as a document, signed if there is a key."""
        return seal("inventory", self.holdings.to_json(), key.sign if key is not None else None)


@dataclass
class _Shelf:
    """A repository, or a whole file or engine, and its images.

    Attributes:
        keeps_configs: whether configs may be left out; an engine is asked for images by their configs, which every
            bundle for it has to carry.
    """

    place: Source
    repository: str
    images: Sequence[NamedImage]
    label: str
    keeps_configs: bool = True


def take_stock(session: Session, location: Location) -> Stock:
    """Asks a place for everything that it holds.

    Args:
        location: a registry or a prefix in it (``HOST/``, ``HOST/PATH/``), a repository, a layout, an archive, or a containerd.

    Raises:
        UsageError: the place has no list of what it holds.
        ImgmoveError: it can't be read.
    """
    held: dict[Digest, tuple[int, dict[str, None]]] = {}
    images: list[tuple[str, Digest]] = []
    skipped: list[str] = []
    for shelf in _shelves(session, location):
        for image in shelf.images:
            names = [f"{shelf.label}{name}" for name in image.names] or [str(image.descriptor.digest)]
            try:
                blobs = _present(session, shelf.place, image.descriptor, with_configs=shelf.keeps_configs)
            except ImgmoveError as error:
                skipped.append(f"{names[0]}: {error.message}")
                continue
            images += [(name, image.descriptor.digest) for name in names]
            for blob in blobs:
                places = held.setdefault(blob.digest, (blob.size, {}))[1]
                places.update({shelf.repository: None} if shelf.repository else {})
    blobs_held = [HeldBlob.of(digest, size, places) for digest, (size, places) in sorted(held.items())]
    return Stock(Holdings(str(location), images, blobs_held), skipped)


def _present(session: Session, place: Source, root: Descriptor, *, with_configs: bool) -> Sequence[Descriptor]:
    """The blobs below a root that are there, whatever its manifests say."""
    has = place.has if isinstance(place, Destination) else None
    found = verify(place, root, session.pool, with_referrers=True, has=has)
    left_out = {fault.descriptor.digest for fault in found.faults}
    if not with_configs:
        left_out |= {node.config.digest for node in found.nodes if isinstance(node, Manifest) and node.config}
    return [blob for blob in found.blobs if blob.digest not in left_out]


def _shelves(session: Session, location: Location) -> Iterator[_Shelf]:
    if isinstance(location, RegistryPrefix):
        registries = session.endpoints.registries_behind(location.carrier)
        asked = partial(registries.repositories, location.host, location.path)
        for name in sorted(session.run.persist(f"listing {location}", lambda: list(asked()))):
            reference = Reference.parse_at(location.host, name, default_tag="")
            yield _repository(session, RegistryLocation(reference, location.carrier))
        return
    if isinstance(location, RegistryLocation):
        yield _repository(session, location)
        return
    if isinstance(location, EngineLocation) and location.engine != "containerd":
        raise UsageError(
            f"{location}: docker and podman do not keep blobs as they came, so they can't list them",
            hint="the receipt of bundle load serves as well",
        )
    if not isinstance(location, EngineLocation):
        location = session.endpoints.looked_up(location)
    if isinstance(location, PipeLocation):
        raise UsageError("an inventory is of a place, not of a pipe")
    source = session.endpoints.source(location)
    if not isinstance(source, ImageLister) or not isinstance(source, Source):
        raise UsageError(f"{location} has no list of what it holds")
    yield _Shelf(source, "", source.images(), "", keeps_configs=not isinstance(location, EngineLocation))


def _repository(session: Session, location: RegistryLocation) -> _Shelf:
    reference = location.reference
    # The destination's side of a repository is also a source, and the one that can be asked what it has.
    place = session.endpoints.destination(location)
    assert isinstance(place, Source)
    assert isinstance(place, TagLister)
    tags = session.run.persist(f"listing {reference.name}", lambda: list(place.tags()))
    images: dict[Digest, tuple[Descriptor, list[str]]] = {}
    for tag in tags:
        root = session.run.persist(f"resolving {reference.name}:{tag}", partial(place.resolve, tag))
        images.setdefault(root.digest, (root, []))[1].append(tag)
    listed = [NamedImage(root, tuple(tags)) for root, tags in images.values()]
    return _Shelf(place, reference.repository, listed, f"{reference.name}:")
