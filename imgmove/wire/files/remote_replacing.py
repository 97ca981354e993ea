"""Files that take the place of others, on hosts too whose servers can't replace one in one step.

There the old file steps aside first. Whoever looks for it meanwhile finds it under its other name, and it is not lost
when the one who replaces it is killed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from imgmove.errors import NetworkError, NotFound
from imgmove.wire.files.writers import beside
from imgmove.wire.ssh import Sftp, SftpFailure
from imgmove.wire.ssh.sftp_messages import Attributes


def names_of(lane: Sftp, path: str) -> Sequence[str]:
    """Where a file may lie, in the order in which to look: it may come back while we look elsewhere."""
    return (path,) if lane.can_replace else (path, _aside(path), path)


def status_of(lane: Sftp, path: str) -> Attributes | None:
    """What lies at a path, links followed; None for nothing."""
    asked = [(lane.ask_status(name), name) for name in names_of(lane, path)]
    found = [lane.found(answer, name) for answer, name in asked]
    return next((one for one in found if one is not None), None)


def replace(lane: Sftp, before: str, after: str) -> None:
    """Gives a file its final name, in place of what had it, which `forget_replaced` has to follow.

    Raises:
        NotFound: there is no such file.
        ImgmoveError: it can't be done; what had the name has it still.
    """
    try:
        lane.rename(before, after)
    except SftpFailure:
        if lane.can_replace or lane.status(after) is None:
            raise
        if lane.status(before) is None:
            raise NotFound(f"{lane.name}: {before}: no such file or folder") from None
        _rename_in_turn(lane, before, after)


def forget_replaced(lane: Sftp, path: str) -> None:
    """Removes what stood aside for the file that is at a path now; also what somebody left who was killed before."""
    if not lane.can_replace:
        _remove(lane, _aside(path))


def _rename_in_turn(lane: Sftp, before: str, after: str) -> None:
    aside = _aside(after)
    _remove(lane, aside)
    lane.rename(after, aside)
    try:
        lane.rename(before, after)
    except NetworkError:
        # It may have been done; whoever tries again finds out.
        raise
    except BaseException:
        lane.rename(aside, after)
        raise


def _remove(lane: Sftp, path: str) -> None:
    with contextlib.suppress(NotFound):
        lane.remove(path)


def _aside(path: str) -> str:
    return beside(path, "replaced")
