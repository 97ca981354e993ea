"""What a person can ask of a copy beyond where from and where to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from imgmove.engine.convert import Conversions, Format
from imgmove.engine.plan import Choice
from imgmove.errors import UsageError
from imgmove.model.media_types import Compression
from imgmove.model.platform import Platform, as_platforms
from imgmove.model.reference import check_tag
from imgmove.ports import Codec

WantedCompression = Literal["keep", "gzip", "zstd", "none"]
_LEVELS = {"gzip": (1, 9), "zstd": (1, 22)}


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """Frozen and checked: a contradiction raises `UsageError` when it is built.

    Attributes:
        platforms: values, or texts such as ``linux/amd64``: none for the whole index (an engine gets its own); one
            takes that manifest itself; several make an index of them.
        all_tags: every tag of the source's repository.
        additional_tags: one more name for the image at the destination, or several.
        referrers: whether signatures, attestations and SBOMs travel.
        recheck: look at everything, even where the destination's tag says that all is done.
        compression: of layers; ``keep`` gzips only layers that come without a manifest, and only for registries.
        compression_level: of the compressor; None for its default.
        format: the media types of manifests.
        dry_run: plan, but move nothing.
    """

    platforms: str | Sequence[Platform | str] = ()
    all_tags: bool = False
    additional_tags: str | Sequence[str] = ()
    referrers: bool = True
    recheck: bool = False
    compression: WantedCompression = "keep"
    compression_level: int | None = None
    format: Format = "keep"
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.compression not in ("keep", "gzip", "zstd", "none"):
            raise UsageError(f"no compression {self.compression!r:.40}", hint="there are keep, gzip, zstd and none")
        if self.format not in ("keep", "oci", "docker"):
            raise UsageError(f"no format {self.format!r:.40}", hint="there are keep, oci and docker")
        as_platforms(self.platforms)
        for tag in self.more_tags:
            check_tag(tag)
        if self.compression_level is not None:
            self._check_level(self.compression_level)

    def _check_level(self, level: int) -> None:
        if self.compression not in _LEVELS:
            raise UsageError("--compression-level needs --compression gzip or zstd")
        least, most = _LEVELS[self.compression]
        if not least <= level <= most:
            raise UsageError(f"{self.compression} has the levels {least} to {most}, not {level}")

    @property
    def more_tags(self) -> Sequence[str]:
        """`additional_tags`, however many."""
        return [self.additional_tags] if isinstance(self.additional_tags, str) else self.additional_tags

    @property
    def choice(self) -> Choice:
        """The part that says what of an image moves."""
        return Choice(as_platforms(self.platforms), self.referrers, self.recheck)

    def conversions(self, codec: Codec, made_up: Compression | None) -> Conversions | None:
        """The part that says what changes on the way; None when nothing can.

        Args:
            made_up: what becomes of layers that come without a manifest when nothing was asked for.
        """
        asked: Compression | None = None if self.compression == "keep" else self.compression
        if asked is None and made_up is None and self.format == "keep":
            return None
        return Conversions(codec, asked, made_up, self.compression_level, self.format)
