"""One image to many hosts: destinations out of a list of hosts, and a list of those that failed for the next run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from imgmove.errors import LocalError, UsageError
from imgmove.stages.report import CopyReport
from imgmove.wire.files import LocalFiles

_GAP = "{}"
_LARGEST = 4 << 20


@dataclass(frozen=True, slots=True)
class FanOut:
    """Where an image goes, each place with the line that it came from.

    Attributes:
        lines: of the list of hosts; the destinations themselves where there was no list.
        failed_file: where to write the lines of those that failed; empty for nowhere.
    """

    destinations: list[str]
    lines: list[str]
    failed_file: str = ""

    @classmethod
    def of(cls, to: Sequence[str], hosts_file: str, failed_file: str) -> FanOut:
        """Fills the list of hosts in.

        Raises:
            UsageError: there is nothing to fill in, or nothing to fill it with.
        """
        if not to:
            raise UsageError("--hosts and --failed go with --to")
        if not hosts_file:
            return cls(list(to), list(to), failed_file)
        if len(to) != 1 or _GAP not in to[0]:
            raise UsageError("--hosts fills {} in one --to", hint="--to 'docker-daemon+ssh://{}/app:1'")
        lines = _read_lines(hosts_file)
        if not lines:
            raise UsageError(f"{hosts_file} names no host")
        return cls([to[0].replace(_GAP, line) for line in lines], lines, failed_file)

    def write_failed(self, report: CopyReport) -> None:
        """Writes the lines for which an image failed, none if none did.

        Raises:
            LocalError: the file can't be written.
        """
        if not self.failed_file:
            return
        each = len(report.images) // len(self.destinations)
        has_failed = [image.error is not None for image in report.images]
        failed = [line for number, line in enumerate(self.lines) if any(has_failed[number * each :][:each])]
        LocalFiles().write(os.path.abspath(self.failed_file), "".join(f"{line}\n" for line in failed).encode())


def _read_lines(path: str) -> list[str]:
    """The lines of a file, each once, without blank ones and those that begin with a ``#``."""
    try:
        with open(path, encoding="utf-8-sig") as file:  # as some editors of Windows write
            lines = file.read(_LARGEST).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise LocalError(f"the list of hosts {path} can't be read: {reason}") from error
    wanted = (line.strip() for line in lines)
    return list(dict.fromkeys(line for line in wanted if line and not line.startswith("#")))
