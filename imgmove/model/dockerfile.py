"""The language that Dockerfiles and ``--change`` are written in: lines, flags, words, quotes and variables.

Every reader of it goes by what docker's own parser does, which is described in docker's *Dockerfile reference* only in
part; where that is silent, a comment says what docker was seen to do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imgmove.errors import UsageError

_SPACE = r"\t\v\f\r "
_FIRST_SPACE = re.compile(rf"[{_SPACE}]+")
_CONTINUED = re.compile(r"(?<!\\)\\[ \t]*$")
# Quotes and escapes stay in a word until it is expanded; an open quote reaches to the end.
_WORD = re.compile(r"""(?:\\.|'[^']*(?:'|$)|"(?:\\.|[^"\\])*(?:"|\\?$)|[^\s\\'"])+""", re.DOTALL)
_FLAG_PART = re.compile(
    r"""\\(?P<escaped>.)|'(?P<single>(?:\\.|[^'\\])*)(?:'|$)|"(?P<double>(?:\\.|[^"\\])*)(?:"|$)|(?P<plain>[^\s\\'"]+)""",
    re.DOTALL,
)
_SPECIAL_NAMES = "@*#?-$!0"
_MODIFIERS = "-+?"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction.

    Attributes:
        name: in capitals.
        flags: leading words such as ``--interval=5s``, without quotes.
        arguments: all that follows, as it was written.
    """

    name: str
    flags: tuple[str, ...]
    arguments: str


def read_instructions(text: str) -> list[Instruction]:
    """The instructions of a text: a line each, continued after a backslash; comments and empty lines are left out."""
    return [read_instruction(line) for line in _logical_lines(text)]


def read_instruction(line: str) -> Instruction:
    """One instruction in one line."""
    name, *rest = _FIRST_SPACE.split(line.strip(), maxsplit=1)
    flags, arguments = _split_flags(rest[0]) if rest else ((), "")
    return Instruction(name.upper(), flags, arguments.strip())


def read_list(arguments: str) -> list[str] | None:
    """The texts of a JSON list, the *exec form*; None where the arguments are none, and a shell command as they stand.

    What follows the list is passed over, and a list that is broken is a shell command, both as in docker.

    Raises:
        UsageError: a list of other things than texts.
    """
    if not arguments.startswith("["):
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(arguments)
    except ValueError:
        return None
    except RecursionError:
        raise UsageError("a list is nested too deeply") from None
    if not all(isinstance(item, str) for item in value):
        raise UsageError(f"a list may hold texts alone: {arguments!r:.120}")
    return [_without_surrogates(item) for item in value]


def read_words(text: str) -> list[str]:
    """Splits at blanks outside of quotes; quotes and escapes stay, for `expand`."""
    return [match.group() for match in _WORD.finditer(text)]


def read_pairs(arguments: str, instruction: str) -> list[tuple[str, str]]:
    """``NAME=VALUE ...``, or the older ``NAME VALUE``, whose value is all the rest of the line; not yet expanded.

    Raises:
        UsageError: it is neither.
    """
    words = read_words(arguments)
    if not words:
        raise UsageError(f"{instruction} needs a name and a value")
    if "=" not in words[0]:
        name, *value = _FIRST_SPACE.split(arguments, maxsplit=1)
        if not value:
            raise UsageError(f"{instruction} needs a name and a value, not only {name!r:.120}")
        return [(name, value[0])]
    pairs = [word.partition("=") for word in words]
    for word, (name, equals, _) in zip(words, pairs, strict=True):
        if not equals or not name:
            raise UsageError(f"{instruction} takes NAME=VALUE, not {word!r:.120}")
    return [(name, value) for name, _, value in pairs]


def expand(word: str, variables: Mapping[str, str]) -> str:
    """Takes quotes and escapes away and puts variables in: ``$a``, ``${a}``, ``${a:-b}``, ``${a:+b}``, ``${a:?b}``.

    Raises:
        UsageError: a quote or brace is not closed, or a substitution is of another kind.
    """
    return _Expansion(word, variables).run()


class _Expansion:
    def __init__(self, word: str, variables: Mapping[str, str]) -> None:
        self._word = word
        self._variables = variables
        self._at = 0

    def run(self, stop: str = "") -> str:
        parts: list[str] = []
        while (character := self._peek()) and character != stop:
            if character == "$":
                parts.append(self._dollar())
                continue
            self._at += 1
            if character == "'":
                parts.append(self._single())
            elif character == '"':
                parts.append(self._double())
            else:
                # A backslash at the very end is dropped.
                parts.append(self._take() if character == "\\" else character)
        if stop:
            self._expect(stop)
        return "".join(parts)

    def _peek(self) -> str:
        return self._word[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._peek()
        self._at += 1
        return character

    def _expect(self, character: str) -> None:
        if self._take() != character:
            raise UsageError(f"{character} is missing in {self._word!r:.120}")

    def _single(self) -> str:
        end = self._word.find("'", self._at)
        if end < 0:
            raise UsageError(f"a quote is not closed in {self._word!r:.120}")
        text, self._at = self._word[self._at : end], end + 1
        return text

    def _double(self) -> str:
        parts: list[str] = []
        while (character := self._peek()) != '"':
            if not character:
                raise UsageError(f"a quote is not closed in {self._word!r:.120}")
            if character == "$":
                parts.append(self._dollar())
                continue
            self._at += 1
            if character == "\\" and self._peek() in ('"', "$", "\\"):
                character = self._take()
            parts.append(character)
        self._at += 1
        return "".join(parts)

    def _dollar(self) -> str:
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            return self._variables.get(name, "") if name else "$"
        self._at += 1
        name = self._name()
        following = self._take()
        if not name or not following:
            raise UsageError(f"a substitution is broken in {self._word!r:.120}")
        if following == "}":
            return self._variables.get(name, "")
        counts_empty = following == ":"
        modifier = self._take() if counts_empty else following
        if modifier not in _MODIFIERS or not modifier:
            raise UsageError(f"a substitution with {modifier!r} is not supported in {self._word!r:.120}")
        return self._substituted(name, modifier, self.run("}"), counts_empty=counts_empty)

    def _substituted(self, name: str, modifier: str, word: str, *, counts_empty: bool) -> str:
        value = self._variables.get(name)
        is_set = bool(value) if counts_empty else value is not None
        if modifier == "+":
            return word if is_set else ""
        if modifier == "-":
            return value or "" if is_set else word
        if not is_set:
            raise UsageError(f"{name}: {word or 'must be set'}")
        return value or ""

    def _name(self) -> str:
        """A name of letters, digits and ``_``; a number, or one of the shell's own names of one character."""
        start = self._at
        first = self._peek()
        if first and (first in _SPECIAL_NAMES and not first.isdigit()):
            self._at += 1
        elif first.isdigit():
            while self._peek().isdigit():
                self._at += 1
        else:
            while (character := self._peek()) and (character.isalnum() or character == "_"):
                self._at += 1
        return self._word[start : self._at]


