"""Archives as sources: indexed once, read in place.

An archive with an ``index.json`` is a layout in a tar. Docker's older format is turned into one as it is opened, by
making up the manifests that it lacks; content stays where it is.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from io import RawIOBase
from types import MappingProxyType
from typing import Protocol

from imgmove.endpoints.archive import docker_format
from imgmove.endpoints.archive.docker_format import DockerImage, make_up, parse_docker_manifest
from imgmove.endpoints.archive.members import Content, MemberFiles, Members, Region, index_members
from imgmove.endpoints.index_file import LARGEST_INDEX, IndexFile
from imgmove.endpoints.layout_reader import INDEX, LayoutReader, blob_path
from imgmove.errors import LocalError, MalformedContent, Truncated, UsageError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import digests_of_layers
from imgmove.ports import Files, NamedImage, ReadableFiles, Reader
from imgmove.rootfs.tar import BLOCK as TAR_BLOCK
from imgmove.rootfs.tar import is_tar
from imgmove.streams import BLOCK
from imgmove.wire import codec
from imgmove.wire.files import LocalFiles

_NONE: Mapping[Digest, int] = MappingProxyType({})
_ROOM = "TMPDIR names the folder for it"
_NO_BOMB = 1 << 30
"""Bytes that any compressed archive may unpack to."""
_LARGEST_RATIO = 1000
_LAYERS = {
    "none": media_types.OCI_LAYER,
    "gzip": media_types.OCI_LAYER_GZIP,
    "zstd": media_types.OCI_LAYER_ZSTD,
}


class Archive(LayoutReader):
    """An image archive in a file.

    Args:
        made_up: digests of the manifests that did not come with the archive.
        temporary: a file to remove when this is closed; empty for none.
    """

    def __init__(
        self, files: ReadableFiles, label: str, made_up: frozenset[Digest] = frozenset(), temporary: str = ""
    ) -> None:
        super().__init__(files, "", label)
        self._made_up = made_up
        self._temporary = temporary

    def is_made_up(self, digest: Digest) -> bool:
        """Whether this manifest is ours and not the archive's."""
        return digest in self._made_up

    def close(self) -> None:
        """Removes the unpacked copy of a compressed archive."""
        if self._temporary:
            LocalFiles().remove(self._temporary)
            self._temporary = ""


def open_archive(files: Files, path: str, left_out: Mapping[Digest, int] = _NONE, *, label: str = "") -> Archive:
    """Opens an archive of any format and compression.

    One that is compressed as a whole can't be read in place, so it is unpacked into a temporary file first.

    Args:
        left_out: diffIDs of layers that it is known to lack, as nobody is going to read them, and their sizes; 0 for one
            that is going to be taken in another compression.
        label: what people call it; else its path.

    Raises:
        NotFound: there is none.
        UsageError: it is no archive of images.
        MalformedContent, Truncated: it is broken.
    """
    compression = codec.sniff(files.read_at(path, 0, TAR_BLOCK))
    if compression == "none":
        return _opened(files, path, label or path, "", left_out)
    temporary = _unpacked(files, path, compression)
    try:
        return _opened(LocalFiles(), temporary, label or path, temporary, left_out)
    except BaseException:
        LocalFiles().remove(temporary)
        raise


def looks_like_archive(files: Files, path: str) -> bool:
    """Whether a file is a tar or compressed, as far as its first bytes tell."""
    start = files.read_at(path, 0, TAR_BLOCK)
    return is_tar(start) or codec.sniff(start) != "none"


def _opened(files: Files, path: str, label: str, temporary: str, left_out: Mapping[Digest, int]) -> Archive:
    found = index_members(files, path, label)
    members = found.regions
    contents: dict[str, Content] = dict(members)
    inside = MemberFiles(files, path, contents)
    if INDEX in members:
        # Asked for again with each image, and unlike a layout's it stays as it is.
        contents[INDEX] = inside.read_at(INDEX, 0, LARGEST_INDEX + 1)
    if INDEX in members and _read_index(inside, label).entries:
        archive = Archive(inside, label, temporary=temporary)
        archive.check_version()
        return archive
    if docker_format.MANIFEST not in members:
        raise _not_an_archive(label, found)
    images = parse_docker_manifest(inside.read_at(docker_format.MANIFEST, 0, docker_format.LARGEST + 1))
    made = virtual_layout(images, _Members(inside, members, label, left_out))
    contents.update(made)
    made_up = frozenset(entry.descriptor.digest for entry in _read_index(inside, label).entries)
    return Archive(inside, label, made_up, temporary)


def _read_index(inside: MemberFiles, label: str) -> IndexFile:
    try:
        return IndexFile.parse(inside.read_at(INDEX, 0, LARGEST_INDEX + 1))
    except MalformedContent as error:
        raise MalformedContent(f"{label}: {INDEX}: {error.message}") from None


def _not_an_archive(label: str, found: Members) -> UsageError | Truncated:
    members = found.regions
    if docker_format.LEGACY in members:
        return UsageError(
            f"{label} was written by a docker older than 1.10", hint="load it into a newer docker and save it again"
        )
    if INDEX in members:
        return UsageError(f"{label} holds no image: its {INDEX} is empty")
    if not found.is_closed:
        return Truncated(f"{label} ends before anything in it says what it holds", hint="it seems to be cut off")
    return UsageError(f"{label} is a tar, but not an archive of images", hint="imgmove import takes root file systems")


