"""One pass over a mirror file at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from datetime import datetime

from imgmove.errors import ImgmoveError, LocalError


class AlreadyRunning(ImgmoveError):
    """Another pass over the same mirror file is under way."""


@contextlib.contextmanager
def only_pass(path: str, config: str) -> Iterator[None]:
    """Holds the lock of a mirror file. The system frees it when the process ends, however that comes to be.

    Args:
        path: the lock's file. It is not the mirror file itself, as editors replace that.

    Raises:
        AlreadyRunning: somebody else holds it; the message says who.
        LocalError: the file can't be made.
    """
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LocalError(f"can't make the lock {path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AlreadyRunning(f"{config} is being mirrored already{_holder(handle)}") from None
        me = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}",
        }
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(me).encode(), 0)
        yield
    finally:
        os.close(handle)


def _holder(handle: int) -> str:
    try:
        who = json.loads(os.pread(handle, 4096, 0))
        return f" by process {int(who['pid'])} on {who['host']}, since {who['since']}"
    except (ValueError, KeyError, TypeError, OSError):
        # It was not written yet.
        return ""
