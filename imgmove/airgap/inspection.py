"""Looking into a bundle, for the person who has to approve it: what is in it, how large, how signed, how new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imgmove.airgap.content import Content, content_of
from imgmove.endpoints.bundle import Bundle
from imgmove.engine.graph import read_content
from imgmove.errors import ImgmoveError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest, read_json_object
from imgmove.ports import NamedImage

LICENCES = "org.opencontainers.image.licenses"
_LARGEST_CONFIG = 4 << 20
_KINDS = (
    ("cosign", "signature"),
    ("signature", "signature"),
    ("notary", "signature"),
    ("spdx", "SBOM"),
    ("cyclonedx", "SBOM"),
    ("syft", "SBOM"),
    ("in-toto", "attestation"),
    ("dsse", "attestation"),
)


@dataclass(frozen=True, slots=True)
class Part:
    """A layer or config: where the bytes are."""

    digest: Digest
    size: int
    media_type: str
    is_carried: bool
    is_new: bool


@dataclass(frozen=True, slots=True)
class InspectedImage:
    """One image.

    Attributes:
        size: bytes of all its blobs, each once.
        carried: bytes of those in the bundle.
        new: bytes of those in the bundle that the last one did not hold; the same as ``carried`` without one.
        is_new: the last bundle did not hold this image under its name; None without one.
        referrers: what refers to it, by kind: signature, SBOM, attestation, or a type as it stands.
        licences: as its labels name them.
    """

    names: tuple[str, ...]
    descriptor: Descriptor
    platforms: tuple[str, ...]
    size: int
    carried: int
    new: int
    is_new: bool | None
    referrers: tuple[str, ...]
    licences: tuple[str, ...]
    parts: tuple[Part, ...]

    @property
    def companions(self) -> str:
        """What refers to it, as people count it: ``1 SBOM, 2 signatures``."""
        plurals = {kind: f"{kind}s" for _, kind in _KINDS}
        counts = {kind: self.referrers.count(kind) for kind in self.referrers}
        return ", ".join(f"{n} {kind if n == 1 else plurals.get(kind, kind)}" for kind, n in counts.items())

    def to_json(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "names": list(self.names),
            "digest": str(self.descriptor.digest),
            "media_type": self.descriptor.media_type,
            "platforms": list(self.platforms),
            "size": self.size,
            "carried": self.carried,
            "new": self.new,
            "is_new": self.is_new,
            "referrers": list(self.referrers),
            "licences": list(self.licences),
            "blobs": [
                {
                    "digest": str(part.digest),
                    "size": part.size,
                    "media_type": part.media_type,
                    "carried": part.is_carried,
                }
                for part in self.parts
            ],
        }


@dataclass(frozen=True)
class BundleInspection:
    """What a bundle holds.

    Attributes:
        signature: ``none``, ``unchecked``, or ``valid`` when a key was given and signed it.
        faults: volumes that are missing or can't be used.
    """

    bundle: Bundle
    images: Sequence[InspectedImage]
    signature: str
    faults: Sequence[str]

    @property
    def blob_bytes(self) -> int:
        """Bytes of the blobs, shared ones once."""
        return sum(blob.size for blob in self.bundle.index.blobs)

    def to_json(self) -> dict[str, object]:
        """The JSON form."""
        index = self.bundle.index
        return {
            "bundle": self.bundle.bundle_id,
            "tool": index.tool,
            "created": index.created,
            "signature": self.signature,
            "volumes": len(self.bundle.volumes.expected) if self.bundle.volumes is not None else 0,
            "faults": list(self.faults),
            "blobs": len(index.blobs),
            "blob_bytes": self.blob_bytes,
            "assumed": len(index.assumed),
            "assumed_bytes": sum(item.descriptor.size for item in index.assumed),
            "images": [image.to_json() for image in self.images],
        }


def inspect_bundle(bundle: Bundle, last: Bundle | None = None, *, signature: str = "") -> BundleInspection:
    """Looks into a bundle.

    Args:
        last: the one before, to say what is new.
        signature: what is known of the signature; by default whether there is one.

    Raises:
        ContentError: a manifest is broken.
    """
    images = [_inspected(bundle, image, last) for image in bundle.index.images]
    signed = signature or ("unchecked" if bundle.signature is not None else "none")
    faults = [str(fault) for fault in bundle.volumes.faults] if bundle.volumes is not None else []
    return BundleInspection(bundle, images, signed, faults)


def _inspected(bundle: Bundle, image: NamedImage, last: Bundle | None) -> InspectedImage:
    content = content_of(bundle, image.descriptor)
    known = {blob.digest for blob in last.index.blobs} | _assumed(last) if last is not None else set()
    carried = {blob.digest for blob in bundle.index.blobs}
    parts = tuple(
        Part(blob.digest, blob.size, blob.media_type, blob.digest in carried, blob.digest not in known)
        for blob in content.blobs
    )
    configs = _configs(bundle, content)
    return InspectedImage(
        names=image.names,
        descriptor=image.descriptor,
        platforms=tuple(dict.fromkeys(text for config in configs if (text := _platform(config)))),
        size=sum(part.size for part in parts),
        carried=sum(part.size for part in parts if part.is_carried),
        new=sum(part.size for part in parts if part.is_carried and part.is_new),
        is_new=None if last is None else (image.names, image.descriptor.digest) not in _images(last),
        referrers=tuple(sorted(_kind(bundle, referrer) for referrer in content.referrers)),
        licences=_licences(content, configs),
        parts=parts,
    )


def _assumed(bundle: Bundle) -> set[Digest]:
    return {item.descriptor.digest for item in bundle.index.assumed}


def _images(bundle: Bundle) -> set[tuple[tuple[str, ...], Digest]]:
    return {(image.names, image.descriptor.digest) for image in bundle.index.images}


def _configs(bundle: Bundle, content: Content) -> list[Mapping[str, object]]:
    found: list[Mapping[str, object]] = []
    for node in content.nodes:
        if not isinstance(node, Manifest) or not node.is_image or node.subject or node.config is None:
            continue
        if bundle.holds(node.config) and node.config.size <= _LARGEST_CONFIG:
            try:
                found.append(read_json_object(read_content(bundle, node.config)))
            except ImgmoveError:
                # A damaged config is `bundle verify`'s to report; here it only has nothing to say.
                continue
    return found


def _platform(config: Mapping[str, object]) -> str:
    parts = [config.get("os"), config.get("architecture"), config.get("variant")]
    texts = [part for part in parts if isinstance(part, str) and part]
    return "" if "unknown" in texts else "/".join(texts)


def _licences(content: Content, configs: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    found = [node.annotations.get(LICENCES, "") for node in content.nodes]
    for config in configs:
        inner = config.get("config")
        labels = inner.get("Labels") if isinstance(inner, dict) else None
        found.append(str(labels.get(LICENCES, "")) if isinstance(labels, dict) else "")
    return tuple(dict.fromkeys(text for text in found if text))


def _kind(bundle: Bundle, referrer: NamedImage) -> str:
    names = " ".join(referrer.names)
    for suffix, kind in ((".sig", "signature"), (".att", "attestation"), (".sbom", "SBOM")):
        if names.endswith(suffix):
            return kind
    node = next((item for item in content_of(bundle, referrer.descriptor).nodes), None)
    text = (node.artifact_type if node is not None else "").lower()
    return next((kind for word, kind in _KINDS if word in text), text or "unknown")
