"""Other names at the far side: ``--rename FROM=TO`` replaces the beginning of an image's original name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from imgmove.errors import UsageError
from imgmove.model.reference import Reference, check_repository


@dataclass(frozen=True, slots=True)
class Rename:
    """One rule.

    Attributes:
        before: a repository or a path of them, with or without its host.
        after: the repository or path below the destination.
    """

    before: str
    after: str

    @classmethod
    def parse(cls, text: str) -> Rename:
        """Reads ``FROM=TO``.

        Raises:
            UsageError: it isn't that.
        """
        before, equals, after = text.partition("=")
        before, after = before.strip("/"), after.strip("/")
        if not equals or not before:
            raise UsageError(f"not a rename: {text!r:.120}", hint="write FROM=TO, as in docker.io/library=base")
        if after:
            check_repository(after, text)
        return cls(before, after)

    def applied(self, name: str) -> str | None:
        """The new repository for a name that the rule fits; None for others."""
        if name != self.before and not name.startswith(f"{self.before}/"):
            return None
        return f"{self.after}{name.removeprefix(self.before)}".strip("/")


def renamed(own: Reference, rules: Sequence[Rename]) -> Reference:
    """The name that an image gets at the far side; the first rule that fits decides.

    Raises:
        UsageError: a rule leaves nothing of the name.
    """
    for rule in rules:
        for name in (own.name, own.repository):
            if (repository := rule.applied(name)) is None:
                continue
            if not repository:
                raise UsageError(f"renaming {rule.before} leaves nothing of {own}")
            check_repository(repository)
            return replace(own, repository=repository)
    return own
