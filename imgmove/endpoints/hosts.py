"""The hosts that one command reaches, here and over SSH: their files, their programs, the registries behind them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from imgmove.model.location import SshHost
from imgmove.ports import Files, Machine
from imgmove.settings import Settings
from imgmove.wire.files import LocalFiles

if TYPE_CHECKING:
    from imgmove.endpoints.registry import Registries
    from imgmove.wire.files.remote import RemoteFiles
    from imgmove.wire.ssh import SshHosts


class Hosts:
    """Reaches each host when it is first needed; a carrier of None is this machine. Safe for many threads.

    Args:
        settings: how registries and other hosts are reached.
        tell: hears what a person should know.

    Attributes:
        here: the files of this machine.
    """

    def __init__(self, settings: Settings, tell: Callable[[str], None]) -> None:
        self._settings = settings
        self._tell = tell
        self.here = LocalFiles()
        self._remote_files: dict[str, RemoteFiles] = {}
        self._registries: dict[str, Registries] = {}
        self._ssh: SshHosts | None = None
        self._lock = threading.RLock()
        """Nothing is sent to a host while it is held."""

    def files(self, carrier: SshHost | None) -> Files:
        """The files of a host."""
        if carrier is None:
            return self.here
        from imgmove.wire.files.remote import RemoteFiles

        key = str(carrier)
        with self._lock:
            if key not in self._remote_files:
                self._remote_files[key] = RemoteFiles(self.ssh.connection(carrier), self._tell)
            return self._remote_files[key]

    def machine(self, carrier: SshHost) -> Machine:
        """The programs and sockets of another host."""
        from imgmove.wire.remote_machine import RemoteMachine

        return RemoteMachine(self.ssh.connection(carrier))

    def registries(self, carrier: SshHost | None) -> Registries:
        """The registries that a host reaches for us."""
        from imgmove.endpoints.registry import Registries

        key = str(carrier or "")
        with self._lock:
            if key not in self._registries:
                dial = self.ssh.connection(carrier).connect_tcp if carrier else None
                self._registries[key] = Registries(self._settings, dial)
            return self._registries[key]

    @property
    def ssh(self) -> SshHosts:
        """The connections to other hosts.

        Raises:
            ConfigError: a file that was named for them is not there.
        """
        from imgmove.wire.ssh import SshHosts

        with self._lock:
            if self._ssh is None:
                self._ssh = SshHosts(self._settings.ssh_access, self._settings.ssh.ask, self._tell)
            return self._ssh

    def close(self) -> None:
        """Closes all files and connections."""
        for registries in self._registries.values():
            registries.close()
        self.here.close()
        for files in self._remote_files.values():
            files.close()
        if self._ssh is not None:
            self._ssh.close()
