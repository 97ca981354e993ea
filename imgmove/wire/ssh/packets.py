"""Packets under AES-GCM (RFC 5647, as OpenSSH uses it) with no more copies than they need, in place of paramiko's.

paramiko copies what comes seven times on its way and what goes eight times, which costs more than the encryption.
Agreeing on keys, the other ciphers and all messages but those with a channel's content stay paramiko's own. Its insides
that this touches are private and have no types, hence the checks that are silenced below; the tests break where they change.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import paramiko
from paramiko.common import (
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_SERVICE_REQUEST,
)
from paramiko.packet import NeedRekeyException, Packetizer

from imgmove.wire.ssh.buffers import BufferedSocket
from imgmove.wire.ssh.contents import Content, feed, feed_stderr, widen
from imgmove.wire.ssh.pulse import Pulse

_USERAUTH = b"\0\0\0\x0cssh-userauth"
_LENGTH = 4
_BLOCK = 16
_TAG = 16
_LEAST_PADDING = 4
_MOST_AROUND = 64
"""Bytes around a message in its packet, at most."""
_LARGEST = 256 << 10
"""Bytes of a packet that are taken, as OpenSSH does; RFC 4253 asks for 35,000 at least."""


class Connection(paramiko.Transport):
    """paramiko's transport, whose channels get their content without a copy, and mostly right when it is read.

    Args:
        dialed: the socket, or what stands in for it.
        window: bytes that a host may send on one channel before we took any of them.
    """

    _channel_handler_table: ClassVar[Mapping[int, Any]] = {
        **vars(paramiko.Transport)["_channel_handler_table"],
        MSG_CHANNEL_DATA: feed,
        MSG_CHANNEL_EXTENDED_DATA: feed_stderr,
        MSG_CHANNEL_WINDOW_ADJUST: widen,
    }

    def __init__(self, dialed: Any, window: int) -> None:
        buffered: Any = BufferedSocket(dialed)
        super().__init__(buffered, default_window_size=window, packetizer_class=Packets)
        packets: Any = self.packetizer
        packets.deliver = self._delivered
        self._may_prove = False
        self._asking = threading.Lock()

    def watch(self, interval: int, patience: float) -> None:
        """Asks for a sign of life whenever nothing was sent for a while; ends when a host that gave some gives none any more.

        Args:
            interval: seconds of the while.
            patience: seconds to wait for a sign.
        """
        packets: Any = self.packetizer
        packets.watch(Pulse(lambda: self.global_request("keepalive@openssh.com"), packets.heard, patience), interval)

    def get_exception(self) -> Exception | None:
        """What ended the connection, for whoever has to raise it; a host may send what paramiko fails at in any way."""
        error: Exception | None = super().get_exception()
        if error is None or isinstance(error, (paramiko.SSHException, EOFError, OSError)):
            return error
        unreadable = paramiko.SSHException(f"what came can't be read ({type(error).__name__})")
        unreadable.__cause__ = error
        return unreadable

    def global_request(self, *arguments: Any, **named: Any) -> Any:
        """Asks what concerns no channel; one question at a time, as paramiko takes each answer for that to the last one."""
        with self._asking:
            return super().global_request(*arguments, **named)

    def _send_message(self, data: Any) -> None:
        """Sends a message; asks only once to prove who we are (RFC 4253, section 10).

        paramiko asks before each proof and begins it at the answer, and there are hosts that hang up at the second question.
        """
        if not isinstance(data, Content) and data.asbytes()[0] == MSG_SERVICE_REQUEST:
            if self._may_prove:
                self.auth_handler._parse_service_accept(paramiko.Message(_USERAUTH))  # type: ignore[union-attr]
                return
            self._may_prove = True
        super()._send_message(data)  # type: ignore[misc]

    def _delivered(self, message: Content) -> bool:
        """Gives content to its channel; False when there is no such channel."""
        channel = self._channels.get(message.get_int())  # type: ignore[attr-defined]
        if channel is not None:
            feed(channel, message)
        return channel is not None


class Packets(Packetizer):
    """What a transport hands its messages to. One thread reads, several write.

    Attributes:
        deliver: given content at once; what it does not take is read as other messages are.
    """

    REKEY_BYTES = 64 << 30
    """Bytes after which we ask for new keys (RFC 4344, 3.2). paramiko does it at 512 MiB, and waits for itself for ever
    when the host closes a channel meanwhile; what the host asks for is answered at any time."""

    def __init__(self, buffered: Any) -> None:
        super().__init__(buffered)
        self._buffered: BufferedSocket = buffered
        self._opening: _Key | None = None
        self._sealing: _Key | None = None
        self._writing = threading.Lock()
        # Used again and again: making new ones costs more than to encrypt what goes into them.
        self._plain = self._sealed = memoryview(b"")
        self._arrived = 0
        self._pulse: Pulse | None = None
        self.deliver: Callable[[Content], bool] = lambda _: False

    def heard(self) -> float:
        """When something came the last time, by `time.monotonic`."""
        return self._buffered.heard

    def watch(self, pulse: Pulse, interval: int) -> None:
        """Ends the connection when the pulse has stopped; it beats now and whenever nothing was sent for so many seconds."""
        self._pulse = pulse
        self.set_keepalive(interval, pulse.beat)
        pulse.beat()

    def _check_keepalive(self) -> None:
        super()._check_keepalive()  # type: ignore[misc]
        if self._pulse is not None and self._pulse.has_stopped:
            raise EOFError

    def set_inbound_cipher(self, *arguments: Any, **named: Any) -> None:
        """What comes next is under another key."""
        super().set_inbound_cipher(*arguments, **named)
        self._opening = _Key(named["block_engine"], named["iv_in"]) if named["aead"] else None

    def set_outbound_cipher(self, *arguments: Any, **named: Any) -> None:
        """What goes next is under another key."""
        super().set_outbound_cipher(*arguments, **named)
        self._sealing = _Key(named["block_engine"], named["iv_out"]) if named["aead"] else None

    def reset_seqno_in(self) -> None:
        """What comes is counted from nought on."""
        super().reset_seqno_in()
        self._arrived = 0

    def read_message(self) -> tuple[int, Any]:
        """The next message that is for the transport itself, and of what kind it is.

        Raises:
            NeedRekeyException: the transport is to ask for new keys first.
        """
        while True:
            kind, message = self._read()
            if not isinstance(message, Content) or not self.deliver(message):
                return kind, message
            if self.need_rekey():
                raise NeedRekeyException

    def _read(self) -> tuple[int, Any]:
        key = self._opening
        if key is None:
            kind, other = super().read_message()
            self._arrived = other.seqno + 1
            return kind, other
        head = bytes(self._taken(_LENGTH, between=True))
        size = int.from_bytes(head, "big")
        if size > _LARGEST or size % _BLOCK or not size:
            raise paramiko.SSHException("a packet has a length that none can have")
        content = key.opened(head, self._taken(size + _TAG))
        padding, kind = content[0], content[1]
        payload = memoryview(content)[2 : size - padding]
        is_content = kind == MSG_CHANNEL_DATA
        message: Any = Content.arrived(payload) if is_content else paramiko.Message(bytes(payload))
        message.seqno, self._arrived = self._arrived, (self._arrived + 1) & 0xFFFFFFFF
        self._renew(key)
        return kind, message

    def send_message(self, data: Any) -> None:
        """Sends a message, or content as the messages that it takes."""
        messages: Iterable[list[Any]] = data.pieces() if isinstance(data, Content) else [[data.asbytes()]]
        key = self._sealing
        if key is None:
            for parts in messages:
                super().send_message(paramiko.Message(b"".join(parts)))
            return
        with self._writing:
            size = 0
            for parts in messages:
                most = sum(map(len, parts)) + _MOST_AROUND
                self._plain = _with_room(self._plain, most)
                self._sealed = _with_room(self._sealed, size + most)
                size += key.seal(parts, self._plain, self._sealed[size:])
            self.write_all(self._sealed[:size])
            self._renew(key)

    def _renew(self, key: _Key) -> None:
        if key.bytes > self.REKEY_BYTES and not self.need_rekey():
            self._trigger_rekey()  # type: ignore[attr-defined]

    def _taken(self, size: int, *, between: bool = False) -> memoryview:
        while True:
            try:
                return self._buffered.take(size)
            except (TimeoutError, BlockingIOError):
                if self.closed or self.handshake_timed_out():
                    raise EOFError from None
                if between and not self._buffered.is_begun and self.need_rekey():
                    raise NeedRekeyException from None
                self._check_keepalive()
            except OSError:
                if self.closed:
                    raise EOFError from None
                raise


def _with_room(buffer: memoryview, size: int) -> memoryview:
    """The buffer, or a larger one with the same content."""
    if size <= len(buffer):
        return buffer
    larger = memoryview(bytearray(2 * size))
    larger[: len(buffer)] = buffer
    return larger


class _Key:
    """A key and how often it was used, which makes the number that no two packets may share (RFC 5647, section 7.1).

    Attributes:
        bytes: how many went under it.
    """

    def __init__(self, engine: Any, first: bytes) -> None:
        self._engine = engine
        self._encrypt_into = getattr(engine, "encrypt_into", self._copied)
        self._fixed, self._next = first[:4], int.from_bytes(first[4:], "big")
        self.bytes = 0

    def opened(self, head: bytes, packet: memoryview) -> bytes:
        """What is in a packet, which comes with its length and its tag."""
        return bytes(self._engine.decrypt(self._number(len(packet)), packet, head))

    def seal(self, parts: Sequence[bytes | memoryview], plain: memoryview, packet: memoryview) -> int:
        """Writes a message's packet; returns how long it is.

        Args:
            plain: room for the message before it is encrypted.
            packet: room for the packet.
        """
        size = 1 + sum(map(len, parts))
        padding = _LEAST_PADDING + -(size + _LEAST_PADDING) % _BLOCK
        position = 0
        for part in (padding.to_bytes(1, "big"), *parts, os.urandom(padding)):
            plain[position : position + len(part)] = part
            position += len(part)
        packet[:_LENGTH] = head = position.to_bytes(_LENGTH, "big")
        whole = _LENGTH + position + _TAG
        self._encrypt_into(self._number(position), plain[:position], head, packet[_LENGTH:whole])
        return whole

    def _copied(self, number: bytes, plain: memoryview, head: bytes, packet: memoryview) -> None:
        """For releases of cryptography before 47, which have no such way."""
        packet[:] = self._engine.encrypt(number, plain, head)

    def _number(self, size: int) -> bytes:
        number = self._fixed + self._next.to_bytes(8, "big")
        self._next = (self._next + 1) & 0xFFFFFFFFFFFFFFFF
        self.bytes += size
        return number
