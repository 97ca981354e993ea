"""What a person said to a question, so that nobody has to say it again when a connection broke, or for one key at each host."""

from __future__ import annotations

import threading

from imgmove.model.ssh import Ask


class Answers:
    """The answers of one command. Safe for many threads.

    Args:
        ask: asks the person.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._kept: dict[str, str] = {}
        self._lock = threading.Lock()

    def get(self, question: str) -> str | None:
        """What was said before, else what is said now; None where nobody answers."""
        with self._lock:
            if (known := self._kept.get(question)) is not None:
                return known
            answer = self._ask(question)
            if answer is not None:
                self._kept[question] = answer
            return answer

    def refuse(self, question: str, answer: str) -> None:
        """An answer was not the right one, so the person is asked again."""
        with self._lock:
            if self._kept.get(question) == answer:
                del self._kept[question]
