"""What a repository holds already of an image that an engine is about to save, so that it need not come here at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from imgmove.engine.piped_blobs import from_source
from imgmove.errors import ImgmoveError, Interrupted
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.location import EngineLocation, Location, RegistryLocation
from imgmove.ports import Destination, Note
from imgmove.stages.bases import KnownBases, find_bases
from imgmove.stages.options import CopyOptions
from imgmove.stages.session import Session

if TYPE_CHECKING:
    from imgmove.endpoints.engines import SavedLayer


def bases_of_saved(
    session: Session, source: EngineLocation, destination: Location, options: CopyOptions
) -> KnownBases | None:
    """Knowledge for a copy that leaves out what the repository has; None when everything may go on in one pass.

    From an engine on another host, layers that the repository has are not even sent to this machine.
    """
    if not isinstance(destination, RegistryLocation):
        return None
    engines = session.endpoints.engines
    keeps_manifests = engines.keeps_manifests(source)
    bases = KnownBases(session.knowledge)
    if not keeps_manifests:
        diff_ids = from_source(lambda: engines.diff_ids(source))
        repository = session.endpoints.source(destination)
        bases = find_bases(session.knowledge, repository, destination.reference.tag, diff_ids)
        if not bases.blobs:
            return None
    is_thin = _reads_no_held_layer(options, keeps_manifests=keeps_manifests) and _is_thinned(
        session, source, destination, bases
    )
    return bases if is_thin or bases.blobs else None


def _reads_no_held_layer(options: CopyOptions, *, keeps_manifests: bool) -> bool:
    """Whether such a copy takes what the repository has as it is, rather than making something else of it."""
    if keeps_manifests:
        return options.compression == "keep" and options.format == "keep"
    return options.compression in ("keep", "gzip") and options.compression_level is None


def _is_thinned(session: Session, source: EngineLocation, destination: RegistryLocation, bases: KnownBases) -> bool:
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


def _thin(session: Session, source: EngineLocation, destination: RegistryLocation, bases: KnownBases) -> bool:
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
    session: Session, destination: RegistryLocation, layers: Sequence[SavedLayer], known: Mapping[Digest, Descriptor]
) -> list[SavedLayer]:
    place = session.endpoints.destination(destination)
    assert isinstance(place, Destination)
    held = []
    try:
        for layer in layers:
            blob = layer.blob or known.get(layer.diff_id)
            if blob is not None and place.has(blob):
                held.append(layer)
    except ImgmoveError as error:
        raise error.on("destination") from error.__cause__
    return held
