"""Versions as tags spell them, and ranges over them.

A tag is no semantic version: ``1.27-alpine`` is not a pre-release of 1.27 but the same release in another make, here
called its *variant*. Only words that are known to announce a release (``rc``, ``beta``, …) make a pre-release. Missing
numbers count as zeros, and a number behind a dash (``1.2.3-4``, ``1.2.3-debian-12-r4``) is a revision, which is later
than the version without it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from imgmove.errors import UsageError
from imgmove.model.reference import LONGEST_TAG

_RANKS = {
    word: rank
    for rank, words in enumerate(
        ("dev", "snapshot nightly canary", "alpha a", "beta b", "milestone m ea", "preview pre", "rc cr")
    )
    for word in words.split()
}
_RELEASE = (len(_RANKS),)
_LONG_WORDS = "|".join(sorted((word for word in _RANKS if len(word) > 1), key=len, reverse=True))
_NUMBERS = re.compile(r"v?(\d+(?:\.\d+)*)", re.IGNORECASE)
_DATE = re.compile(r"v?(\d{4})-(\d{2})-(\d{2})(?![0-9])", re.IGNORECASE)
# One letter announces a release only as Python spells it (1.0a1), or as milestones are (1.0-M2).
_PRERELEASE = re.compile(
    rf"(?:[-._]?({_LONG_WORDS})(?:[-.]?(\d+(?:\.\d+)*))?|([ab])(\d+)|[-.](m)(\d+))(?=[-_]|$)", re.IGNORECASE
)
_REVISION = re.compile(r"-r?(\d+)")
_LAST_REVISION = re.compile(r"(.*)-r(\d+)", re.IGNORECASE)
_COMPARATOR = re.compile(r"(\^|~>?|>=|<=|!=|>|<|==?)?\s*(v?[0-9xX*][^\s,|]*)")
_WILDCARD = re.compile(r"\.[xX*].*")

Key = tuple[tuple[int, ...], tuple[int, ...], int]


@dataclass(frozen=True, slots=True)
class Version:
    """A tag that names a version.

    Attributes:
        numbers: at least one; trailing zeros are left out.
        prerelease: empty for a release.
        revision: of the packaging; 0 for none.
        variant: the make of the release, such as ``alpine``; empty for the plain one.
        parts: how many numbers were written.
    """

    numbers: tuple[int, ...]
    prerelease: tuple[int, ...] = ()
    revision: int = 0
    variant: str = ""
    parts: int = field(default=0, compare=False)

    @classmethod
    def parse(cls, tag: str) -> Version | None:
        """Reads a tag; None for one that names no version."""
        if len(tag) > LONGEST_TAG:
            return None
        if date := _DATE.match(tag):
            numbers, rest = [int(part) for part in date.groups()], tag[date.end() :]
        elif match := _NUMBERS.match(tag):
            numbers, rest = [int(part) for part in match.group(1).split(".")], tag[match.end() :]
        else:
            return None
        prerelease: tuple[int, ...] = ()
        if announced := _PRERELEASE.match(rest):
            prerelease, rest = _prerelease(announced), rest[announced.end() :]
        revision = 0
        if revised := re.fullmatch(r"-(\d+)((?:-.*)?)", rest):
            revision, rest = int(revised.group(1)), revised.group(2)
        elif (last := _LAST_REVISION.fullmatch(rest)) is not None:
            rest, revision = last.group(1), int(last.group(2))
        if rest and (rest[0] not in "-_" or len(rest) == 1):
            return None
        return cls(_trimmed(numbers), prerelease, revision, rest[1:], len(numbers))

    @property
    def key(self) -> Key:
        """What versions are ordered by; the variant has no part in it."""
        return self.numbers, self.prerelease or _RELEASE, self.revision


def _prerelease(match: re.Match[str]) -> tuple[int, ...]:
    word = next(match.group(group) for group in (1, 3, 5) if match.group(group))
    numbers = next((match.group(group) for group in (2, 4, 6) if match.group(group)), "0")
    return _RANKS[word.lower()], *(int(part) for part in numbers.split("."))


def _trimmed(numbers: list[int]) -> tuple[int, ...]:
    count = len(numbers)
    while count > 1 and not numbers[count - 1]:
        count -= 1
    return tuple(numbers[:count])


@dataclass(frozen=True, slots=True)
class _Bound:
    """From ``low`` on and below ``high``; ``is_inside`` False turns it over. None is no end."""

    low: tuple[tuple[int, ...], tuple[int, ...]] | None
    high: tuple[tuple[int, ...], tuple[int, ...]] | None
    is_inside: bool = True
    named: Version | None = None

    def holds(self, version: Version) -> bool:
        key = (version.numbers, version.prerelease or _RELEASE)
        inside = (self.low is None or key >= self.low) and (self.high is None or key < self.high)
        return inside is self.is_inside


@dataclass(frozen=True, slots=True)
class Range:
    """Versions between bounds, as npm and regsync write them: ``>=1.25 <2``, ``^1.4 || ~2.1.0``, ``1.x``."""

    text: str
    _alternatives: tuple[tuple[_Bound, ...], ...]

    @classmethod
    def parse(cls, text: str) -> Range:
        """Reads a range.

        Raises:
            UsageError: it is none.
        """
        return cls(text, tuple(tuple(_bounds(part, text)) for part in text.split("||")))

    def holds(self, version: Version) -> bool:
        """Whether a version is in the range, whatever its variant.

        A pre-release is only where a bound names a pre-release of the same version, so that ``>=1.9`` does not bring
        2.0.0-rc1 to people who never asked for it.
        """
        return any(
            all(bound.holds(version) for bound in bounds)
            and (not version.prerelease or any(_invites(bound, version) for bound in bounds))
            for bounds in self._alternatives
        )


def _invites(bound: _Bound, version: Version) -> bool:
    named = bound.named
    return named is not None and bool(named.prerelease) and named.numbers == version.numbers


def _bounds(part: str, whole: str) -> list[_Bound]:
    bounds: list[_Bound] = []
    position = 0
    while position < len(part):
        if part[position] in " ,\t":
            position += 1
            continue
        match = _COMPARATOR.match(part, position)
        if match is None:
            raise UsageError(
                f"not a range of versions: {whole!r:.80}", hint='write it like ">=1.25 <2", "^1.4" or "1.x"'
            )
        bounds.append(_bound(match.group(1) or "=", match.group(2), whole))
        position = match.end()
    if not bounds:
        raise UsageError(f"not a range of versions: {whole!r:.80}", hint='"*" is every version')
    return bounds


def _bound(operator: str, text: str, whole: str) -> _Bound:
    if text in {"*", "x", "X"}:
        return _Bound(None, None)
    version = Version.parse(_WILDCARD.sub("", text))
    if version is None or version.variant or version.revision:
        raise UsageError(
            f"not a version in the range {whole!r:.80}: {text!r:.40}", hint="variants have a key of their own"
        )
    is_partial = version.parts < 3 and not version.prerelease
    low = (version.numbers, version.prerelease or _RELEASE)
    after = (_next(version, version.parts), _RELEASE) if is_partial else (version.numbers, _just_above(version))
    # What comes before a release's number are its pre-releases.
    return {
        "=": _Bound(low, after, named=version),
        "==": _Bound(low, after, named=version),
        "!=": _Bound(low, after, is_inside=False, named=version),
        ">=": _Bound(low, None, named=version),
        "<": _Bound(None, low, named=version),
        ">": _Bound(after, None, named=version),
        "<=": _Bound(None, after, named=version),
        "^": _Bound(low, (_next(version, _first_set(version)), (-1,)), named=version),
        "~": _Bound(low, (_next(version, min(2, version.parts)), (-1,)), named=version),
        "~>": _Bound(low, (_next(version, min(2, version.parts)), (-1,)), named=version),
    }[operator]


def _just_above(version: Version) -> tuple[int, ...]:
    return (*(version.prerelease or _RELEASE), -1)


def _first_set(version: Version) -> int:
    """How many numbers a caret holds fast: up to the first that is not zero, and no more than were written."""
    for position, number in enumerate(version.numbers):
        if number:
            return position + 1
    return version.parts


def _next(version: Version, count: int) -> tuple[int, ...]:
    """The first version after all that begin with the first ``count`` numbers."""
    padded = [*version.numbers, *[0] * count][:count]
    padded[-1] += 1
    return tuple(padded)