def _logical_lines(text: str) -> Iterator[str]:
    waiting = ""
    for line in text.split("\n"):
        stripped = line.strip()
        # Comments and empty lines are passed over even inside a continued line.
        if not stripped or stripped.startswith("#"):
            continue
        continued = _CONTINUED.search(line)
        waiting += line[: continued.start()] if continued else line
        if not continued:
            yield waiting
            waiting = ""
    if waiting.strip():
        yield waiting


def _split_flags(arguments: str) -> tuple[tuple[str, ...], str]:
    """Takes leading words that begin with ``--`` off; ``--`` alone ends them."""
    flags: list[str] = []
    rest = arguments.lstrip()
    while rest.startswith("--"):
        flag, rest = _flag(rest)
        rest = rest.lstrip()
        if flag == "--":
            break
        flags.append(flag)
    return tuple(flags), rest


def _flag(text: str) -> tuple[str, str]:
    parts: list[str]
    parts, at = [], 0
    while match := _FLAG_PART.match(text, at):
        kind = match.lastgroup or "plain"
        part = match.group(kind)
        parts.append(re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL) if kind in ("single", "double") else part)
        at = match.end()
    # A backslash at the very end is dropped.
    return "".join(parts), text[at:].removeprefix("\\")


def _without_surrogates(text: str) -> str:
    """Halves of characters, which JSON can spell and UTF-8 can't, become the replacement character, as in Go."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
