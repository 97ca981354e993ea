"""Finding out which tags changed: one question to each side a tag, and one about referrers a digest."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from imgmove.engine.graph import holds, read_node
from imgmove.engine.pool import Pool, TaskGroup
from imgmove.errors import ImgmoveError, MalformedContent, NotFound, Side
from imgmove.mirror.work import Action, Item, Work
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.ports import Destination, ImageLister, NamedImage, NameResolver, ReferrerLister, Source

Answer = TypeVar("Answer")


@dataclass
class Checked:
    """What was found out about one image.

    Attributes:
        found: what the source has.
        current: what the destination has under the name.
        wanted: what the destination should have; None when only a plan will tell.
        action: what has to be done; None as long as only a plan will tell.
        is_settled: nothing is left to be moved: it is there, or was put under its name out of what was there.
    """

    item: Item
    began: float
    found: Descriptor | None = None
    current: Digest | None = None
    wanted: Digest | None = None
    action: Action | None = None
    reason: str = ""
    is_settled: bool = False
    error: ImgmoveError | None = None
    crash: BaseException | None = None
    seconds: float = 0.0
    questions: int = 2

    def fail(self, error: BaseException) -> None:
        """Notes the first thing that went wrong."""
        if isinstance(error, ImgmoveError):
            self.error = self.error or error
        else:
            self.crash = self.crash or error

    @property
    def source_digest(self) -> str:
        """The digest of what the source has."""
        assert self.found is not None
        return str(self.found.digest)

    @property
    def moves_tag(self) -> bool:
        """Whether a name at the destination goes from one image to another."""
        return self.current is not None and self.wanted is not None and self.current != self.wanted


@dataclass(frozen=True)
class Place:
    """The two ends of some work, opened.

    Attributes:
        present: the destination's names, where it tells all of them at once.
    """

    source: Source
    destination: Destination
    present: Mapping[str, Digest] | None

    @classmethod
    def of(cls, source: Source, destination: Destination) -> Place:
        """Reads the names of a destination that lists them more cheaply than it answers for each."""
        present: dict[str, Digest] | None = None
        # A registry lists tags without their digests.
        if isinstance(destination, ImageLister):
            try:
                images = destination.images()
            except NotFound:
                images = ()
            present = {str(image.descriptor.digest): image.descriptor.digest for image in images}
            present |= {name: image.descriptor.digest for image in images for name in image.names}
        return cls(source, destination, present)


class Checker:
    """Looks at the images of one work side by side.

    Attributes:
        referrers: digests of referrers of which it is certain by now that the destination has them.
    """

    def __init__(self, pool: Pool, work: Work, place: Place) -> None:
        self._run = pool.run
        self._group = TaskGroup(pool)
        self._work = work
        self._place = place
        self._lock = threading.Lock()
        self._subjects: set[Digest] = set()
        # Asking a Protocol whether something is one takes as long as a tenth of a request.
        self._resolver = place.destination if isinstance(place.destination, NameResolver) else None
        self._lister = place.source if work.referrers and isinstance(place.source, ReferrerLister) else None
        self.referrers: set[str] = set()

    def check(self) -> list[Checked]:
        """Asks both sides about every image.

        Raises:
            Interrupted: the run was cancelled.
        """
        now = time.monotonic()
        checks = [Checked(item, now) for item in self._work.items]
        for check in checks:
            self._spawn(check, self._resolve)
            self._spawn(check, self._find)
        self._group.wait()
        for check in checks:
            if check.crash is not None:
                raise check.crash
        return checks

    def _spawn(self, check: Checked, task: Callable[[Checked], None]) -> None:
        self._group.spawn(partial(task, check), check.fail)

    def _resolve(self, check: Checked) -> None:
        label = self._work.source_of(check.item)
        check.found = self._ask("source", f"resolving {label}", lambda: self._place.source.resolve(check.item.image))
        self._answered(check)

    def _find(self, check: Checked) -> None:
        # An image without a name is found by its digest, unless only some of its platforms are wanted.
        name = check.item.name or ("" if self._work.platforms else check.item.image)
        resolver = self._resolver
        if self._place.present is not None:
            check.current = self._place.present.get(name)
        elif name and resolver is not None:
            what = f"asking for {self._work.destination_of(check.item)}"
            found = self._ask("destination", what, lambda: resolver.find(name))
            check.current = found.digest if found is not None else None
        self._answered(check)

    def _answered(self, check: Checked) -> None:
        with self._lock:
            check.questions -= 1
            if check.questions:
                return
        self._judge(check)
        check.seconds = time.monotonic() - check.began

    def _judge(self, check: Checked) -> None:
        assert check.found is not None
        digest, known = check.found.digest, self._work.known
        check.wanted = _remembered(known.get(str(digest))) if self._work.platforms else digest
        if check.wanted is None:
            return
        if check.current == check.wanted:
            check.action, check.reason = "keep", "unchanged"
        elif check.current is None:
            check.action, check.reason = "copy", "new"
        else:
            check.action, check.reason = "update", f"moved from {check.current.short} to {check.wanted.short}"
        if self._work.recheck:
            return
        if check.action == "keep":
            check.is_settled = True
            self._look_for_referrers(check)
        elif str(digest) in known and not self._work.dry_run and not self._keeps_previous(check):
            self._spawn(check, self._name_again)

    def _keeps_previous(self, check: Checked) -> bool:
        return self._work.keep_previous is not None and check.moves_tag

    def _name_again(self, check: Checked) -> None:
        """Gives the name to an image that was brought here earlier, if it is still there. The source sends nothing."""
        destination, resolver, wanted = self._place.destination, self._resolver, check.wanted
        assert wanted is not None
        if resolver is None or not isinstance(destination, Source) or not check.item.name:
            return
        there = self._ask("destination", f"asking for {wanted.short}", lambda: resolver.find(str(wanted)))
        if there is None:
            return
        put_under(self._run.persist, destination, there, check.item.name)
        check.is_settled = True
        self._look_for_referrers(check)
        check.seconds = time.monotonic() - check.began

    # --- signatures come later than images

    def _look_for_referrers(self, check: Checked) -> None:
        lister, subject = self._lister, check.wanted
        assert subject is not None
        assert check.found is not None
        is_at_source = subject == check.found.digest or len(self._work.platforms) == 1
        if lister is None or not is_at_source:
            return
        with self._lock:
            is_new = subject not in self._subjects
            self._subjects.add(subject)
        if is_new:
            self._spawn(check, partial(self._list_referrers, lister, subject))

    def _list_referrers(self, source: ReferrerLister, subject: Digest, check: Checked) -> None:
        what = f"asking what refers to {subject.short}"
        found = self._ask("source", what, lambda: source.referrers(subject))
        missing = [referrer for referrer in found if not self._is_there(referrer)]
        if missing:
            check.is_settled = False
            if check.action == "keep":
                count = len(missing)
                check.action, check.reason = "update", f"{count} new referrer{'s' * (count > 1)}"
        check.seconds = time.monotonic() - check.began

    def _is_there(self, referrer: NamedImage) -> bool:
        digest = str(referrer.descriptor.digest)
        if digest in self._work.known_referrers:
            return True
        what = f"asking for referrer {referrer.descriptor.digest.short}"
        is_there = self._ask("destination", what, lambda: holds(self._place.destination, referrer))
        if is_there:
            with self._lock:
                self.referrers.add(digest)
        return is_there

    def _ask(self, side: Side, what: str, question: Callable[[], Answer]) -> Answer:
        try:
            return self._run.persist(what, question)
        except ImgmoveError as error:
            raise error.on(side) from error.__cause__


def _remembered(written: str | None) -> Digest | None:
    """What the state says; whatever else it says is not known."""
    with contextlib.suppress(MalformedContent):
        return Digest.parse(written)
    return None


def put_under(
    persist: Callable[[str, Callable[[], None]], None], destination: Destination, image: Descriptor, name: str
) -> None:
    """Gives one more name to an image that lies at the destination.

    Raises:
        ImgmoveError: it could not be read or written.
    """
    assert isinstance(destination, Source)
    opener = destination

    def put() -> None:
        node = read_node(opener, image)
        destination.put_manifest(node.content, node.media_type, (name,), algorithm=node.algorithm)

    try:
        persist(f"naming {image.digest.short} {name}", put)
    except ImgmoveError as error:
        raise error.on("destination") from error.__cause__
