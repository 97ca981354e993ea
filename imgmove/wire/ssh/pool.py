"""All hosts of a command that are reached over SSH, each over one connection, and some through others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from imgmove.model.location import SshHost
from imgmove.model.ssh import Ask, SshAccess, SshTarget, ask_nobody
from imgmove.wire.ssh.answers import Answers
from imgmove.wire.ssh.config import check_loop, find_target, parse_jump
from imgmove.wire.ssh.connection import SshConnection
from imgmove.wire.ssh.keys import Proof
from imgmove.wire.ssh.opening import Dialing, connect_socket, run_command


class SshHosts:
    """Opens connections when they are first used, and closes them together. Safe for many threads.

    Args:
        access: what the user's settings say.
        ask: asks the person for passwords and passphrases.
        note: told what the person should know, such as that a new host was trusted.
    """

    def __init__(self, access: SshAccess, ask: Ask = ask_nobody, note: Callable[[str], None] = lambda _: None) -> None:
        self._access = access
        self._answers = Answers(ask)
        self._note = note
        self._lock = threading.Lock()
        self._connections: dict[tuple[str, tuple[str, ...]], SshConnection] = {}

    def connection(self, carrier: SshHost) -> SshConnection:
        """The connection to a host; the same for the same text. Nothing is sent before it is used.

        Raises:
            ConfigError: the SSH configuration can't be read, or makes no sense for this host.
        """
        with self._lock:
            return self._connection(carrier, (), ())

    def close(self) -> None:
        """Closes all connections."""
        with self._lock:
            connections = list(self._connections.values())
        # Those that lead through others were made after them.
        for connection in reversed(connections):
            connection.close()

    def _connection(self, carrier: SshHost, jumps: tuple[str, ...], chain: tuple[str, ...]) -> SshConnection:
        """Args: jumps: instead of those that the configuration says; chain: the hosts that this one is wanted for."""
        key = (str(carrier), jumps)
        check_loop(chain, str(carrier))
        if key not in self._connections:
            target = find_target(self._access, carrier)
            if jumps:
                target = replace(target, jumps=jumps, command="")
            dial = self._dial(target, (*chain, str(carrier)))
            proof = Proof(target, self._access.home, self._answers)
            self._connections[key] = SshConnection(Dialing(target, dial, proof, self._access.timeout, self._note))
        return self._connections[key]

    def _dial(self, target: SshTarget, chain: tuple[str, ...]) -> Callable[[], Any]:
        if target.command:
            return partial(run_command, target)
        if target.jumps:
            last = parse_jump(target.jumps[-1])
            through = self._connection(last, target.jumps[:-1], chain)
            return partial(through.open_channel, target.host, target.port)
        return partial(connect_socket, target, self._access.timeout)
