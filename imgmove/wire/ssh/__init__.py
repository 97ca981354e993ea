"""The one door to paramiko: connections to other hosts, and what flows over them."""

from imgmove.wire.ssh.connection import Completed, RemoteListener, SshConnection
from imgmove.wire.ssh.pool import SshHosts
from imgmove.wire.ssh.streams import RemoteProcess, RemoteStream

__all__ = ["Completed", "RemoteListener", "RemoteProcess", "RemoteStream", "SshConnection", "SshHosts"]
