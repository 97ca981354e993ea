"""Proving that images are whole, the same in two places, or signed with a key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from imgmove.engine.graph import read_content, resolved
from imgmove.engine.verify import Verified, differences
from imgmove.engine.verify import verify as walk
from imgmove.errors import Difference, ImgmoveError, Side, SignatureError
from imgmove.model.location import Location, PipeLocation
from imgmove.model.manifest import Manifest
from imgmove.ports import Source
from imgmove.stages.naming import Origin, find_origins
from imgmove.stages.session import Session
from imgmove.wire import signing

_LARGEST_SIGNATURE = 4 << 20


@dataclass(frozen=True, slots=True)
class VerifiedImage:
    """An image of which everything reachable was read and hashed, and is right.

    Attributes:
        signatures: how many valid signatures of the given key it has; None when no key was given.
    """

    location: str
    verified: Verified
    signatures: int | None = None

    def __str__(self) -> str:
        return f"{self.location}@{self.verified.root.digest}"

    def to_json(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "location": self.location,
            "digest": str(self.verified.root.digest),
            "manifests": len(self.verified.nodes),
            "blobs": len(self.verified.blobs),
            "bytes": self.verified.bytes,
            "referrers": len(self.verified.referrers),
            "signatures": self.signatures,
        }


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The result of `verify`.

    Attributes:
        images: those that were read, all of them whole.
        differences: a line for each thing that only one of two images reaches.
    """

    images: Sequence[VerifiedImage]
    differences: Sequence[str] = ()

    def raise_differences(self) -> None:
        """Raises what the exit status should be made of.

        Raises:
            Difference: the two images are not the same.
        """
        if self.differences:
            count = len(self.differences)
            raise Difference(f"{self.images[0]} and {self.images[1]} differ in {count} thing{'s' * (count > 1)}")

    def to_json(self) -> dict[str, object]:
        """The JSON form."""
        return {"images": [image.to_json() for image in self.images], "differences": list(self.differences)}


def verify(
    session: Session,
    one: Location,
    other: Location | None = None,
    *,
    key: bytes | None = None,
    referrers: bool = True,
) -> VerifyReport:
    """Re-hashes everything reachable from an image; with another image, compares what both reach.

    A file without a name stands for all images in it, unless two places are compared.

    Args:
        key: a PEM public key; each image must then have a cosign signature of it. Nothing is asked of any network
            but the image's own registry; transparency logs are not looked at.

    Raises:
        ContentError, NotFound: content is wrong or missing.
        SignatureError: no valid signature of that key.
        UsageError: the key is none; nothing was read then.
    """
    trusted = signing.load_public_key(key) if key is not None else None
    if other is None:
        origins = _origins(session, one, every=True)
        return VerifyReport([_verified(session, origin, "source", trusted, referrers=referrers) for origin in origins])
    sides: tuple[tuple[Location, Side], ...] = ((one, "source"), (other, "destination"))
    pair = []
    for location, side in sides:
        try:
            origin = _origins(session, location, every=False)[0]
        except ImgmoveError as error:
            error.side = side
            raise
        pair.append(_verified(session, origin, side, trusted, referrers=referrers))
    return VerifyReport(pair, differences(pair[0].verified, pair[1].verified))


def _origins(session: Session, location: Location, *, every: bool) -> list[Origin]:
    location = session.endpoints.looked_up(location)
    if isinstance(location, PipeLocation):
        location = session.endpoints.spooled(location)
    is_named = bool(
        getattr(location, "name", "") or getattr(location, "digest", None) or hasattr(location, "reference")
    )
    return find_origins(session.endpoints, location, every=every and not is_named)


def _verified(
    session: Session, origin: Origin, side: Side, key: signing.PublicKey | None, *, referrers: bool
) -> VerifiedImage:
    source = origin.source
    assert isinstance(source, Source)
    try:
        root = session.run.persist(f"resolving {origin.label}", lambda: resolved(source, origin.name))
        # Signatures are found among the referrers, so a key needs them.
        verified = walk(source, root, session.pool, with_referrers=referrers or key is not None, side=side)
        verified.raise_first()
        count = _count_signatures(session, source, verified, key) if key is not None else None
    except ImgmoveError as error:
        if origin.label not in error.message:
            error.message = f"{origin.label}: {error.message}"
        raise error.on(side) from error.__cause__
    return VerifiedImage(origin.label, verified, count)


def _count_signatures(session: Session, source: Source, verified: Verified, key: signing.PublicKey) -> int:
    reasons: list[str] = []
    valid = 0
    for signature in _signatures(session, source, verified):
        try:
            # An attestation by the key says something about the image, which may well be that it is bad.
            valid += signature.check(key, verified.root.digest) == signing.IMAGE_SIGNATURE
        except ImgmoveError as error:
            if not isinstance(error, SignatureError):
                raise
            reasons.append(error.message)
    if not valid:
        raise SignatureError(f"no valid signature: {reasons[0]}" if reasons else "not signed")
    return valid


def _signatures(session: Session, source: Source, verified: Verified) -> Iterator[signing.Signature]:
    """Every cosign signature among what refers to the image, whatever it signs."""
    roots = {referrer.descriptor.digest for referrer in verified.referrers}
    for node in verified.nodes:
        if not isinstance(node, Manifest) or node.descriptor.digest not in roots:
            continue
        for layer in node.layers:
            if signing.is_signature(layer.media_type):
                what = f"reading signature {layer.digest.short}"
                content = session.run.persist(what, partial(read_content, source, layer, _LARGEST_SIGNATURE))
                yield signing.Signature(layer.media_type, content, layer.annotations)
