"""Telling a command of the user's what changed: the event is JSON on its stdin."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence

from imgmove.mirror.work import Failure

_LONGEST = 300
_TICK = 0.2


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
                self._running.kill()
        self._events.put(None)

    def _work(self) -> None:
        while (event := self._events.get()) is not None:
            if self._is_ended:
                return
            if failure := self._told(event):
                self.failures.append(Failure(f"the hook {self._command[0]} {failure}"))

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
                )
        except OSError as error:
            return f"can't be run: {error.strerror}"
        with process:
            try:
                _, said = process.communicate(json.dumps(event, ensure_ascii=False).encode() + b"\n", self._timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=1)
                return f"took more than {self._timeout:g} seconds"
        if process.returncode == 0 or self._is_ended:
            return ""
        words = said.decode("utf-8", "replace").strip().replace("\n", " ")[:_LONGEST]
        return f"ended with status {process.returncode}{': ' if words else ''}{words}"
