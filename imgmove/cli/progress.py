"""How far it is: bars on a terminal, a line now and then without one, JSON lines, or nothing."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from imgmove.cli.messages import Messages, clean, counted, size
from imgmove.ports import BlobFinished, BlobStarted, BytesMoved, Event, Note, PlanMade, Retrying

if TYPE_CHECKING:
    from tqdm import tqdm

_MOST_ROWS = 5
_SMALLEST_ROW = 1 << 20
_FIRST_LINE = 3.0
_LONGEST_SPAN = 48 * 3600
_EVERY = 5.0


class Progress:
    """An observer that passes notes and retries on to a person and counts bytes; the kinds below show the count."""

    def __init__(self, messages: Messages) -> None:
        self.messages = messages
        self.moved = 0
        self.total = 0
        self.is_exact = True
        self.blobs_left = 0
        self._lock = threading.Lock()

    def on(self, event: Event, /) -> None:
        """Hears of an event, from any thread."""
        with self._lock:
            self._take(event)

    def close(self) -> None:
        """Takes whatever it shows off the screen."""

    def _take(self, event: Event) -> None:
        match event:
            case PlanMade():
                # A mirror pass makes many plans, some of them while others are carried out.
                self.total += event.bytes_to_send
                self.is_exact = self.is_exact and event.is_exact
                self.blobs_left += event.blobs_to_send
            case BytesMoved():
                self.moved += event.count
            case BlobFinished():
                self.blobs_left -= event.how == "sent"
                self.detail(f"{event.label}: {event.how}, {size(event.size)}")
            case Retrying():
                self.say(f"{event.what}: {event.reason}; trying again in {event.delay:.1f} s")
            case Note():
                self.say(event.text)

    def say(self, text: str) -> None:
        """Tells a note."""
        self.messages.note(text)

    def detail(self, text: str) -> None:
        """Tells a detail."""
        self.messages.detail(text)


class Lines(Progress):
    """A line every few seconds, and none for what is done before the first is due."""

    def __init__(self, messages: Messages) -> None:
        super().__init__(messages)
        self._began = self._told = time.monotonic()
        self._due = self._began + _FIRST_LINE
        self._told_bytes = 0

    def _take(self, event: Event) -> None:
        super()._take(event)
        now = time.monotonic()
        if isinstance(event, BytesMoved) and now >= self._due:
            self._due = now + _EVERY
            # What must come again may be more than what came.
            rate = max(0, self.moved - self._told_bytes) / (now - self._told)
            self._told, self._told_bytes = now, self.moved
            self.messages.line(self._line(rate))

    def _line(self, rate: float) -> str:
        about = "" if self.is_exact else "≈"
        if not self.total:
            return f"{size(self.moved)} moved, {size(rate)}/s"
        percent = min(100, 100 * self.moved // self.total)
        said = f"{percent} % of {about}{size(self.total)}, {size(rate)}/s, {counted(self.blobs_left, 'blob')} to go"
        left = _span(max(0, self.total - self.moved) / rate) if rate else ""
        return f"{said}, about {left} left" if left else said


def _span(seconds: float) -> str:
    """A time as people tell it; nothing for one of days, which only a connection that has just begun again foretells."""
    if seconds >= _LONGEST_SPAN:
        return ""
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 2 * 60 else f"{seconds:.0f} s"


class Bars(Progress):
    """A bar for the whole and one for each of a few running blobs."""

    def __init__(self, messages: Messages) -> None:
        super().__init__(messages)
        from tqdm import tqdm

        self._tqdm: Any = tqdm
        self._whole: tqdm[Any] | None = None
        self._rows: dict[str, tuple[tqdm[Any], int]] = {}
        self._free = list(range(_MOST_ROWS, 0, -1))

    def _take(self, event: Event) -> None:
        super()._take(event)
        match event:
            case PlanMade() if event.blobs_to_send:
                if self._whole is None:
                    self._whole = self._bar("total", 0, 0)
                self._whole.total = self.total
            case BlobStarted():
                if self._whole is None:
                    self._whole = self._bar("total", None, 0)
                is_worth_it = event.size is None or event.size >= _SMALLEST_ROW
                if self._free and is_worth_it and event.key not in self._rows:
                    position = self._free.pop()
                    self._rows[event.key] = (self._bar(event.label, event.size, position), position)
            case BytesMoved():
                if self._whole is not None:
                    self._whole.update(event.count)
                if event.key in self._rows:
                    self._rows[event.key][0].update(event.count)
            case BlobFinished() if event.key in self._rows:
                bar, position = self._rows.pop(event.key)
                bar.close()
                self._free.append(position)

    def _bar(self, label: str, total: int | None, position: int) -> tqdm[Any]:
        bar: tqdm[Any] = self._tqdm(
            total=total,
            desc=f"{clean(label)[:12]:12}",
            position=position,
            leave=False,
            unit="B",
            unit_scale=True,
            file=sys.stderr,
            dynamic_ncols=True,
            mininterval=0.2,
        )
        return bar

    def say(self, text: str) -> None:
        """Tells a note above the bars."""
        with self._tqdm.external_write_mode(file=sys.stderr):
            super().say(text)

    def detail(self, text: str) -> None:
        """Tells a detail above the bars."""
        with self._tqdm.external_write_mode(file=sys.stderr):
            super().detail(text)

    def close(self) -> None:
        """Takes the bars off the screen."""
        with self._lock:
            rows = [bar for bar, _ in self._rows.values()]
            for bar in (*rows, *([self._whole] if self._whole is not None else [])):
                bar.close()
            self._rows, self._whole = {}, None


def choose_progress(kind: str, messages: Messages) -> Progress:
    """The kind asked for; ``auto`` looks at whether anybody is there to see bars."""
    if kind == "none" or messages.is_quiet:
        return Progress(messages)
    if kind == "bar" or (kind == "auto" and not messages.as_json and _is_wide_terminal()):
        return Bars(messages)
    return Lines(messages)


def _is_wide_terminal() -> bool:
    """Whether stderr is a terminal that knows its width: on others tqdm shows nothing."""
    try:
        return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except OSError:
        return False
