"""Loading bundles: checked before the destination sees anything, moved by the engine, and proven afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from imgmove.airgap.hints import HintedKnowledge
from imgmove.airgap.loaded import LoadedImage, LoadReport
from imgmove.airgap.options import LoadBundleOptions
from imgmove.airgap.proof import Proof, prove, prove_pulled
from imgmove.airgap.rename import Rename, renamed
from imgmove.endpoints.bundle import Bundle
from imgmove.engine.blobs import BlobMover
from imgmove.engine.plan import Choice, Plan, PlannedBlob, PlannedImage
from imgmove.engine.planner import make_plan
from imgmove.engine.pool import TaskGroup
from imgmove.engine.transfer import transfer
from imgmove.errors import ContentError, ImgmoveError, SomeFailed, UsageError
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.location import Location, PipeLocation
from imgmove.model.reference import Reference
from imgmove.ports import BlobMounter, Destination, PullingDestination
from imgmove.stages.naming import Origin, Target, Targets, move_of
from imgmove.stages.report import ImageReport, Status, Totals
from imgmove.stages.session import Session

_SHOWN = 5


def load(session: Session, bundle: Bundle, location: Location, options: LoadBundleOptions) -> LoadReport:
    """Moves the images of a bundle to a place and proves that they are there.

    Args:
        bundle: of which some volumes may be missing; images that lie in others alone are loaded.

    Raises:
        SignatureError: the key did not sign the bundle; the destination has seen nothing.
        UsageError: two images would get one name, or one has none where names are needed.
        LocalError: a paper can't be written; the images are there all the same.
    """
    if options.key is not None:
        bundle.check_signature(options.key.accepts)
    if isinstance(location, PipeLocation):
        raise UsageError("a bundle can't be loaded into a pipe", hint="imgmove copy takes it out as an archive")
    report = _Loading(session, bundle, session.endpoints.shaped(location), options).run()
    if not options.dry_run:
        options.papers.write(report)
    return report


class _Loading:
    """One load, from the names that images get to the proof that they have them."""

    def __init__(self, session: Session, bundle: Bundle, location: Location, options: LoadBundleOptions) -> None:
        self._session = session
        self._bundle = bundle
        self._location = location
        self._options = options
        self._rename = [Rename.parse(text) for text in options.rename]

    def run(self) -> LoadReport:
        named = self._targets()
        hints = {item.descriptor.digest: item.repositories for item in self._bundle.index.assumed}
        knowledge = HintedKnowledge(self._session.knowledge, hints)
        moves = [move_of(origin, target) for origin, target in named]
        plan = make_plan(moves, Choice(recheck=self._options.recheck), self._session.pool, knowledge=knowledge)
        lacking = [self._lacking(image) for image in plan.images]
        incomplete = [image for image, missing in zip(plan.images, lacking, strict=True) if missing]
        plan = Plan([self._judged(*item) for item in zip(plan.images, lacking, strict=True)])
        if self._options.dry_run:
            planned = zip(named, plan.images, lacking, strict=True)
            return self._report(plan, [self._planned(*item) for item in planned])
        loaded = []
        outcomes = transfer(plan, self._session.pool, knowledge=knowledge)
        for (origin, target), outcome, missing in zip(named, outcomes, lacking, strict=True):
            if outcome.error is None:
                loaded.append(self._proven(origin, target, outcome.image))
            else:
                missing = missing or self._unmounted(outcome.image)  # noqa: PLW2901 - what showed too late to plan
                error = self._incomplete(origin.label, missing) if missing else self._blamed(outcome.error)
                loaded.append(self._failed(origin, target, error, missing))
        self._bring(incomplete)
        return self._report(plan, loaded)

    def _targets(self) -> list[tuple[Origin, Target]]:
        targets = Targets(self._session.endpoints, self._location)
        named = []
        for image in self._bundle.index.images:
            digest = str(image.descriptor.digest)
            for name in image.names or ("",):
                own = renamed(Reference.parse(name, default_tag=""), self._rename) if name else None
                origin = Origin(self._bundle, digest, own, name or digest)
                named.append((origin, targets.target(origin, keeps_tag=True)))
        return named

    def _bring(self, images: Sequence[PlannedImage]) -> None:
        """Brings what there is of images that can't be completed, so that what is lacking suffices the next time."""
        group, mover = TaskGroup(self._session.pool), BlobMover(self._session.run)
        for blob in Plan(images).blobs:
            if (
                blob.fate == "send"
                and self._bundle.holds(blob.descriptor)
                and isinstance(blob.destination, Destination)
            ):
                # What fails here is among what is lacking the next time.
                group.spawn(partial(_move, mover, blob), _ignore, urgency=blob.descriptor.size)
        group.wait()

    # --- what is not there

    def _lacking(self, image: PlannedImage) -> list[Descriptor]:
        """Blobs that would have to come from the bundle, which does not hold them."""
        sent = {blob.descriptor.digest: blob.descriptor for blob in image.blobs() if blob.fate == "send"}
        return [blob for blob in sent.values() if not self._bundle.holds(blob)]

    def _unmounted(self, image: PlannedImage) -> list[Descriptor]:
        """Blobs that were to be mounted from where the far side said they are, and are not there after all."""
        hoped = {blob.descriptor.digest: blob.descriptor for blob in image.blobs() if blob.fate == "mount"}
        place = image.move.destination
        if not isinstance(place, Destination):
            return []
        return [blob for blob in hoped.values() if not self._bundle.holds(blob) and not place.has(blob)]

    def _judged(self, image: PlannedImage, lacking: Sequence[Descriptor]) -> PlannedImage:
        """An image that can't be completed does not move at all."""
        if image.error is not None or not lacking:
            return image
        return PlannedImage(image.move, image.root, None, error=self._incomplete(image.move.label, lacking))

    def _incomplete(self, label: str, lacking: Sequence[Descriptor]) -> ImgmoveError:
        volumes = sorted({number for blob in lacking for number in self._bundle.volumes_of(blob.digest)})
        shown = ", ".join(blob.digest.short for blob in lacking[:_SHOWN]) + (", …" if len(lacking) > _SHOWN else "")
        where = f"in volume {', '.join(map(str, volumes))}" if volumes else "which the bundle takes to be there"
        count = f"{len(lacking)} blob{'s' * (len(lacking) > 1)}"
        return SomeFailed(f"{label} can't be completed: the destination lacks {count} ({shown}), {where}")

    def _blamed(self, error: ImgmoveError) -> ImgmoveError:
        """Says which volume is damaged when content was not what it should be."""
        if not isinstance(error, ContentError) or self._bundle.volumes is None or error.side == "destination":
            return error
        blobs = [blob for blob in self._bundle.index.blobs if blob.digest.short in error.message]
        faults = [str(fault) for blob in blobs for fault in self._bundle.volumes.damaged(str(blob.digest))]
        if faults and faults[0] not in error.message:
            error.message = f"{error.message}: {'; '.join(faults)}"
        return error

    # --- what became of an image

    def _planned(self, named: tuple[Origin, Target], image: PlannedImage, lacking: Sequence[Descriptor]) -> LoadedImage:
        if image.error is not None:
            return self._failed(*named, image.error, lacking)
        return self._moved(*named, image, "planned")

    def _proven(self, origin: Origin, target: Target, image: PlannedImage) -> LoadedImage:
        assert image.root is not None
        session, names, place = self._session, target.names, target.destination
        try:
            if isinstance(place, PullingDestination):
                proof: Proof | None = prove_pulled(session, place, self._bundle, image.root, names)
            else:
                proof = prove(session, place, image.root, names, reread=self._options.reread)
        except ImgmoveError as error:
            return self._failed(origin, target, error.on("destination"), ())
        return replace(self._moved(origin, target, image, "copied"), proof=proof)

    def _moved(self, origin: Origin, target: Target, image: PlannedImage, status: Status) -> LoadedImage:
        digest = Digest.parse(origin.name)
        if image.is_present and not image.referrers:
            status = "present"
        report = ImageReport(origin.label, target.label, digest, status, referrers=len(image.referrers))
        repository = target.destination.repository if isinstance(target.destination, BlobMounter) else ""
        return LoadedImage(origin.label, digest, report, repository=repository)

    def _failed(
        self, origin: Origin, target: Target, error: ImgmoveError, lacking: Sequence[Descriptor]
    ) -> LoadedImage:
        report = ImageReport(origin.label, target.label, None, "failed", error)
        return LoadedImage(origin.label, Digest.parse(origin.name), report, lacking=tuple(lacking))

    def _report(self, plan: Plan, images: Sequence[LoadedImage]) -> LoadReport:
        volumes = self._bundle.volumes
        return LoadReport(
            bundle=self._bundle,
            place=str(self._location),
            images=images,
            faults=[str(fault) for fault in volumes.faults] if volumes is not None else [],
            totals=Totals.of(plan),
            is_signed=self._options.key is not None,
            is_dry_run=self._options.dry_run,
        )


def _move(mover: BlobMover, blob: PlannedBlob) -> None:
    mover.move(blob)


def _ignore(error: BaseException) -> None:
    """For what is tried without being promised."""
