"""Choosing platforms out of an index (OCI image spec, *Image Index*)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from imgmove.engine.graph import DEEPEST_INDEX
from imgmove.errors import MalformedContent, NotFound, UsageError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Index, Manifest, Node, make_index, read_json_object
from imgmove.model.platform import Platform

_ATTESTED = "vnd.docker.reference.digest"


def flattened(index: Index, read: Callable[[Descriptor], Node]) -> Index:
    """The index with the indexes in it replaced by what they list, each once; itself where there are none.

    Raises:
        MalformedContent: they stand in one another too deeply.
    """
    if not any(_is_inner(child) for child in index.manifests):
        return index
    # One that is listed twice at every level would otherwise double with each of them.
    seen: set[Digest] = set()

    def listed(index: Index, depth: int) -> Iterator[Descriptor]:
        if depth > DEEPEST_INDEX:
            raise MalformedContent(f"indexes stand in one another more than {DEEPEST_INDEX} deep")
        for child in index.manifests:
            if not _is_inner(child):
                yield child
            elif child.digest not in seen:
                seen.add(child.digest)
                node = read(child)
                yield from listed(node, depth + 1) if isinstance(node, Index) else (child,)

    return make_index(index.media_type, list(listed(index, 0)), index.annotations)


def _is_inner(child: Descriptor) -> bool:
    return child.is_index and child.platform is None


def check_at_hand(image: Manifest, label: str, missing: Collection[Digest]) -> None:
    """Sees to it that all of an image that a destination wants can be moved.

    Args:
        missing: what the destination lacks.

    Raises:
        UsageError: some of it is never moved (OCI image spec, *Non-Distributable Layers*).
    """
    elsewhere = next((layer for layer in image.layers if layer.is_foreign and layer.digest in missing), None)
    if elsewhere is not None:
        raise UsageError(
            f"{label}: layer {elsewhere.digest.short} is not kept with the image, so an engine can't be given it",
            hint="it lies where its maker put it, as those of Windows do; the engine's own pull fetches it",
        ).on("source")


def check_platform(manifest: Manifest, platforms: Sequence[Platform], read: Callable[[Descriptor], bytes]) -> None:
    """Sees to it that an image without an index is for one of the platforms asked for.

    Raises:
        NotFound: its config says that it is for another.
    """
    if manifest.config is None or not manifest.is_image:
        return
    own = Platform.from_json(read_json_object(read(manifest.config)))
    if own.os and all(platform.rank(own) is None for platform in platforms):
        wanted = " or ".join(str(platform) for platform in platforms)
        raise NotFound(f"no image for {wanted}", hint=f"the image is for {own} alone")


def choose_one(index: Index, platform: Platform) -> Descriptor:
    """The manifest that serves a platform best; among equals the first.

    Raises:
        NotFound: none does; the message names those that there are.
    """
    ranked = [
        (rank, position, child)
        for position, child in enumerate(index.manifests)
        if child.platform is not None and (rank := platform.rank(child.platform)) is not None
    ]
    if not ranked:
        raise NotFound(f"no image for {platform}", hint=f"there are {_offer(index)}")
    return min(ranked, key=lambda item: item[:2])[2]


def choose_several(index: Index, platforms: Sequence[Platform]) -> Index:
    """A new index of some of the manifests, in their old order, together with their attestations.

    Raises:
        NotFound: one of the platforms is not there.
    """
    chosen = {choose_one(index, platform).digest for platform in platforms}
    texts = {str(digest) for digest in chosen}
    kept = [child for child in index.manifests if child.digest in chosen or child.annotations.get(_ATTESTED) in texts]
    return make_index(index.media_type, kept, index.annotations)


def preferred(index: Index, platform: Platform) -> Descriptor | None:
    """The manifest for a platform, else the first for any known one, else None."""
    candidates = [child for child in index.manifests if child.platform is None or child.platform.is_known]
    for child in candidates:
        if child.platform is not None and platform.rank(child.platform) == 0:
            return child
    return candidates[0] if candidates else None


def _offer(index: Index) -> str:
    known = dict.fromkeys(
        str(child.platform) for child in index.manifests if child.platform and child.platform.is_known
    )
    return ", ".join(known) if known else "no platforms named in the index"
