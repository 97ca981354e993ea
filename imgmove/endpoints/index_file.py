"""The list of roots in a layout or archive: ``index.json`` (OCI image spec, *Image Layout*), and its names.

Tools disagree about names: the spec's annotation holds a tag for some and a full name for others, and containerd's
holds the full name. What is not understood here is kept as it is when the file is written again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from imgmove.errors import MalformedContent, UsageError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import read_json_object, to_json_bytes
from imgmove.model.reference import Reference
from imgmove.ports import NamedImage

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
_BASE_NAME = "org.opencontainers.image.base.name"
_DIGEST_TAG = re.compile(r"(sha256|sha512)-([a-f0-9]{64})(\..+)?")
LARGEST_INDEX = 16 << 20
"""Bytes: more images than one folder should hold, and as much as parsing should cost."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One root: its descriptor, and the JSON that it was read from."""

    descriptor: Descriptor
    raw: dict[str, object]

    @property
    def name(self) -> str:
        """What people call it: the spec's name, unless that is a tag alone and containerd's says more."""
        annotations = self.descriptor.annotations
        name, full = annotations.get(REF_NAME, ""), annotations.get(CONTAINERD_NAME, "")
        if name and (not full or _is_more_than_tag(name)):
            return name
        return full or name or annotations.get(_BASE_NAME, "")

    @property
    def all_names(self) -> tuple[str, ...]:
        """Every name that an annotation gives it."""
        annotations = self.descriptor.annotations
        names = (annotations.get(REF_NAME), annotations.get(CONTAINERD_NAME))
        return tuple(name for name in names if name) or tuple(name for name in (annotations.get(_BASE_NAME),) if name)

    @property
    def is_digest_tag(self) -> bool:
        """Whether its name is one that registries without a referrers API keep signatures and the like under."""
        return bool(self.name) and parse_digest_tag(self.name) is not None