class ContentLookup(Protocol):
    """What making up manifests has to know of an archive's content."""

    def config(self, name: str) -> tuple[bytes, Content]:
        """A config's bytes, and where they can be read again."""
        ...

    def layer(self, name: str, diff_id: Digest) -> tuple[Descriptor, Content | None]:
        """What a layer's member holds, and where, if that can be read again."""
        ...


class _Members:
    """Content that lies in the file."""

    def __init__(
        self, inside: MemberFiles, members: Mapping[str, Region], label: str, left_out: Mapping[Digest, int]
    ) -> None:
        self._inside = inside
        self._members = members
        self._label = label
        self._left_out = left_out
        self._digests: dict[Region, Digest] = {}

    def config(self, name: str) -> tuple[bytes, Content]:
        """A config's bytes and place; its name is not always its hash."""
        region = self._region(name)
        if region.size > docker_format.LARGEST:
            raise MalformedContent(f"{self._label}: a config of {region.size} bytes is over the limit")
        return self._inside.read_at(name, 0, region.size), region

    def layer(self, name: str, diff_id: Digest) -> tuple[Descriptor, Content | None]:
        """A plain layer is named by its diffID; a compressed one has to be hashed."""
        if diff_id in self._left_out:
            return Descriptor(media_types.OCI_LAYER, diff_id, self._left_out[diff_id]), None
        region = self._region(name)
        compression = codec.sniff(self._inside.read_at(name, 0, TAR_BLOCK))
        if compression == "none":
            return Descriptor(media_types.OCI_LAYER, diff_id, region.size), region
        kind = layer_type(compression)
        if kind is None:
            raise MalformedContent(f"{self._label}: a layer is compressed with {compression}, which images don't allow")
        return Descriptor(kind, self._hashed(name), region.size), region

    def _region(self, name: str) -> Region:
        if name not in self._members:
            raise MalformedContent(f"{self._label}: {docker_format.MANIFEST} names {name!r:.200}, which is not there")
        return self._members[name]

    def _hashed(self, name: str) -> Digest:
        """The digest of a member, which many images may share."""
        region = self._region(name)
        if region not in self._digests:
            hasher = hashlib.sha256(usedforsecurity=False)
            with closing(self._inside.open(name)) as reader:
                while data := reader.read(BLOCK):
                    hasher.update(data)
            self._digests[region] = Digest("sha256", hasher.hexdigest())
        return self._digests[region]


def layer_type(compression: str) -> str | None:
    """The media type of a layer in a manifest that is made up; None where images don't allow the compression."""
    return _LAYERS.get(compression)


def virtual_layout(images: list[DockerImage], lookup: ContentLookup) -> dict[str, Content]:
    """The members that an archive in docker's format lacks to be a layout.

    Raises:
        MalformedContent: ``manifest.json`` names what is not there, or what does not belong together.
    """
    roots: list[NamedImage] = []
    contents: dict[str, Content] = {}
    for image in images:
        config, place = lookup.config(image.config)
        layers = []
        for name, diff_id in _pairs(image, config):
            descriptor, content = lookup.layer(name, diff_id)
            layers.append(descriptor)
            if content is not None:
                contents[blob_path(descriptor.digest)] = content
        manifest = make_up(config, layers, image.names[0] if image.names else image.config)
        contents[blob_path(Digest.of(config))] = place
        contents[blob_path(manifest.descriptor.digest)] = manifest.content
        roots.append(NamedImage(manifest.descriptor, image.names))
    contents[INDEX] = IndexFile.of(roots).to_bytes()
    return contents


def _pairs(image: DockerImage, config: bytes) -> Iterator[tuple[str, Digest]]:
    diff_ids = digests_of_layers(config)
    if len(diff_ids) != len(image.layers):
        label = image.names[0] if image.names else image.config
        raise MalformedContent(f"{label} has {len(image.layers)} layers, but its config has {len(diff_ids)}")
    return zip(image.layers, diff_ids, strict=True)


def _unpacked(files: Files, path: str, compression: str) -> str:
    try:
        descriptor, temporary = tempfile.mkstemp(prefix="imgmove-", suffix=".tar")
    except OSError as error:
        raise LocalError(f"{path} can't be unpacked into a temporary file: {error.strerror}", hint=_ROOM) from error
    try:
        # Unbuffered, so that no write fails outside of what translates its error.
        with os.fdopen(descriptor, "wb", buffering=0) as output, closing(files.open(path)) as packed:
            _copy(codec.decompressing(packed, compression), output, temporary, _most(files, path))
    except BaseException:
        LocalFiles().remove(temporary)
        raise
    return temporary


def _most(files: Files, path: str) -> int:
    """Bytes that an archive may unpack to: images hold files, and no files shrink to a thousandth."""
    status = files.status(path)
    return max(_NO_BOMB, _LARGEST_RATIO * (status.size if status else 0))


def _copy(reader: Reader, output: RawIOBase, path: str, most: int) -> None:
    left = most
    while data := reader.read(BLOCK):
        left -= len(data)
        if left < 0:
            raise MalformedContent(
                f"the archive unpacks to more than {most >> 20} MiB, over {_LARGEST_RATIO} times its size",
                hint="unpack it yourself if that is meant",
            )
        view = memoryview(data)
        try:
            while view:
                view = view[output.write(view) or 0 :]
        except OSError as error:
            raise LocalError(f"the archive can't be unpacked into {path}: {error.strerror}", hint=_ROOM) from error
