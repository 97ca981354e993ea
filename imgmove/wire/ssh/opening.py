"""Opening an SSH connection: agreeing on how to encrypt, knowing the host, and being known by it."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imgmove.errors import NetworkError
from imgmove.model.ssh import SshTarget
from imgmove.wire.ssh.errors import printable, translated
from imgmove.wire.ssh.hosts import HostKey, KnownHosts
from imgmove.wire.ssh.keys import Proof

if TYPE_CHECKING:
    import paramiko

WINDOW = 4 << 20
"""Bytes that a host may send on one channel before we took any of them."""

_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
_MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
    "hmac-sha1",
)
_LAST_WORDS_SECONDS = 1.0
_RSA = ("rsa-sha2-512", "rsa-sha2-256")


@dataclass(frozen=True)
class Dialing:
    """How a connection comes to be.

    Attributes:
        target: where to, and by what.
        dial: opens the socket, or what stands in for it.
        proof: shows who we are.
        timeout: seconds without a byte after which the connection counts as stalled.
        note: told what a person should know.
    """

    target: SshTarget
    dial: Callable[[], Any]
    proof: Proof
    timeout: float
    note: Callable[[str], None]


def open_transport(dialing: Dialing) -> paramiko.Transport:
    """Connects to a host that is known, and proves who we are.

    Raises:
        AccessDenied: the host is not known or not the one it was, or it doesn't let us in.
        NetworkError: it can't be reached.
    """
    from imgmove.wire.ssh.packets import Connection

    # It would tell every broken connection to stderr, with a traceback.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    target = dialing.target
    known = KnownHosts(target)
    with translated(target.name):
        dialed = dialing.dial()
        transport = Connection(dialed, WINDOW)
        try:
            _prefer(transport, known.kinds)
            transport.banner_timeout = transport.handshake_timeout = target.connect_timeout
            transport.auth_timeout = dialing.timeout
            _greet(transport, target.connect_timeout)
            key = transport.get_remote_server_key()
            if note := known.check(HostKey(key.get_name(), key.asbytes())):
                dialing.note(note)
            dialing.proof.give(transport)
            transport.watch(target.alive_interval, dialing.timeout)
        except BaseException as error:
            transport.close()
            if isinstance(dialed, CommandSocket) and (complaint := dialed.complaint):
                raise NetworkError(f"{target.name} can't be reached: its ProxyCommand ended: {complaint}") from error
            raise
    return transport


def connect_socket(target: SshTarget, timeout: float) -> socket.socket:
    """A TCP connection to a host.

    Raises:
        NetworkError: it can't be reached.
    """
    with translated(target.name):
        connection = socket.create_connection((target.host, target.port), target.connect_timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # What keepalive messages don't get through for so long is broken, however quiet it was before.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout * 1000))
        return connection


def run_command(target: SshTarget) -> CommandSocket:
    """A connection that a program of the user's makes (``ProxyCommand``)."""
    with translated(target.name):
        return CommandSocket(target)


class CommandSocket:
    """Stdin and stdout of a program as a socket."""

    def __init__(self, target: SshTarget) -> None:
        ours, theirs = socket.socketpair()
        self._name = target.name
        self._socket = ours
        self._said = b""
        self._complaint = ""
        # As OpenSSH does it: the user's own words go to a shell, which gives its place to the program.
        self._process = subprocess.Popen(  # noqa: S602
            f"exec {target.command}",
            shell=True,
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.PIPE,
        )
        theirs.close()
        self._listener = threading.Thread(target=self._listen, name="imgmove-proxy", daemon=True)
        self._listener.start()

    def send(self, data: bytes) -> int:
        """Sends some of the bytes."""
        return self._socket.send(data)

    def recv(self, size: int) -> bytes:
        """The next bytes."""
        return self._socket.recv(size)

    @property
    def complaint(self) -> str:
        """The last words of the program, once it has ended by itself; empty as long as it runs."""
        return self._complaint

    @property
    def _closed(self) -> bool:
        """What paramiko asks a socket before it ends a connection."""
        return self._socket.fileno() < 0

    def settimeout(self, seconds: float | None) -> None:
        """How long to wait for bytes."""
        self._socket.settimeout(seconds)

    def close(self) -> None:
        """Ends the program."""
        if self._socket.fileno() < 0:
            return
        self._socket.close()
        try:
            self._process.wait(_LAST_WORDS_SECONDS)
            self._complaint = self._last_words()
        except subprocess.TimeoutExpired:
            self._process.terminate()

    def _last_words(self) -> str:
        self._listener.join(_LAST_WORDS_SECONDS)
        lines = self._said.decode("utf-8", "replace").strip().splitlines()
        return printable(lines[-1]) if lines else f"status {self._process.returncode}"

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stderr:
            while data := os.read(stderr.fileno(), 4096):
                self._said = (self._said + data)[-4096:]
        self._process.wait()


def _greet(transport: paramiko.Transport, seconds: float) -> None:
    transport.start_client(timeout=seconds)
    # paramiko says nothing when the time is over.
    if not transport.initial_kex_done:
        raise TimeoutError


def _prefer(transport: paramiko.Transport, known: Sequence[str]) -> None:
    """Sets what we agree to, in our order; the host is asked for a key of a kind that is known of it."""
    options = transport.get_security_options()
    options.ciphers = _CIPHERS
    options.digests = _MACS
    wanted = [name for kind in known for name in (_RSA if kind == "ssh-rsa" else (kind,))]
    usable = [name for name in wanted if name in options.key_types]
    options.key_types = (*usable, *(name for name in options.key_types if name not in usable))
