"""Programs that answer in a few lines: there is an end to what they may say, and to how long they may take."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Mapping, Sequence

LARGEST_ANSWER = 1 << 20
_BLOCK = 32 << 10
_SURELY_TAKEN = 512
"""Bytes that a pipe which is ready takes without waiting (POSIX, *PIPE_BUF*)."""


class SaidTooMuch(Exception):
    """A program printed more than `LARGEST_ANSWER`, and was ended."""


def run_short(
    command: Sequence[str], given: bytes, variables: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """Runs a program to its end.

    Args:
        given: for its stdin.
        timeout: seconds, after which it is ended.

    Raises:
        OSError, ValueError: it can't be run.
        TimeoutExpired: it took longer.
        SaidTooMuch: it printed without end.
    """
    deadline = time.monotonic() + timeout
    with subprocess.Popen(  # noqa: S603 - the program that the user's own settings name
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(variables),
    ) as process:
        try:
            output, errors = _talk(process, given, deadline)
            status = process.wait(max(0.0, deadline - time.monotonic()))
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, status, output, errors)


def _talk(process: subprocess.Popen[bytes], given: bytes, deadline: float) -> tuple[bytes, bytes]:
    """Feeds and hears a program until it has closed both of its outputs."""
    assert process.stdin is not None
    said = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdin, selectors.EVENT_WRITE)
        for stream in said:
            assert stream is not None
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            ready = selector.select(left) if left > 0 else []
            if not ready:
                raise subprocess.TimeoutExpired(process.args, deadline)
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    given = _fed(key.fd, given)
                    if not given:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                elif not _heard(key.fd, said[key.fileobj]):  # type: ignore[index]  # what was registered
                    selector.unregister(key.fileobj)
    return bytes(said[process.stdout]), bytes(said[process.stderr])


def _fed(pipe: int, given: bytes) -> bytes:
    """What is still to be given; nothing to a program that does not listen."""
    try:
        return given[os.write(pipe, given[:_SURELY_TAKEN]) :]
    except BrokenPipeError:
        return b""


def _heard(pipe: int, so_far: bytearray) -> bool:
    """Whether there was something, or may come more."""
    data = os.read(pipe, _BLOCK)
    so_far += data
    if len(so_far) > LARGEST_ANSWER:
        raise SaidTooMuch
    return bool(data)
