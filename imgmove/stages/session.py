"""What the stages of one command share: endpoints, threads, and what earlier runs learned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from types import TracebackType
from typing import Self

from imgmove.endpoints.factory import Endpoints
from imgmove.engine.budget import Budget
from imgmove.engine.limit import RateLimit
from imgmove.engine.pool import Pool
from imgmove.engine.run import RetryPolicy, Run
from imgmove.knowledge import KnowledgeFile
from imgmove.ports import Codec, Observer, Silence
from imgmove.settings import Settings
from imgmove.wire import codec


class Session:
    """Opens endpoints once and closes them all; a context manager for one command, or for several that share it.

    Args:
        budget: the memory for reading ahead; one without any keeps each blob to one connection.

    Attributes:
        run: how the engine works.
        pool: its threads.
        endpoints: opens sources and destinations, each place once.
        knowledge: guesses that save requests.
        codec: compresses and decompresses.
    """

    def __init__(
        self, settings: Settings | None = None, observer: Observer | None = None, budget: Budget | None = None
    ) -> None:
        self.settings = settings or Settings.from_environment()
        rate = self.settings.limit_rate
        self.run = Run(
            jobs=self.settings.jobs,
            retry=RetryPolicy(self.settings.retries),
            observer=observer or Silence(),
            limit=RateLimit(rate) if rate else None,
            budget=budget or Budget(),
        )
        self.pool = Pool(self.run)
        self.endpoints = Endpoints(self.settings, observer=self.run.observer)
        self.knowledge = KnowledgeFile(Path(self.settings.knowledge_file))
        self.codec: Codec = codec

    @contextmanager
    def for_one_command(self) -> Iterator[Session]:
        """A session for one of many commands, which may run side by side in threads.

        It shares connections, tokens and threads, but opens places anew, as they are others after each command.
        """
        own = copy(self)
        own.endpoints = self.endpoints.for_another_command()
        try:
            yield own
        finally:
            own.endpoints.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends threads and connections, and forgets every archive that was not finished."""
        self.pool.close()
        self.endpoints.close()
        self.knowledge.close()
