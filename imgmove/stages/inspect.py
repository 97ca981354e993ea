"""Looking into an image without moving it: platforms, layers, sizes, config, and what refers to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from imgmove.engine.choose import choose_one, flattened, preferred
from imgmove.engine.graph import read_content, read_node
from imgmove.engine.pool import each
from imgmove.errors import ImgmoveError, UsageError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.location import Location, PipeLocation
from imgmove.model.manifest import Index, Manifest, Node, read_json_object
from imgmove.model.platform import Platform
from imgmove.ports import NamedImage, ReferrerLister, Source
from imgmove.stages.naming import Origin, find_origins
from imgmove.stages.session import Session

_LARGEST_CONFIG = 64 << 20
_DEFAULT_PLATFORM = Platform("linux", "amd64")


@dataclass(frozen=True, slots=True)
class Referrer:
    """Something that refers to the image."""

    descriptor: Descriptor
    artifact_type: str
    names: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "digest": str(self.descriptor.digest),
            "artifact_type": self.artifact_type,
            "size": self.descriptor.size,
            "names": list(self.names),
        }


@dataclass(frozen=True, slots=True)
class PlatformImage:
    """One image of an index: an entry and, unless it is some other artifact's, its manifest.

    Attributes:
        size: bytes of the manifest, config and layers together.
        is_absent: the index lists it but the place doesn't hold it.
    """

    descriptor: Descriptor
    platform: Platform | None
    size: int
    is_absent: bool = False

    def to_json(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "digest": str(self.descriptor.digest),
            "media_type": self.descriptor.media_type,
            "platform": str(self.platform) if self.platform else None,
            "size": self.size,
            "absent": self.is_absent,
        }


@dataclass(frozen=True, slots=True)
class Inspection:
    """What `inspect` found.

    Attributes:
        location: the image as a location.
        root: of the whole, index or manifest.
        images: the entries of an index; one for a manifest.
        manifest: the one that `layers` and `config` are of; None for an index of nothing that runs.
        config: the image's config document; empty for artifacts.
    """

    location: str
    root: Descriptor
    images: tuple[PlatformImage, ...]
    manifest: Manifest | None
    platform: Platform | None
    config: dict[str, object]
    referrers: tuple[Referrer, ...]

    @property
    def layers(self) -> Sequence[Descriptor]:
        """The layers of `manifest`."""
        return self.manifest.layers if self.manifest else ()

    def to_json(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "location": self.location,
            "digest": str(self.root.digest),
            "media_type": self.root.media_type,
            "images": [image.to_json() for image in self.images],
            "manifest": str(self.manifest.descriptor.digest) if self.manifest else None,
            "platform": str(self.platform) if self.platform else None,
            "annotations": dict(self.manifest.annotations) if self.manifest else {},
            "layers": [layer.to_json() for layer in self.layers],
            "config": self.config,
            "referrers": [referrer.to_json() for referrer in self.referrers],
        }


def inspect(session: Session, location: Location, platform: Platform | None = None) -> Inspection:
    """Finds out what an image is made of.

    Args:
        platform: whose layers and config to show; by default linux/amd64, else the first.

    Raises:
        NotFound: no such image or platform.
        ContentError: it is broken.
    """
    origin, root = _rooted(session, location)
    node = _read(session, origin.source, root)
    images = _images(session, origin.source, node)
    manifest = _chosen(session, origin.source, node, platform)
    config = _config_document(session, origin.source, manifest)
    return Inspection(
        location=origin.label,
        root=root,
        images=images,
        manifest=manifest,
        platform=_platform(config) or (images[0].platform if len(images) == 1 else None),
        config=config,
        referrers=_referrers(
            session, origin.source, {root.digest, *([manifest.descriptor.digest] if manifest else [])}
        ),
    )


def raw(session: Session, location: Location, platform: Platform | None = None) -> bytes:
    """The exact bytes of the image's manifest or index; with a platform, of that one's manifest."""
    origin, root = _rooted(session, location)
    node = _read(session, origin.source, root)
    if platform is None:
        return node.content
    manifest = _chosen(session, origin.source, node, platform)
    return manifest.content if manifest else node.content


def config(session: Session, location: Location, platform: Platform | None = None) -> bytes:
    """The exact bytes of the image's config.

    Raises:
        UsageError: it has none.
    """
    origin, root = _rooted(session, location)
    manifest = _chosen(session, origin.source, _read(session, origin.source, root), platform)
    if manifest is None or manifest.config is None:
        raise UsageError(f"{origin.label} has no config")
    return _content(session, origin.source, manifest.config)


def digest(session: Session, location: Location, platform: Platform | None = None) -> Digest:
    """The digest that the image's name stands for; with a platform, that of its manifest."""
    origin, root = _rooted(session, location)
    if platform is None:
        return root.digest
    manifest = _chosen(session, origin.source, _read(session, origin.source, root), platform)
    return manifest.descriptor.digest if manifest else root.digest


