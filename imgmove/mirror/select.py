"""Which tags of a repository a mirror takes (CLI contract, *Mirror file*)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from imgmove.mirror.version import Key, Range, Version

_DIGEST_TAG = re.compile(r"sha(?:256|384|512)-[0-9a-f]{32,128}(?:\..*)?")
_WILD = re.compile(r"[*?\[]")


def is_digest_tag(tag: str) -> bool:
    """Whether a tag stands for what refers to another image; it travels with that image, never by itself."""
    return _DIGEST_TAG.fullmatch(tag) is not None


@dataclass(frozen=True)
class Selection:
    """The rules of one mirror, all of which hold together.

    Attributes:
        include: globs, of which one has to fit; one without wildcards names a tag that always passes.
        exclude: globs, of which none may fit.
        regex: has to be found in the tag.
        semver: has to hold the tag's version.
        variants: globs for the variant, of which one has to fit; ``""`` is the plain one.
        latest: how many of the highest versions are kept, of each variant by itself.
        named: the tags among ``include``.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    regex: re.Pattern[str] | None = None
    semver: Range | None = None
    variants: tuple[str, ...] = ()
    latest: int | None = None
    named: frozenset[str] = field(init=False, repr=False, default=frozenset())

    def __post_init__(self) -> None:
        object.__setattr__(self, "named", frozenset(glob for glob in self.include if not _WILD.search(glob)))

    def judge(self, tags: Iterable[str]) -> Mapping[str, str]:
        """Says of each tag why it is left out; nothing for those that are taken. The tags' order is kept."""
        verdicts: dict[str, str] = {}
        ranked: dict[str, Version] = {}
        for tag in tags:
            version = Version.parse(tag)
            reason = self._why_refused(tag, version)
            if not reason and self.latest is not None and tag not in self.named:
                if version is None:
                    reason = "it names no version"
                else:
                    ranked[tag] = version
            verdicts[tag] = reason
        if self.latest is not None:
            verdicts.update((tag, f"it is not among the latest {self.latest}") for tag in self._outdated(ranked))
        return verdicts

    def _why_refused(self, tag: str, version: Version | None) -> str:
        if is_digest_tag(tag):
            return "it belongs to another image"
        if tag not in self.named and (reason := self._why_not_passed(tag, version)):
            return reason
        fitting = next((glob for glob in self.exclude if fnmatchcase(tag, glob)), None)
        return "" if fitting is None else f"{fitting} is excluded"

    def _why_not_passed(self, tag: str, version: Version | None) -> str:
        if self.include and not any(fnmatchcase(tag, glob) for glob in self.include):
            return "no include fits"
        if self.regex is not None and not self.regex.search(tag):
            return "the regex does not fit"
        if (self.semver is not None or self.variants) and version is None:
            return "it names no version"
        if self.semver is not None and version is not None and not self.semver.holds(version):
            return f"its version is not {self.semver.text}"
        if (
            self.variants
            and version is not None
            and not any(fnmatchcase(version.variant, glob) for glob in self.variants)
        ):
            return f"the variant {version.variant or 'without a name'} is not chosen"
        return ""

    def _outdated(self, ranked: Mapping[str, Version]) -> list[str]:
        assert self.latest is not None
        keys: dict[str, set[Key]] = {}
        for version in ranked.values():
            keys.setdefault(version.variant, set()).add(version.key)
        kept = {variant: set(sorted(found, reverse=True)[: self.latest]) for variant, found in keys.items()}
        return [tag for tag, version in ranked.items() if version.key not in kept[version.variant]]
