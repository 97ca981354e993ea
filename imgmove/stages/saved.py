"""What a repository or layout holds already of an image that an engine is about to save, so that it need not come here at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from imgmove.engine.piped_blobs import from_source
from imgmove.errors import ImgmoveError, Interrupted, NotFound
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.location import EngineLocation, LayoutLocation, Location, RegistryLocation
from imgmove.model.media_types import Compression
from imgmove.ports import Destination, Note
from imgmove.stages.bases import KnownBases, find_bases
from imgmove.stages.options import CopyOptions
from imgmove.stages.session import Session

if TYPE_CHECKING:
    from imgmove.endpoints.engines import SavedLayer


def bases_of_saved(
    session: Session, source: EngineLocation, destination: Location, options: CopyOptions
) -> KnownBases | None:
    """Knowledge for a copy that leaves out what the place has; None when everything may go on in one pass.

    From an engine on another host, layers that the place has are not even sent to this machine.
    """
    if not isinstance(destination, RegistryLocation | LayoutLocation):
        return None
    engines = session.endpoints.engines
    keeps_manifests = engines.keeps_manifests(source)
    # As copies make layers that come without a manifest: files keep them as they are.
    compression: Compression = "gzip" if isinstance(destination, RegistryLocation) else "none"
    bases = KnownBases(session.knowledge)
    if not keeps_manifests:
        diff_ids = from_source(lambda: engines.diff_ids(source))
        bases = _bases(session, destination, diff_ids, compression)
        if not bases.blobs:
            return None
    allowed = ("keep",) if keeps_manifests else ("keep", compression)
    is_thin = _reads_no_held_layer(options, allowed, keeps_manifests=keeps_manifests) and _is_thinned(
        session, source, destination, bases
    )
    # Where all comes here anyway, a layout loses nothing by taking it in one pass.
    return bases if is_thin or (bases.blobs and isinstance(destination, RegistryLocation)) else None


def _bases(
    session: Session,
    destination: RegistryLocation | LayoutLocation,
    diff_ids: Sequence[Digest],
    compression: Compression,
) -> KnownBases:
    name = destination.reference.tag if isinstance(destination, RegistryLocation) else destination.name
    try:
        place = session.endpoints.source(destination)
    except NotFound:
        # A layout that is not there yet.
        return KnownBases(session.knowledge)
    return find_bases(session.knowledge, place, name, diff_ids, compression)


def _reads_no_held_layer(options: CopyOptions, compressions: Sequence[str], *, keeps_manifests: bool) -> bool:
    """Whether such a copy takes what the place has as it is, rather than making something else of it."""
    if options.compression not in compressions or options.compression_level is not None:
        return False
    return options.format == "keep" or not keeps_manifests


def _is_thinned(session: Session, source: EngineLocation, destination: Location, bases: KnownBases) -> bool:
    try:
        # A save can't be continued, so it is begun again.
        return session.run.persist(f"the save of {source}", lambda: _thin(session, source, destination, bases))
    except ImgmoveError as error:
        if error.is_transient or error.side == "destination" or isinstance(error, Interrupted):
            raise error.on("source") from error.__cause__
        session.run.observer.on(
            Note(f"{source}: layers can't be left out ({error.message}); sent the whole image instead")
        )
        return False


def _thin(session: Session, source: EngineLocation, destination: Location, bases: KnownBases) -> bool:
    found = session.endpoints.engines.thin_save(source)
    if found is None:
        return False
    save, layers = found
    known = {diff_id: blob for (diff_id, _), blob in bases.blobs.items()}
    held = _held(session, destination, layers, known)
    if held:
        session.endpoints.thinned(source, save, held)
    return bool(held)


def _held(
    session: Session, destination: Location, layers: Sequence[SavedLayer], known: Mapping[Digest, Descriptor]
) -> dict[SavedLayer, Descriptor]:
    place = session.endpoints.destination(destination)
    assert isinstance(place, Destination)
    held: dict[SavedLayer, Descriptor] = {}
    try:
        for layer in layers:
            blob = layer.blob or known.get(layer.diff_id)
            if blob is not None and place.has(blob):
                held[layer] = blob
    except ImgmoveError as error:
        raise error.on("destination") from error.__cause__
    return held