def _rooted(session: Session, location: Location) -> tuple[Origin, Descriptor]:
    location = session.endpoints.looked_up(location)
    if isinstance(location, PipeLocation):
        location = session.endpoints.spooled(location)
    (origin,) = find_origins(session.endpoints, location, every=False)
    source = origin.source
    assert isinstance(source, Source)
    try:
        root = session.run.persist(f"resolving {origin.label}", lambda: source.resolve(origin.name))
    except ImgmoveError as error:
        raise error.on("source") from error.__cause__
    return origin, root


def _read(session: Session, source: object, descriptor: Descriptor) -> Node:
    assert isinstance(source, Source)
    return session.run.persist(f"reading {descriptor.digest.short}", lambda: read_node(source, descriptor))


def _content(session: Session, source: object, descriptor: Descriptor) -> bytes:
    assert isinstance(source, Source)
    what = f"reading {descriptor.digest.short}"
    return session.run.persist(what, lambda: read_content(source, descriptor, _LARGEST_CONFIG))


def _chosen(session: Session, source: object, node: Node, platform: Platform | None) -> Manifest | None:
    if isinstance(node, Manifest):
        return node
    index = flattened(node, partial(_read, session, source))
    child = choose_one(index, platform) if platform else preferred(index, _DEFAULT_PLATFORM)
    if child is None or not child.is_manifest:
        return None
    chosen = _read(session, source, child)
    return chosen if isinstance(chosen, Manifest) else None


def _images(session: Session, source: object, node: Node) -> tuple[PlatformImage, ...]:
    if isinstance(node, Manifest):
        platform = _platform(_config_document(session, source, node))
        return (PlatformImage(node.descriptor, platform, _size(node)),)
    return tuple(each(session.pool, partial(_entry, session, source), node.manifests))


def _entry(session: Session, source: object, child: Descriptor) -> PlatformImage:
    if not child.is_manifest:
        return PlatformImage(child, child.platform, child.size)
    try:
        node = _read(session, source, child)
    except ImgmoveError as error:
        if error.exit_status != 5:
            raise
        return PlatformImage(child, child.platform, child.size, is_absent=True)
    return PlatformImage(child, child.platform, _size(node))


def _size(node: Node) -> int:
    children = () if isinstance(node, Index) else node.children
    return len(node.content) + sum(child.size for child in children)


def _config_document(session: Session, source: object, manifest: Manifest | None) -> dict[str, object]:
    if manifest is None or manifest.config is None or not manifest.is_image:
        return {}
    return read_json_object(_content(session, source, manifest.config), most=_LARGEST_CONFIG)


def _platform(document: dict[str, object]) -> Platform | None:
    platform = Platform.from_json({key: document.get(key) for key in ("os", "architecture", "variant", "os.version")})
    return platform if platform.os else None


def _referrers(session: Session, source: object, subjects: set[Digest]) -> tuple[Referrer, ...]:
    if not isinstance(source, ReferrerLister):
        return ()
    found: dict[Digest, NamedImage] = {}
    for subject in subjects:
        asked = partial(source.referrers, subject)
        for referrer in session.run.persist(f"asking what refers to {subject.short}", asked):
            found.setdefault(referrer.descriptor.digest, referrer)
    return tuple(each(session.pool, partial(_described, session, source), list(found.values())))


def _described(session: Session, source: object, referrer: NamedImage) -> Referrer:
    kind = referrer.descriptor.artifact_type
    if not kind:
        node = _read(session, source, referrer.descriptor)
        kind = node.artifact_type or node.media_type
        if isinstance(node, Manifest) and node.is_image and node.layers:
            kind = node.layers[0].media_type
    return Referrer(referrer.descriptor, kind, referrer.names)
