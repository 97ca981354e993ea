"""The work of a pass on the workers of a Dask cluster: the one door of distributed.

Dask moves the work of a worker that died to another one. Doing some work twice is harmless: what is there already is
not sent again. The mirror file goes to the workers as it was typed: each fills in for ``${NAME}`` what its own environment
holds, so that only secrets that are written out in the file go over the network.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from imgmove.errors import ImgmoveError, NetworkError, UsageError
from imgmove.mirror.carry import Carrier
from imgmove.mirror.config import MirrorFile
from imgmove.mirror.meaning import parse_mirror_file
from imgmove.mirror.run import open_session
from imgmove.mirror.work import Result, Work, interleaved
from imgmove.ports import Note
from imgmove.settings import Settings
from imgmove.stages.session import Session

if TYPE_CHECKING:
    from distributed import Client

_PATIENCE = 10
_TICK = 0.1


@dataclass(frozen=True, slots=True)
class Errand:
    """What a worker has to know of the pass.

    Attributes:
        identity: of the pass, so that a worker keeps its connections from one work to the next.
        workers: how many share the limits.
    """

    identity: str
    path: str
    content: bytes
    workers: int
    jobs: int
    retries: int
    timeout: float
    limit_rate: int | None


class DaskExecutor:
    """Hands every work to a cluster.

    Raises:
        UsageError: Dask is not installed.
        NetworkError: the scheduler can't be reached, or has no workers.
    """

    def __init__(self, address: str, file: MirrorFile, session: Session) -> None:
        self._session = session
        self._client = _connected(address)
        workers = len(self._client.scheduler_info(n_workers=-1)["workers"])
        if not workers:
            self._client.close()
            raise NetworkError(f"the Dask scheduler at {address} has no workers")
        settings = session.settings
        rate = settings.limit_rate
        self._errand = Errand(
            uuid.uuid4().hex,
            file.path,
            file.content,
            workers,
            settings.jobs,
            settings.retries,
            settings.timeout,
            max(1, rate // workers) if rate is not None else None,
        )
        session.run.observer.on(Note(f"{workers} Dask worker{'s' * (workers > 1)} share the work"))

    def run(self, works: Sequence[Work]) -> Iterator[Result]:
        """Spreads the works over the workers."""
        futures = {
            self._client.submit(carry_errand, self._errand, work, pure=False): work for work in interleaved(works)
        }
        cancelled = self._session.run.cancelled
        try:
            while futures:
                self._session.run.check()
                done = [future for future in futures if future.done()]
                if not done:
                    cancelled.wait(_TICK)
                for future in done:
                    yield _gathered(future, futures.pop(future))
        finally:
            if futures:
                self._client.cancel(list(futures), force=True)

    def close(self) -> None:
        """Lets the workers end their sessions, and leaves the cluster."""
        # Where it can't be said, the session ends with the worker.
        with contextlib.suppress(OSError, TimeoutError):
            self._client.run(forget_errand, self._errand.identity, on_error="ignore")
        self._client.close()


_carriers: dict[str, tuple[Session, Carrier]] = {}
_lock = threading.Lock()


def carry_errand(errand: Errand, work: Work) -> Result:
    """What runs on a worker."""
    try:
        with _lock:
            if errand.identity not in _carriers:
                _carriers[errand.identity] = _made(errand)
            carrier = _carriers[errand.identity][1]
    except ImgmoveError as error:
        return Result.all_failed(work, error)
    # What a worker was sent it need not send back.
    result = carrier.carry(work)
    result.work = replace(work, known={}, items=())
    return result


def forget_errand(identity: str) -> None:
    """Ends a worker's session of one pass."""
    with _lock:
        found = _carriers.pop(identity, None)
    if found is not None:
        session, carrier = found
        carrier.close()
        session.close()


def _made(errand: Errand) -> tuple[Session, Carrier]:
    settings = Settings.from_environment()
    settings = replace(
        settings, jobs=errand.jobs, retries=errand.retries, timeout=errand.timeout, limit_rate=errand.limit_rate
    )
    file = parse_mirror_file(errand.content, errand.path, settings.environment.variables.get)
    session = open_session(file, settings, workers=errand.workers)
    return session, Carrier(session, max(2, 32 // errand.workers))


def _connected(address: str) -> Client:
    try:
        from distributed import Client
    except ImportError:
        raise UsageError("Dask is not installed here", hint="pip install 'imgmove[dask]'") from None
    try:
        return Client(f"tcp://{address}", timeout=_PATIENCE, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise NetworkError(f"no Dask scheduler at {address}: {error or 'it did not answer'}") from error


def _gathered(future: Any, work: Work) -> Result:
    """A result; where the work itself could not be done, as when workers kept dying over it, one of failures."""
    error = future.exception()
    if error is None:
        result: Result = future.result()
        result.work = work
        return result
    return Result.all_failed(work, NetworkError(f"a Dask worker failed: {type(error).__name__}: {error}"))
