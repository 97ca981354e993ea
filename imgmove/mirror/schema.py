"""The form of a mirror file (CLI contract, *Mirror file*), as types: the one door of msgspec.

msgspec checks strictly, prints a JSON Schema out of the same types, and loads in a quarter of the time of pydantic.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from imgmove.errors import ConfigError
from imgmove.wire.yaml.marked import Path, YamlFile

Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1)]
Amount = Annotated[float, Meta(gt=0)]


class RegistryEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one registry is reached, and how hard."""

    username: Annotated[Text | None, Meta(description="May hold ${VARIABLE}.")] = None
    password: Annotated[Text | None, Meta(description="Holds ${VARIABLE}; better than a password itself.")] = None
    password_env: Annotated[Text | None, Meta(description="The environment variable that holds the password.")] = None
    ca_file: Annotated[Text | None, Meta(description="An authority to trust, relative to this file.")] = None
    plain_http: Annotated[bool | None, Meta(description="HTTP without TLS; true for loopback addresses.")] = None
    tls_verify: Annotated[bool, Meta(description="Whether its certificate has to be right.")] = True
    requests_per_second: Annotated[Amount | None, Meta(description="Over all connections.")] = None
    max_connections: Annotated[Count, Meta(description="At the same time.")] = 16
    ratelimit_floor: Annotated[Count | None, Meta(description="What RateLimit-Remaining must not fall below.")] = None
    ratelimit_action: Annotated[
        Literal["wait", "end"], Meta(description="What to do at the floor: wait, or leave the rest to the next pass.")
    ] = "end"


class TagRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which tags. include, regex, semver and variants must each pass where given; then exclude, then latest."""

    include: Annotated[list[Text], Meta(description="Globs; one without wildcards always passes.")] = []
    exclude: Annotated[list[Text], Meta(description="Globs.")] = []
    regex: Annotated[Text | None, Meta(description="Python's; found anywhere unless anchored.")] = None
    semver: Annotated[Text | None, Meta(description='A range such as ">=1.25 <2".')] = None
    variants: Annotated[list[str], Meta(description='Globs for the suffix, such as alpine; "" is none.')] = []
    latest: Annotated[Count | None, Meta(description="How many of the highest versions, a variant.")] = None


class PruneRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether tags are removed that no longer match."""

    enabled: bool
    max_delete: Annotated[int, Meta(ge=0, description="If more would go, none does.")] = 20


class RenameRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replaces what a regex finds, in tags or in repositories. The first rule that fits counts."""

    tag: Annotated[Text | None, Meta(description="A regex for tags.")] = None
    repository: Annotated[Text | None, Meta(description="A regex for the repository's path.")] = None
    to: Annotated[str, Meta(description="What takes its place; groups are \\1.")]


class DefaultRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for mirrors that say nothing else."""

    platforms: Annotated[list[Text], Meta(description="Such as linux/amd64; none for all.")] = []
    referrers: Annotated[bool, Meta(description="Signatures, attestations and SBOMs come along.")] = True
    tags: TagRules | None = None
    prune: PruneRules | None = None
    keep_previous: Annotated[Text | None, Meta(description='Such as "{tag}-prev-{date}".')] = None


class MirrorEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One repository, one image, or the repositories of a registry that a pattern fits."""

    source: Annotated[Text, Meta(description="registry/repository, an image, or registry/prefix/*.")]
    destination: Annotated[Text, Meta(description="A repository, a place that ends in /, or a layout.")]
    name: Annotated[Text | None, Meta(description="For --only and reports; else the source.")] = None
    tags: TagRules | None = None
    platforms: list[Text] | None = None
    referrers: bool | None = None
    prune: PruneRules | None = None
    keep_previous: Text | None = None
    rename: list[RenameRule] = []


class HookRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Commands that hear of what happens."""

    change: Annotated[list[Text], Meta(min_length=1, description="A command; the event is JSON on its stdin.")]
    timeout: Annotated[Amount, Meta(description="Seconds that it may take.")] = 60.0


