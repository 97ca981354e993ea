"""Engines that are spoken to by their own commands: running one to its end, feeding one, reading from one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import closing

from imgmove.endpoints.archive.stream import Sink
from imgmove.errors import (
    AccessDenied,
    ImgmoveError,
    LocalError,
    MalformedContent,
    NetworkError,
    NotFound,
    ServerRefused,
)
from imgmove.ports import Command, Machine, read_all
from imgmove.wire.http.errors import printable
from imgmove.wire.machine import NOT_RUNNING

_LARGEST_OUTPUT = 16 << 20
_DENIED = ("permission denied", "operation not permitted")
_DIALED = re.compile(r'(?:failed to dial "|dial unix )([^\s":]+)')
"""How containerd's and podman's own commands name the socket that nobody answers at."""
_ABSENT = ("image not known", "no such image", "image not found", "no such object", "no such container")


class Program:
    """A program on some machine, with the options that all of its commands begin with.

    Args:
        label: what people call it.

    Attributes:
        words: what all of its commands begin with.
    """

    def __init__(self, machine: Machine, words: Sequence[str], label: str) -> None:
        self._machine = machine
        self._has_answered = False
        self.words = tuple(words)
        self.label = label

    def begun_by(self, *words: str) -> Program:
        """The same program, started by another one."""
        return Program(self._machine, [*words, *self.words], self.label)

    def ask(self, *words: str) -> bytes:
        """Runs a command to its end; returns what it prints.

        Raises:
            NotFound: it names something that isn't there.
            ServerRefused: it failed.
        """
        with closing(self.start(*words)) as command:
            command.end_input()
            output = self._heard(command)
            self.check(command, words[0])
        return output

    def feed(self, write: Callable[[Sink], None], *words: str, comes: Callable[[], bool]) -> None:
        """Runs a command whose input is written meanwhile.

        Args:
            comes: whether what it makes of that comes, where the connection breaks when it has got all: it goes on then.
        """
        with closing(self.start(*words)) as command:
            try:
                write(command)
                command.end_input()
            except LocalError as error:
                # It stopped listening, and says better than we why.
                command.end_input()
                self._heard(command)
                self.check(command, words[0])
                raise error from None
            try:
                self._heard(command)
                self.check(command, words[0])
            except ImgmoveError as error:
                if not error.is_transient or not comes():
                    raise

    def _heard(self, command: Command) -> bytes:
        output = read_all(command, _LARGEST_OUTPUT)
        if len(output) > _LARGEST_OUTPUT:
            # It waits for somebody who reads on, and would never end.
            raise MalformedContent(f"{self.label} says more than {_LARGEST_OUTPUT >> 20} MiB")
        return output

    def output(self, *words: str) -> CommandOutput:
        """Runs a command whose output is read as it comes."""
        command = self.start(*words)
        command.end_input()
        return CommandOutput(command, lambda: self.check(command, words[0]))

    def start(self, *words: str) -> Command:
        """Starts a command."""
        return self._machine.start([*self.words, *words])

    def check(self, command: Command, what: str) -> None:
        """Waits for a command and judges how it ended."""
        status, said = command.wait()
        if status:
            raise self._error(what, status, said)
        self._has_answered = True

    def _error(self, what: str, status: int, said: str) -> ImgmoveError:
        lines = [line for line in said.splitlines() if line.strip()]
        # Whole scripts tell people nothing.
        which = self.label if self.words[-1:] == ("-c",) else f"{self.label} {what}"
        text = f"{which}: {printable(lines[-1])}" if lines else f"{which} ended with {status}"
        lower = said.lower()
        if any(word in lower for word in _ABSENT):
            return NotFound(text)
        if any(word in lower for word in _DENIED):
            return AccessDenied(text, hint="as root there, or as somebody who may use the socket")
        if dialed := _DIALED.search(said):
            # Who answered before and is gone now is being started again.
            kind = NetworkError if self._has_answered else LocalError
            return kind(f"{self.label}: nothing listens at {dialed.group(1)}", hint=NOT_RUNNING)
        return ServerRefused(text)


class CommandOutput:
    """What a command prints. Its end is the end only if the command ended well."""

    def __init__(self, command: Command, check: Callable[[], None]) -> None:
        self._command = command
        self._check = check
        self._has_ended = False

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes.

        Raises:
            ServerRefused: the command failed.
        """
        data = self._command.read(size)
        if (size < 0 or (size and not data)) and not self._has_ended:
            self._has_ended = True
            self._check()
        return data

    def close(self) -> None:
        """Ends the command."""
        self._command.close()
