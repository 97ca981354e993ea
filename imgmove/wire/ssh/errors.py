"""What goes wrong in SSH, as errors of ours with one readable line."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator

from imgmove.errors import ImgmoveError, NetworkError, ServerRefused

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_LONGEST = 300

GREETING = "whatever its shell prints at the start of a session without a terminal is in the way"
"""What to do about a host that speaks before the program that was asked for."""


class ConnectionBroke(NetworkError):
    """It ended in the middle of something; a new one may do."""


class NoSuchHost(NetworkError):
    """The name leads nowhere; trying again changes nothing as a rule."""

    is_transient = False


class NoSession(ServerRefused):
    """The host takes no further session on this connection; somebody has to end one first."""


def printable(text: str) -> str:
    """Text from a host without anything that a terminal would obey, and not too long."""
    clean = _CONTROL.sub(" ", text).strip()
    return clean if len(clean) <= _LONGEST else f"{clean[:_LONGEST]}…"


@contextlib.contextmanager
def translated(name: str) -> Iterator[None]:
    """Turns whatever paramiko and the sockets below it raise into an error of ours.

    Args:
        name: the host, as the person typed it.
    """
    import paramiko

    try:
        yield
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise _explained(error, name) from error


def _explained(error: Exception, name: str) -> ImgmoveError:
    import paramiko

    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        return ServerRefused(f"{name} and imgmove have no common way to encrypt: {printable(str(error))}")
    if isinstance(error, OSError) and (known := _known(error, name)) is not None:
        return known
    reason = "" if isinstance(error, EOFError) else printable(str(error))
    if "banner" in reason:
        return NetworkError(f"{name} does not answer as an SSH server")
    return ConnectionBroke(f"the connection to {name} broke" + (f": {reason}" if reason else ""))


def _known(error: OSError, name: str) -> ImgmoveError | None:
    if isinstance(error, socket.gaierror):
        return NoSuchHost(f"no such host: {name}")
    if isinstance(error, TimeoutError):
        return NetworkError(f"{name} did not answer in time")
    if isinstance(error, ConnectionRefusedError):
        return NetworkError(f"{name} refused the connection")
    return ConnectionBroke(f"the connection to {name} broke: {printable(error.strerror)}") if error.strerror else None
