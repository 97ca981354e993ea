"""One connection to one host, shared by all threads, and made anew when it breaks.

Over it go programs (exec), sockets that the host opens (direct-tcpip), and sockets that come from a port that it
listens on for us (remote forwarding).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgmove.errors import AccessDenied, ImgmoveError, NetworkError, ServerRefused
from imgmove.wire.ssh.buffers import with_chunks
from imgmove.wire.ssh.errors import ConnectionBroke, printable, translated
from imgmove.wire.ssh.listener import LOOPBACK, RemoteListener
from imgmove.wire.ssh.opening import WINDOW, Dialing, open_transport
from imgmove.wire.ssh.sessions import Sessions
from imgmove.wire.ssh.streams import RemoteProcess, RemoteStream

if TYPE_CHECKING:
    import paramiko

_PROHIBITED, _UNKNOWN_KIND = 1, 3
"""Why a host opens no channel: it may not, or does not know how (RFC 4254, section 5.1)."""
_PROBE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that has ended.

    Attributes:
        status: what it ended with; -1 where the host told nothing.
        output: all that it wrote to stdout.
        said: what it wrote to stderr, in one line.
    """

    status: int
    output: bytes
    said: str


class SshConnection:
    """A host that others can be reached through, and that runs programs. Safe for many threads.

    Attributes:
        name: the host as the person typed it.
    """

    def __init__(self, dialing: Dialing) -> None:
        self.name = dialing.target.name
        self.timeout = dialing.timeout
        self._dialing = dialing
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._transport: paramiko.Transport | None = None
        self._sessions = Sessions(self.name)
        self._listeners: dict[int, RemoteListener] = {}
        self._given_up: ImgmoveError | None = None
        self._is_closed = False

    # --- programs

    def execute(self, command: str, *, patience: float | None = None) -> RemoteProcess:
        """Starts a program through the user's shell over there; who calls has to quote (`shlex.quote`).

        Args:
            patience: seconds to wait for a session while the host takes no more; None for the usual.

        Raises:
            NoSession: the host takes no more sessions, and none ended in time.
            ServerRefused: it runs no programs.
            NetworkError: the connection broke.
        """
        process = RemoteProcess(self.open_session(patience=patience))
        channel = process.stream.channel
        try:
            with translated(self.name):
                channel.exec_command(command)
        except ConnectionBroke:
            process.close()
            if not channel.get_transport().is_active():
                raise
            raise ServerRefused(f"{self.name} runs no programs for us", hint="it seems to be for files only") from None
        except BaseException:
            process.close()
            raise
        return process

    def run(self, command: str, content: bytes = b"") -> Completed:
        """Runs a program to its end, which may be far away; keeps all that it writes.

        Args:
            content: its stdin; small.

        Raises:
            ImgmoveError: as `execute`. A failure of the program is no error here.
        """
        with self.execute(command) as process:
            process.stream.settimeout(None)
            if content:
                process.write(content)
            process.close_input()
            output = b"".join(iter(lambda: process.read(64 << 10), b""))
            return Completed(process.wait(), output, process.said)

    def open_session(self, window: int = WINDOW, *, patience: float | None = None) -> RemoteStream:
        """A session on which nothing was asked for yet, waiting while the host takes no more.

        Args:
            window: bytes that the host may send before somebody reads them.
            patience: seconds to wait; None for the usual.

        Raises:
            NoSession, NetworkError: as `execute`.
        """
        while True:
            self._sessions.take(self.timeout if patience is None else patience)
            if (channel := self._begun(window)) is not None:
                return RemoteStream(channel, self.name, self._sessions.give_back)

    def _begun(self, window: int) -> paramiko.Channel | None:
        """A channel for a session; None when the host refused it, which says how many it takes."""
        import paramiko

        try:
            channel = self._opened(lambda live: live.open_session(window_size=window, timeout=self.timeout))
        except ImgmoveError as error:
            if isinstance(error.__cause__, paramiko.ChannelException):
                self._sessions.refused()
                return None
            self._sessions.given_up()
            raise
        self._sessions.granted()
        return channel

    # --- sockets

    def connect_tcp(self, host: str, port: int) -> RemoteStream:
        """A connection that the host makes to another one, as it sees it.

        Raises:
            AccessDenied: it makes none (AllowTcpForwarding, PermitOpen).
            NetworkError: it can't.
        """
        return RemoteStream(self.open_channel(host, port), self.name)

    def open_channel(self, host: str, port: int) -> paramiko.Channel:
        """The same as paramiko has it, for a transport through a transport."""
        import paramiko

        def begin(live: paramiko.Transport) -> paramiko.Channel:
            target, origin = (host, port), (LOOPBACK, 0)
            try:
                return live.open_channel("direct-tcpip", target, origin, window_size=WINDOW, timeout=self.timeout)
            except paramiko.ChannelException as error:
                raise self._unreachable(error, f"{host}:{port}") from error

        return self._opened(begin)

    def _opened(self, begin: Callable[[paramiko.Transport], paramiko.Channel]) -> paramiko.Channel:
        """A new channel, over a new connection if the old one proves to be broken."""
        import paramiko

        live = self._live()
        # One at a time: paramiko keeps the reason of a refusal in one place for all threads.
        with self._opening, translated(self.name):
            try:
                channel = begin(live)
            except paramiko.ChannelException:
                raise
            except (paramiko.SSHException, EOFError, OSError):
                if live.is_active() and _answers(live, min(self.timeout, _PROBE_SECONDS)):
                    raise
                live.close()
                channel = begin(self._live())
            channel.settimeout(self.timeout)
            return with_chunks(channel)

    def _unreachable(self, error: paramiko.ChannelException, where: str) -> ImgmoveError:
        if error.code in (_PROHIBITED, _UNKNOWN_KIND):
            return AccessDenied(
                f"{self.name} makes no connection to {where} for us",
                hint="its sshd forbids it: AllowTcpForwarding, PermitOpen",
            )
        return NetworkError(f"{self.name} can't reach {where}: {printable(error.text).lower()}")

    def listen(self) -> RemoteListener:
        """Has the host listen on a port of its own loopback address, and hands us what connects there.

        Raises:
            AccessDenied: it doesn't (AllowTcpForwarding, PermitListen).
            NetworkError: the connection broke.
        """
        import paramiko

        transport = self._live()
        with translated(self.name):
            try:
                port = transport.request_port_forward(LOOPBACK, 0, self._arrived)
            except paramiko.SSHException as error:
                if not transport.is_active():
                    raise
                raise AccessDenied(
                    f"{self.name} listens on no port for us",
                    hint="its sshd forbids it: AllowTcpForwarding, PermitListen",
                ) from error
        listener = self._listeners[port] = RemoteListener(transport, port, self.name, self._forget)
        return listener

    def _forget(self, port: int) -> None:
        self._listeners.pop(port, None)

    def _arrived(self, channel: paramiko.Channel, _origin: object, address: tuple[str, int]) -> None:
        listener = self._listeners.get(address[1])
        if listener is None:
            channel.close()
        else:
            listener.arrived(channel)

    # --- the connection itself

    def close(self) -> None:
        """Ends everything; nothing is opened afterwards."""
        self._is_closed = True
        with self._lock:
            transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def drop_if_silent(self) -> None:
        """Ends the connection where the host answers nothing any more, so that whoever goes on doesn't wait for it too."""
        live = self._transport
        if live is not None and live.is_active() and not _answers(live, min(self.timeout, _PROBE_SECONDS)):
            live.close()

    @property
    def is_alive(self) -> bool:
        """Whether the connection stands at the moment."""
        transport = self._transport
        return transport is not None and transport.is_active()

    def _live(self) -> paramiko.Transport:
        """The connection, made anew when there is none or it broke."""
        with self._lock:
            if self._is_closed:
                raise ConnectionBroke("the command has ended")
            if self._given_up is not None:
                raise self._given_up
            if self._transport is None or not self._transport.is_active():
                try:
                    self._transport = open_transport(self._dialing)
                except ImgmoveError as error:
                    # A host that lets us not in would be asked again by every thread, and lock the user out.
                    self._given_up = None if error.is_transient else error
                    raise
            return self._transport


def _answers(transport: paramiko.Transport, seconds: float) -> bool:
    """Whether a host still says anything, be it that it takes no session; a broken way may look like a living one."""
    import paramiko

    has_answered, is_over = threading.Event(), threading.Event()

    def ask() -> None:
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            # To say no is an answer.
            with contextlib.suppress(paramiko.ChannelException):
                transport.open_session(timeout=seconds).close()
            has_answered.set()
        is_over.set()

    # On a way that is full nobody can so much as ask.
    threading.Thread(target=ask, name="imgmove-probe", daemon=True).start()
    is_over.wait(seconds)
    return has_answered.is_set()
