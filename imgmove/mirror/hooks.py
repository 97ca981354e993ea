"""Telling a command of the user's what changed: the event is JSON on its stdin."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence

from imgmove.mirror.work import Failure

_LONGEST = 300
_TICK = 0.2
_BLOCK = 4096
_MOST_IN_VAIN = 3


class Hooks:
    """Runs the command once a change, one after another, beside the pass.

    Attributes:
        failures: what went wrong so far.
    """

    def __init__(self, command: Sequence[str], timeout: float, variables: Mapping[str, str]) -> None:
        self._command = list(command)
        self._timeout = timeout
        self._variables = dict(variables)
        self._events: queue.SimpleQueue[dict[str, object] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._is_ended = False
        self.failures: list[Failure] = []
        self._thread = threading.Thread(target=self._work, name="imgmove-hooks", daemon=True)
        self._thread.start()

    def tell(self, event: dict[str, object]) -> None:
        """Queues an event."""
        self._events.put(event)

    def finish(self) -> None:
        """Waits until all events have been told."""
        self._events.put(None)
        while self._thread.is_alive():
            # Short waits, so that a signal handler of the main thread gets its turn everywhere.
            self._thread.join(_TICK)

    def end(self) -> None:
        """Ends the command that runs and forgets what is queued; safe to call twice and after `finish`."""
        with self._lock:
            self._is_ended = True
            if self._running is not None:
                _end(self._running)
        self._events.put(None)

    def _work(self) -> None:
        in_vain = 0
        while (event := self._events.get()) is not None:
            if self._is_ended:
                return
            failure = self._told(event)
            if failure:
                self.failures.append(Failure(f"the hook {self._command[0]} {failure}"))
            in_vain = in_vain + 1 if failure == self._too_slow else 0
            if in_vain == _MOST_IN_VAIN:
                self._give_up()
                return

    def _give_up(self) -> None:
        """A command that hangs would keep the pass, and so the next ones, for hours."""
        count = 0
        while self._events.get() is not None:
            count += 1
        if count:
            self.failures.append(Failure(f"the hook {self._command[0]} hangs: it was not told of {count} more changes"))

    @property
    def _too_slow(self) -> str:
        return f"took more than {self._timeout:g} seconds"

    def _told(self, event: dict[str, object]) -> str:
        """Runs the command; says what went wrong."""
        try:
            with self._lock:
                if self._is_ended:
                    return ""
                process = self._running = subprocess.Popen(  # noqa: S603 - the user's own command, without a shell
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=self._variables,
                    start_new_session=True,
                )
        except OSError as error:
            return f"can't be run: {error.strerror}"
        with process:
            said = self._heard(process, json.dumps(event, ensure_ascii=False).encode() + b"\n")
        if said is None:
            return self._too_slow
        if process.returncode == 0 or self._is_ended:
            return ""
        words = said.decode("utf-8", "replace").strip().replace("\n", " ")[:_LONGEST]
        return f"ended with status {process.returncode}{': ' if words else ''}{words}"

    def _heard(self, process: subprocess.Popen[bytes], event: bytes) -> bytes | None:
        """Tells it of the event, and returns the first of what it says; None when it took too long."""
        assert process.stdin is not None
        assert process.stderr is not None
        end, said = time.monotonic() + self._timeout, b""
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(event)
                process.stdin.close()
            while select.select([process.stderr], [], [], max(0.0, end - time.monotonic()))[0]:
                data = os.read(process.stderr.fileno(), _BLOCK)
                if not data:
                    process.wait(max(0.0, end - time.monotonic()))
                    return said
                said = (said + data)[:_BLOCK]
        except subprocess.TimeoutExpired:
            pass
        _end(process)
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a command that still runs, with all that it began."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
