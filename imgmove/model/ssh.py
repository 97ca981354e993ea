"""How other hosts are to be reached over SSH: values that settings decide and the wire obeys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Ask = Callable[[str], str | None]
"""Asks a person for a secret; None where nobody can be asked."""


@dataclass(frozen=True, slots=True)
class SshAccess:
    """What an SSH client goes by. Paths may lead nowhere.

    Attributes:
        home: the user's folder; ``~/.ssh`` lies in it.
        user: the user's name on this machine, which is also tried on others.
        agent: the socket of the SSH agent; empty for none.
        config_files: what to read as OpenSSH's client does, first come first served.
        key: a private key to show before any other; empty for none.
        keys: further ones, each for a host as it is written: ``[USER@]HOST[:PORT]``.
        known_hosts: takes the place of all known_hosts files; empty for the usual ones.
        timeout: seconds without a byte after which a connection counts as broken.
    """

    home: str
    user: str
    agent: str = ""
    config_files: tuple[str, ...] = ()
    key: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)
    known_hosts: str = ""
    timeout: float = 60.0


def ask_nobody(_: str) -> str | None:
    """For programs without a person in front of them."""
    return None


@dataclass(frozen=True, slots=True)
class SshTarget:
    """Where one SSH connection goes and how, when everything is decided.

    Attributes:
        name: what the person typed, for messages.
        host: the name or address to connect to.
        known_as: the name that the host's keys are kept under, with ``[…]:PORT`` where the port is not 22.
        identity_files: private keys that somebody named, before the usual ones.
        uses_other_keys: whether keys that nobody named may be shown too: the agent's, and those with usual names.
        agent: the socket of the agent to ask; empty for none.
        jumps: hosts to go through, the nearest first, as they are typed.
        command: a program that makes the connection; empty for none.
        known_hosts_files: the user's own first, which new hosts are written to.
        accepts_new: a host that nobody knows is trusted, and remembered.
        hashes_names: whether names are hashed when they are remembered.
        connect_timeout: seconds.
        alive_interval: seconds between messages that keep the connection open.
    """

    name: str
    host: str
    port: int
    user: str
    known_as: str
    identity_files: tuple[str, ...] = ()
    uses_other_keys: bool = True
    agent: str = field(default="", compare=False)
    jumps: tuple[str, ...] = ()
    command: str = ""
    known_hosts_files: tuple[str, ...] = ()
    accepts_new: bool = False
    hashes_names: bool = False
    connect_timeout: float = 15.0
    alive_interval: int = 15
