"""What images are called at the destination: rules that rename, and names for images whose tag moved on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from imgmove.errors import UsageError
from imgmove.model.digest import Digest
from imgmove.model.reference import check_tag

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_SHAPES = {"tag": r".+", "date": r"\d{8}", "time": r"\d{6}", "digest": r"[0-9a-f]{12}"}
_SHORT = 12


@dataclass(frozen=True, slots=True)
class Renaming:
    r"""Replaces what a regex finds in a tag or in a repository's path.

    Attributes:
        replacement: with groups as ``\1`` or ``\g<name>``.
    """

    what: Literal["tag", "repository"]
    pattern: re.Pattern[str]
    replacement: str

    @classmethod
    def parse(cls, what: Literal["tag", "repository"], pattern: str, replacement: str) -> Renaming:
        """Compiles and tries it.

        Raises:
            UsageError: the regex is wrong, or the replacement names a group that isn't there.
        """
        compiled = compile_regex(pattern)
        try:
            # Only a replacement that is used is looked at; one more alternative makes every text fit.
            re.compile(f"(?:{pattern})|").sub(replacement, "")
        except (re.error, IndexError) as error:
            raise UsageError(f"the replacement {replacement!r:.60} does not fit {pattern!r:.60}: {error}") from None
        return cls(what, compiled, replacement)


def compile_regex(pattern: str) -> re.Pattern[str]:
    """A regex.

    Raises:
        UsageError: it is none.
    """
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"not a regex: {pattern!r:.80}: {error}") from None


def renamed(rules: Sequence[Renaming], what: Literal["tag", "repository"], name: str) -> str:
    """The name that the first fitting rule gives; the name itself where none fits."""
    for rule in rules:
        if rule.what == what and rule.pattern.search(name):
            return rule.pattern.sub(rule.replacement, name, count=1)
    return name


@dataclass(frozen=True, slots=True)
class PreviousName:
    """How an image is called whose tag went to another: ``{tag}-prev-{date}``."""

    template: str

    @classmethod
    def parse(cls, template: str) -> PreviousName:
        """Checks the placeholders.

        Raises:
            UsageError: one is unknown, or the tag is missing, so that all tags would get one name.
        """
        names = _PLACEHOLDER.findall(template)
        if "tag" not in names:
            raise UsageError(f"keep_previous needs {{tag}}: {template!r:.80}", hint='write it like "{tag}-prev-{date}"')
        for name in names:
            if name not in _SHAPES:
                known = ", ".join(f"{{{item}}}" for item in _SHAPES)
                raise UsageError(f"keep_previous knows no {{{name:.40}}}", hint=f"there are {known}")
        if template == "{tag}":
            raise UsageError("keep_previous must differ from the tag", hint='write it like "{tag}-prev-{date}"')
        made = cls(template)
        check_tag(made.name("1", Digest.of(b""), datetime.now()))  # noqa: DTZ005 - any time will do
        return made

    @property
    def is_one_a_tag(self) -> bool:
        """Whether a tag has only one such name, which goes on to the latest of its previous images."""
        return set(_PLACEHOLDER.findall(self.template)) == {"tag"}

    def name(self, tag: str, digest: Digest, now: datetime) -> str:
        """The name for one image."""
        values = {"tag": tag, "date": f"{now:%Y%m%d}", "time": f"{now:%H%M%S}", "digest": digest.hex[:_SHORT]}
        return _PLACEHOLDER.sub(lambda match: values[match.group(1)], self.template)

    def fits(self, tag: str) -> bool:
        """Whether a tag may have come to be so."""
        pieces = _PLACEHOLDER.split(self.template)
        shape = "".join(_SHAPES[piece] if number % 2 else re.escape(piece) for number, piece in enumerate(pieces))
        return re.fullmatch(f"{shape}(?:-[0-9]+)?", tag) is not None