@dataclass(frozen=True)
class IndexFile:
    """A parsed ``index.json``. Changes give a new one."""

    document: dict[str, object]
    entries: tuple[Entry, ...]

    @classmethod
    def empty(cls) -> IndexFile:
        """An index of nothing."""
        return cls({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": []}, ())

    @classmethod
    def of(cls, roots: Iterable[NamedImage]) -> IndexFile:
        """The index of many roots, as `with_names` would make it of one after the other, in one go.

        Of roots that claim one name the last has it.
        """
        made: dict[str, Entry] = {}
        for root in roots:
            names = [name for name in root.names if not is_digest(name)]
            for name in names or ("",):
                key = full_name(name) or name or str(root.descriptor.digest)
                made.pop(key, None)
                made[key] = _made(root.descriptor, name, "")
        named = {entry.descriptor.digest for entry in made.values() if entry.name}
        entries = (entry for entry in made.values() if entry.name or entry.descriptor.digest not in named)
        return replace(cls.empty(), entries=tuple(entries))

    @classmethod
    def parse(cls, content: bytes) -> IndexFile:
        """Reads the file.

        Raises:
            MalformedContent: it is no index.
        """
        document = read_json_object(content, most=LARGEST_INDEX)
        items = document.get("manifests")
        if items is None:
            # Docker 25 writes null into what it saves by image ID.
            items = []
        if not isinstance(items, list) or "layers" in document:
            raise MalformedContent("index.json is not an index")
        return cls(document, tuple(Entry(Descriptor.from_json(item), item) for item in items))

    def to_bytes(self) -> bytes:
        """The file's content."""
        return to_json_bytes({**self.document, "manifests": [entry.raw for entry in self.entries]})

    @cached_property
    def _by_name(self) -> dict[str, list[Entry]]:
        """The entries that have exactly this name, so that looking many up does not go through all each time."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            for name in dict.fromkeys(entry.all_names):
                found.setdefault(name, []).append(entry)
        return found

    @cached_property
    def _by_digest(self) -> dict[Digest, Descriptor]:
        found: dict[Digest, Descriptor] = {}
        for entry in self.entries:
            found.setdefault(entry.descriptor.digest, entry.descriptor)
        return found

    @cached_property
    def _by_digest_tag(self) -> dict[str, list[tuple[str, Descriptor]]]:
        found: dict[str, list[tuple[str, Descriptor]]] = {}
        for entry in self.entries:
            if entry.name and (parsed := parse_digest_tag(entry.name)) is not None:
                found.setdefault(parsed[0], []).append((parsed[1], entry.descriptor))
        return found

    def named(self, name: str) -> Descriptor | None:
        """The root of exactly this name."""
        found = self._by_name.get(name)
        return found[0].descriptor if found else None

    def of_digest(self, digest: Digest) -> Descriptor | None:
        """The root with this digest, under whatever name."""
        return self._by_digest.get(digest)

    def digest_tagged(self, subject: Digest) -> Sequence[tuple[str, Descriptor]]:
        """What stands under the digest tags of a subject, each with the tag's suffix."""
        return self._by_digest_tag.get(digest_tag(subject), ())

    def matching(self, name: str) -> Descriptor | None:
        """The root that a person means by a name: exact, then as a reference, then without host, then as a tag.

        Raises:
            UsageError: several different ones are meant as well as each other.
        """
        found = self._meant(name)
        if len({entry.descriptor.digest for entry in found}) > 1:
            names = ", ".join(sorted({entry.name for entry in found})[:8])
            raise UsageError(f"{name} could be any of {names}")
        return found[0].descriptor if found else None

    def _meant(self, name: str) -> list[Entry]:
        if exact := self._by_name.get(name):
            return exact
        for is_meant in (_is_same_reference, _is_same_repository, _is_same_tag):
            if found := [entry for entry in self.entries if any(is_meant(name, other) for other in entry.all_names)]:
                return found
        return []

    def with_names(self, descriptor: Descriptor, names: Sequence[str], artifact_type: str) -> IndexFile:
        """The index with a root under these names; a name that is a digest lists it without one.

        Whatever had one of the names, or its full form, loses it.
        """
        real = [name for name in names if not is_digest(name)]
        # The full form is written beside the name, so an old entry of that name would make it ambiguous.
        taken = {*real, *(full_name(name) for name in real)}
        entries = [entry for entry in self.entries if taken.isdisjoint(entry.all_names)]
        if real:
            entries = [entry for entry in entries if entry.descriptor.digest != descriptor.digest or entry.all_names]
        elif any(entry.descriptor.digest == descriptor.digest for entry in entries):
            return self
        entries += [_made(descriptor, name, artifact_type) for name in real or ("",)]
        return replace(self, entries=tuple(entries))

    def without_name(self, name: str) -> IndexFile:
        """The index without the entries that a person means by a name; other names of theirs stay."""
        meant = self._meant(name)
        return replace(self, entries=tuple(entry for entry in self.entries if entry not in meant))

    def without_digest(self, digest: Digest) -> IndexFile:
        """The index without a manifest, under all its names."""
        return replace(self, entries=tuple(entry for entry in self.entries if entry.descriptor.digest != digest))


def digest_tag(subject: Digest) -> str:
    """The tag that stands in for the referrers API (OCI distribution spec, *Referrers Tag Schema*)."""
    return f"{subject.algorithm}-{subject.hex[:64]}"


def parse_digest_tag(name: str) -> tuple[str, str] | None:
    """A tag of that kind, taken apart into ``sha256-HEX`` and the suffix (``.sig``, or empty); None for others."""
    tag = name.rpartition(":")[2].rpartition("/")[2]
    match = _DIGEST_TAG.fullmatch(tag)
    return (f"{match.group(1)}-{match.group(2)}", match.group(3) or "") if match else None


def is_digest(name: str) -> bool:
    """Whether a name is a digest, which asks for a root to be listed without a name."""
    return name.startswith(("sha256:", "sha384:", "sha512:"))


def full_name(name: str) -> str:
    """The full reference that engines know an image by; empty for names that are none."""
    if not _is_more_than_tag(name):
        return ""
    try:
        reference = Reference.parse(name).without_digest()
    except UsageError:
        return ""
    return str(reference) if reference.tag else ""


def entries_of(descriptor: Descriptor, names: Sequence[str], artifact_type: str) -> Iterable[dict[str, object]]:
    """The JSON of the entries that list one root under its names, or once without any."""
    return [_made(descriptor, name, artifact_type).raw for name in names or ("",)]


def _made(descriptor: Descriptor, name: str, artifact_type: str) -> Entry:
    annotations = {}
    if name:
        annotations[REF_NAME] = name
        if full := full_name(name):
            annotations[CONTAINERD_NAME] = full
    made = Descriptor(
        descriptor.media_type,
        descriptor.digest,
        descriptor.size,
        (),
        annotations,
        None,
        artifact_type if not name else "",
    )
    return Entry(made, made.to_json())


def _is_more_than_tag(name: str) -> bool:
    return ":" in name or "/" in name


def _references(*names: str) -> Iterator[Reference]:
    for name in names:
        try:
            yield Reference.parse(name)
        except UsageError:
            return


def _is_same_reference(name: str, other: str) -> bool:
    pair = list(_references(name, other))
    return len(pair) == 2 and _is_more_than_tag(other) and pair[0] == pair[1]


def _is_same_repository(name: str, other: str) -> bool:
    pair = list(_references(name, other))
    if len(pair) != 2 or not _is_more_than_tag(other):
        return False
    return (pair[0].repository, pair[0].tag) == (pair[1].repository, pair[1].tag)


def _is_same_tag(name: str, other: str) -> bool:
    if _is_more_than_tag(name):
        return not _is_more_than_tag(other) and name.rpartition(":")[2] == other and ":" in name
    return other.rpartition(":")[2] == name and ":" in other
