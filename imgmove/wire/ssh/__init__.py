"""The one door to paramiko: connections to other hosts, and what flows over them."""

from imgmove.wire.ssh.connection import Completed, SshConnection
from imgmove.wire.ssh.errors import NoSession
from imgmove.wire.ssh.listener import RemoteListener
from imgmove.wire.ssh.pool import SshHosts
from imgmove.wire.ssh.sftp import Sftp
from imgmove.wire.ssh.sftp_session import SftpFailure
from imgmove.wire.ssh.streams import RemoteProcess, RemoteStream

__all__ = [
    "NoSession",
    "Completed",
    "RemoteListener",
    "RemoteProcess",
    "RemoteStream",
    "Sftp",
    "SftpFailure",
    "SshConnection",
    "SshHosts",
]
