"""What a person can ask of a bundle, when it is made and when it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from imgmove.airgap.papers import Papers
from imgmove.endpoints.bundle import BundleOptions
from imgmove.endpoints.bundle.shape import Assumption
from imgmove.errors import UsageError
from imgmove.model.platform import Platform, as_platforms
from imgmove.wire.signing import PublicKey, SigningKey


@dataclass(frozen=True)
class CreateBundleOptions:
    """How a bundle is made. A contradiction raises `UsageError` when this is built.

    Attributes:
        platforms: as in a copy.
        referrers: whether signatures, attestations and SBOMs travel.
        have: files of inventories and receipts; blobs that they list are left out.
        since: older bundles, whose blobs are left out.
        request: a file of what the far side lacked; nothing else is carried then.
        lock: a file that pins tags to digests; made if missing.
        volume_size: bytes of a volume; 0 for one file.
        volume: the only volume to make; 0 for all.
        sign_key: signs the bundle.
        key: must have signed the inventories, receipts and requests.
        dry_run: stops before the first byte.
    """

    platforms: str | Sequence[Platform | str] = ()
    referrers: bool = True
    have: tuple[str, ...] = ()
    since: tuple[str, ...] = ()
    request: str = ""
    lock: str = ""
    volume_size: int = 0
    volume: int = 0
    sign_key: SigningKey | None = None
    key: PublicKey | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        as_platforms(self.platforms)
        if self.volume and not self.volume_size:
            raise UsageError("--volume needs --volume-size, which says where volumes begin")

    def form(self, assumed: Assumption, created: int | None) -> BundleOptions:
        """The part that decides over the bundle's bytes.

        Args:
            assumed: as in `BundleOptions`.
            created: seconds since 1970 to write down; None for nothing.
        """
        signer = self.sign_key.sign if self.sign_key is not None else None
        return BundleOptions(assumed, signer, created, self.volume_size, self.volume)


@dataclass(frozen=True)
class LoadBundleOptions:
    """How a bundle is loaded.

    Attributes:
        rename: ``FROM=TO`` each, of which the first that fits an image's original name replaces its beginning.
        key: must have signed the bundle.
        recheck: look at everything, even where the destination's tag says that all is done.
        reread: the proof reads and hashes blobs again.
        dry_run: stops before anything moves; no paper is written.
        papers: what is written afterwards.
    """

    rename: tuple[str, ...] = ()
    key: PublicKey | None = None
    recheck: bool = False
    reread: bool = False
    dry_run: bool = False
    papers: Papers = field(default_factory=Papers)
