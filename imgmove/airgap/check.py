"""Checking a bundle without a destination: every byte of it is hashed, and every fault named."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from imgmove.airgap.content import affected
from imgmove.endpoints.bundle import Bundle
from imgmove.engine.pool import TaskGroup
from imgmove.errors import ContentError, ImgmoveError, Truncated
from imgmove.model.descriptor import Descriptor
from imgmove.ports import BlobFinished, BlobStarted
from imgmove.stages.session import Session
from imgmove.streams import ContentCheck, VerifyingReader, drain
from imgmove.wire.signing import PublicKey


@dataclass(frozen=True)
class CheckedBundle:
    """What was found.

    Attributes:
        faults: a line each; none when all is well.
        affected: the images that need what is missing or damaged.
        is_signed: whether a key was given, and signed the bundle.
    """

    bundle: Bundle
    faults: Sequence[str]
    affected: Sequence[str]
    is_signed: bool

    def raise_faults(self) -> None:
        """Raises what the exit status should be made of.

        Raises:
            ContentError: something is missing or damaged.
        """
        if self.faults:
            count = len(self.faults)
            raise ContentError(f"the bundle has {count} fault{'s' * (count > 1)}")

    def to_json(self) -> dict[str, object]:
        """The JSON form."""
        index = self.bundle.index
        return {
            "bundle": self.bundle.bundle_id,
            "signature_checked": self.is_signed,
            "images": len(index.images),
            "blobs": len(index.blobs),
            "bytes": sum(blob.size for blob in index.blobs),
            "faults": list(self.faults),
            "affected": list(self.affected),
        }


def check(session: Session, bundle: Bundle, key: PublicKey | None = None) -> CheckedBundle:
    """Hashes every blob of a bundle, whose other parts were checked when it was opened.

    Raises:
        SignatureError: the key did not sign it.
    """
    if key is not None:
        bundle.check_signature(key.accepts)
    bad: list[tuple[Descriptor, ImgmoveError]] = []
    other: list[BaseException] = []

    def failed(blob: Descriptor, error: BaseException) -> None:
        bad.append((blob, error)) if isinstance(error, ContentError | Truncated) else other.append(error)

    group = TaskGroup(session.pool)
    held = [blob for blob in bundle.index.blobs if bundle.holds(blob)]
    for blob in held:
        group.spawn(partial(_hash, session, bundle, blob), partial(failed, blob))
    group.wait()
    if other:
        raise other[0]
    faults = [str(fault) for fault in bundle.volumes.faults] if bundle.volumes is not None else []
    numbers = {fault.number for fault in bundle.volumes.faults} if bundle.volumes is not None else set()
    for blob, error in bad:
        damaged = bundle.volumes.damaged(str(blob.digest)) if bundle.volumes is not None else []
        faults += [str(fault) for fault in damaged] or [error.message]
        numbers.update(fault.number for fault in damaged)
    faults += _forged(bundle, numbers)
    names = list(affected(bundle, numbers, {blob.digest for blob, _ in bad}))
    return CheckedBundle(bundle, faults, names, key is not None)


def _hash(session: Session, bundle: Bundle, blob: Descriptor) -> None:
    run, key = session.run, str(blob.digest)
    run.observer.on(BlobStarted(key, blob.digest.short, blob.size))
    with closing(run.watched(bundle.open(blob), key)) as reader:
        drain(VerifyingReader(reader, ContentCheck(blob)))
    run.observer.on(BlobFinished(key, blob.digest.short, blob.size, "present"))


def _forged(bundle: Bundle, known: set[int]) -> list[str]:
    """Volumes whose checksums are wrong though the blobs are right, so that nobody relies on them."""
    volumes = bundle.volumes
    if volumes is None:
        return []
    sizes = {str(blob.digest): blob.size for blob in bundle.index.blobs}
    found = []
    for number, item in sorted(volumes.found.items()):
        parts = [piece.blob for piece in item.volume.pieces if piece.size < sizes[piece.blob]]
        if number not in known and any(fault.number == number for blob in parts for fault in volumes.damaged(blob)):
            found.append(f"volume {number} ({item.path}): it states a wrong checksum")
            known.add(number)
    return found