class MirrorForm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What imgmove mirror reads."""

    version: Literal[1]
    registries: Annotated[dict[str, RegistryEntry], Meta(description="By host.")] = {}
    defaults: DefaultRules = DefaultRules()
    mirrors: Annotated[list[MirrorEntry], Meta(min_length=1)]
    hooks: HookRules | None = None
    limit_rate: Annotated[Text | None, Meta(description="Bytes a second of all images together, such as 20M.")] = None


_FORMS: Mapping[str, type[Struct]] = {
    "defaults": DefaultRules,
    "mirrors": MirrorEntry,
    "tags": TagRules,
    "prune": PruneRules,
    "rename": RenameRule,
    "hooks": HookRules,
}
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|(\[\.\.\.\])")
_EXPECTED = re.compile(r"Expected `([^`]+)`(.*?)(?:, got `([^`]+)`)?")
_QUOTABLE = frozenset({"int", "float", "bool", "datetime", "date"})


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a mirror file, for editors."""
    schema = msgspec.json.schema(MirrorForm)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "imgmove mirror file", **schema}


def read_form(file: YamlFile) -> MirrorForm:
    """Checks a file against the form.

    Raises:
        ConfigError: it breaks it; the message names line and column.
    """
    try:
        return msgspec.convert(file.value, MirrorForm)
    except msgspec.ValidationError as error:
        raise _explained(file, error) from None


def _explained(file: YamlFile, error: msgspec.ValidationError) -> ConfigError:
    message, _, place = str(error).partition(" - at `$")
    path: list[str | int] = []
    for name, number, unnamed in _STEP.findall(place.removesuffix("`")):
        if unnamed:
            return _in_registries(file)
        path.append(name or int(number))
    return _told(file, tuple(path), message)


def _in_registries(file: YamlFile) -> ConfigError:
    """The library does not say under which key of a mapping it found something, so each is tried."""
    assert isinstance(file.value, dict)
    for host, entry in file.value["registries"].items():
        try:
            msgspec.convert(entry, RegistryEntry)
        except msgspec.ValidationError as error:
            message, _, place = str(error).partition(" - at `$.")
            rest = (place.removesuffix("`"),) if place else ()
            return _told(file, ("registries", host, *rest), message)
    return file.error(("registries",), "registries is not a mapping of hosts")


def _told(file: YamlFile, path: Path, message: str) -> ConfigError:
    what = ".".join(str(step) for step in path if isinstance(step, str)) or "the file"
    if match := re.fullmatch(r"Object contains unknown field `(.*)`", message, re.DOTALL):
        return _unknown(file, path, match.group(1))
    if match := re.fullmatch(r"Object missing required field `(.*)`", message):
        return file.error(path, f"{what if path else 'the file'} lacks {match.group(1)}")
    if match := re.fullmatch(r"Invalid enum value (.*)", message):
        allowed = "1" if path == ("version",) else "wait or end"
        return file.error(path, f"{what} must be {allowed}, not {match.group(1)}")
    if (match := _EXPECTED.fullmatch(message)) is not None:
        expected = " or ".join(_WORDS.get(word, word) for word in match.group(1).split(" | ") if word != "null")
        got = match.group(3)
        hint = "put it in quotes" if got in _QUOTABLE and "str" in match.group(1).split(" | ") else ""
        told = f"not {_WORDS.get(got, f'a {got}')}" if got else ""
        return file.error(path, f"{what} must be {expected}{match.group(2)}{', ' * bool(told)}{told}", hint)
    return file.error(path, f"{what}: {message}")


def _unknown(file: YamlFile, path: Path, key: str) -> ConfigError:
    known = _known_keys(path)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return file.error((*path, key), f"unknown key {key!r:.80}", hint, at_key=True)


def _known_keys(path: Path) -> Sequence[str]:
    if len(path) == 2 and path[0] == "registries":
        return RegistryEntry.__struct_fields__
    names = [step for step in path if isinstance(step, str)]
    return (_FORMS[names[-1]] if names else MirrorForm).__struct_fields__
