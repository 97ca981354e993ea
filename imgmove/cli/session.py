"""A session with somebody watching: progress on stderr, and signals that end it cleanly."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from imgmove.cli.messages import Messages
from imgmove.cli.options import LogFormat, Telling
from imgmove.cli.progress import choose_progress
from imgmove.errors import Interrupted
from imgmove.ports import Observer
from imgmove.settings import Settings
from imgmove.stages.session import Session


def make_messages(output: Telling) -> Messages:
    """What the output options say of messages."""
    return Messages(is_quiet=output.quiet, is_verbose=output.verbose, as_json=output.log_format is LogFormat.json)


@contextlib.contextmanager
def watched_session(
    settings: Settings, output: Telling, opened: Callable[[Settings, Observer], Session] = Session
) -> Iterator[Session]:
    """A session whose events are shown; SIGINT and SIGTERM make it end.

    Args:
        opened: makes the session.

    Raises:
        Interrupted: one of the signals came.
    """
    progress = choose_progress(output.watching.value, make_messages(output))
    with opened(settings, progress) as session, _ending_signals(session):
        try:
            yield session
        finally:
            progress.close()


@contextlib.contextmanager
def _ending_signals(session: Session) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    received: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        received.append(number)
        session.run.cancelled.set()
        raise Interrupted(number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except Interrupted:
        # Ours can be lost, as when it comes in a callback that may not raise; then a wait noticed the end first.
        raise Interrupted(*received[:1]) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
