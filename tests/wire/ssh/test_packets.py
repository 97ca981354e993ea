"""Packets that paramiko's own half reads and writes, and what becomes of those that were changed on their way."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import paramiko
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from paramiko.packet import NeedRekeyException, Packetizer

from imgmove.wire.ssh.buffers import BufferedSocket
from imgmove.wire.ssh.contents import Content
from imgmove.wire.ssh.packets import Packets

CONTENT = 94
CHANNEL = (7).to_bytes(4, "big")


@contextmanager
def pair(engine: Callable[[bytes], Any] = AESGCM) -> Iterator[tuple[Any, Any, socket.socket]]:
    """Our packets, paramiko's at the other end under the same keys, and the socket of that end."""
    here, there = socket.socketpair()
    ours: Any = Packets(BufferedSocket(here))
    theirs: Any = Packetizer(there)
    with here, there:
        for end in (here, there):
            end.settimeout(5)
        for taker, giver in ((ours, theirs), (theirs, ours)):
            common = {"block_engine": engine(os.urandom(16)), "block_size": 16, "mac_engine": None, "mac_size": 16}
            number = os.urandom(4) + bytes(7) + b"\xfe"
            taker.set_inbound_cipher(**common, mac_key=None, aead=True, iv_in=number)
            giver.set_outbound_cipher(**common, mac_key=None, aead=True, iv_out=number)
        yield ours, theirs, there


class Older:
    """A key as cryptography has it before 47."""

    def __init__(self, key: bytes) -> None:
        engine = AESGCM(key)
        self.encrypt, self.decrypt = engine.encrypt, engine.decrypt


def message(kind: int, rest: bytes) -> paramiko.Message:
    return paramiko.Message(bytes([kind]) + rest)


@given(st.lists(st.tuples(st.integers(1, 93), st.binary(max_size=300)), max_size=6), st.sampled_from([AESGCM, Older]))
def test_messages_go_both_ways(messages: list[tuple[int, bytes]], engine: Callable[[bytes], Any]) -> None:
    with pair(engine) as (ours, theirs, _):
        for number, (kind, rest) in enumerate(messages):
            for giver, taker in ((ours, theirs), (theirs, ours)):
                giver.send_message(message(kind, rest))
                found, arrived = taker.read_message()
                assert (found, arrived.asbytes(), arrived.seqno) == (kind, rest, number)


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=2_000), st.integers(210, 900))
def test_content_goes_in_messages_that_the_host_takes(head: bytes, content: bytes, most: int) -> None:
    with pair() as (ours, theirs, _):
        ours.send_message(Content(CHANNEL, memoryview(content), head, most))
        got = b""
        while len(got) < len(head + content):
            kind, arrived = theirs.read_message()
            assert (kind, arrived.get_int()) == (CONTENT, 7)
            piece = arrived.get_binary()
            assert 0 < len(piece) <= most
            got += piece
        assert got == head + content


@given(st.lists(st.binary(max_size=40_000), max_size=20))
def test_content_arrives_in_pieces_of_any_size(pieces: list[bytes]) -> None:
    with pair() as (ours, theirs, _):

        def send() -> None:
            for piece in pieces:
                theirs.send_message(message(CONTENT, CHANNEL + len(piece).to_bytes(4, "big") + piece))

        sender = threading.Thread(target=send)
        sender.start()
        for piece in pieces:
            kind, arrived = ours.read_message()
            assert (kind, arrived.get_int(), arrived.get_binary()) == (CONTENT, 7, piece)
        sender.join()


def test_content_is_delivered_until_something_else_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pair() as (ours, theirs, _):
        got: list[bytes] = []

        def deliver(content: Content) -> bool:
            is_mine = content.get_int() == 7
            got.extend([bytes(content.get_binary())] if is_mine else [])
            return is_mine

        ours.deliver = deliver
        pieces = [b"one", b"two", b"three"]
        for piece in pieces:
            theirs.send_message(message(CONTENT, CHANNEL + len(piece).to_bytes(4, "big") + piece))
        theirs.send_message(message(CONTENT, bytes(7) + b"\x05other"))
        kind, other = ours.read_message()
        assert (kind, other.get_int(), other.get_binary(), other.seqno, got) == (CONTENT, 0, b"other", 3, pieces)
        monkeypatch.setattr(Packets, "REKEY_BYTES", 1)
        theirs.send_message(message(CONTENT, CHANNEL + b"\0\0\0\x04four"))
        with pytest.raises(NeedRekeyException):
            ours.read_message()
        assert got == [*pieces, b"four"]


def test_a_packet_that_was_changed_is_none() -> None:
    with pair() as (ours, theirs, there):
        theirs.write_all = lambda packet: there.sendall(packet[:20] + bytes([packet[20] ^ 1]) + packet[21:])
        theirs.send_message(message(CONTENT, CHANNEL + b"\0\0\0\x05hello"))
        with pytest.raises(Exception, match="^$") as caught:
            ours.read_message()
        assert type(caught.value).__name__ == "InvalidTag"


@pytest.mark.parametrize("length", [0, 15, 17, (256 << 10) + 16, 0xFFFFFFF0])
def test_lengths_that_no_packet_has(length: int) -> None:
    with pair() as (ours, _, there):
        there.sendall(length.to_bytes(4, "big") + bytes(64))
        with pytest.raises(paramiko.SSHException, match="length"):
            ours.read_message()


@pytest.mark.parametrize("rest", [b"", CHANNEL, CHANNEL + b"\0\0\0\x06hello", CHANNEL + b"\0\0\0\x04hello"])
def test_content_that_is_not_as_long_as_it_says(rest: bytes) -> None:
    with pair() as (ours, theirs, _):
        theirs.send_message(message(CONTENT, rest))
        with pytest.raises(ValueError, match="not as long"):
            ours.read_message()


def test_new_keys_are_asked_for_after_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Packets, "REKEY_BYTES", 500)
    for giver in (0, 1):
        with pair() as (ours, theirs, _):
            ends = (ours, theirs)
            for _ in range(3):
                assert not ours.need_rekey()
                ends[giver].send_message(message(2, bytes(180)))
                ends[1 - giver].read_message()
            assert ours.need_rekey()


def test_a_connection_that_ends_or_is_closed() -> None:
    with pair() as (ours, _, there):
        there.sendall(b"\0\0")
        there.shutdown(socket.SHUT_WR)
        with pytest.raises(EOFError):
            ours.read_message()
    with pair() as (ours, _, _there):
        ours.close()
        with pytest.raises(EOFError):
            ours.read_message()
