"""Looking into an image without moving it: platforms, layers, sizes, config, and what refers to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from imgmove.engine.pool import each
from imgmove.errors import ImgmoveError, UsageError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.location import Location
from imgmove.model.manifest import LARGEST_CONFIG, Index, Manifest, Node, read_json_object
from imgmove.model.platform import Platform
from imgmove.ports import NamedImage, ReferrerLister
from imgmove.stages.image import SourceImage
from imgmove.stages.session import Session


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
    image = SourceImage(session, location)
    node, manifest = image.node, image.chosen(platform)
    images = _images(session, image, node)
    config = _config_document(image, manifest)
    return Inspection(
        location=image.label,
        root=image.root,
        images=images,
        manifest=manifest,
        platform=_platform(config) or (images[0].platform if len(images) == 1 else None),
        config=config,
        referrers=_referrers(session, image, {image.root.digest, *([manifest.descriptor.digest] if manifest else [])}),
    )


def raw(session: Session, location: Location, platform: Platform | None = None) -> bytes:
    """The exact bytes of the image's manifest or index; with a platform, of that one's manifest."""
    image = SourceImage(session, location)
    manifest = image.chosen(platform) if platform else None
    return manifest.content if manifest else image.node.content


def config(session: Session, location: Location, platform: Platform | None = None) -> bytes:
    """The exact bytes of the image's config.

    Raises:
        UsageError: it has none.
    """
    image = SourceImage(session, location)
    manifest = image.chosen(platform)
    if manifest is None or manifest.config is None:
        raise UsageError(f"{image.label} has no config")
    return image.content(manifest.config)


def digest(session: Session, location: Location, platform: Platform | None = None) -> Digest:
    """The digest that the image's name stands for; with a platform, that of its manifest."""
    image = SourceImage(session, location)
    manifest = image.chosen(platform) if platform else None
    return manifest.descriptor.digest if manifest else image.root.digest


def _images(session: Session, image: SourceImage, node: Node) -> tuple[PlatformImage, ...]:
    if isinstance(node, Manifest):
        platform = _platform(_config_document(image, node))
        return (PlatformImage(node.descriptor, platform, _size(node)),)
    return tuple(each(session.pool, partial(_entry, image), node.manifests))


def _entry(image: SourceImage, child: Descriptor) -> PlatformImage:
    if not child.is_manifest:
        return PlatformImage(child, child.platform, child.size)
    try:
        node = image.read(child)
    except ImgmoveError as error:
        if error.exit_status != 5:
            raise
        return PlatformImage(child, child.platform, child.size, is_absent=True)
    return PlatformImage(child, child.platform, _size(node))


def _size(node: Node) -> int:
    children = () if isinstance(node, Index) else node.children
    return len(node.content) + sum(child.size for child in children)


def _config_document(image: SourceImage, manifest: Manifest | None) -> dict[str, object]:
    if manifest is None or manifest.config is None or not manifest.is_image:
        return {}
    return read_json_object(image.content(manifest.config), most=LARGEST_CONFIG)


def _platform(document: dict[str, object]) -> Platform | None:
    platform = Platform.from_json({key: document.get(key) for key in ("os", "architecture", "variant", "os.version")})
    return platform if platform.os else None


def _referrers(session: Session, image: SourceImage, subjects: set[Digest]) -> tuple[Referrer, ...]:
    source = image.source
    if not isinstance(source, ReferrerLister):
        return ()
    found: dict[Digest, NamedImage] = {}
    for subject in subjects:
        for referrer in image.ask(f"asking what refers to {subject.short}", partial(source.referrers, subject)):
            found.setdefault(referrer.descriptor.digest, referrer)
    return tuple(each(session.pool, partial(_described, image), list(found.values())))


def _described(image: SourceImage, referrer: NamedImage) -> Referrer:
    kind = referrer.descriptor.artifact_type
    if not kind:
        node = image.read(referrer.descriptor)
        kind = node.artifact_type or node.media_type
        if isinstance(node, Manifest) and node.is_image and node.layers:
            kind = node.layers[0].media_type
    return Referrer(referrer.descriptor, kind, referrer.names)
