"""The buffers behave as those that they stand in for."""

from __future__ import annotations

import array
import socket
import threading
import tracemalloc

import paramiko
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmove.wire.ssh.buffers import BufferedSocket, Chunks, with_chunks

steps = st.lists(st.one_of(st.binary(max_size=20), st.integers(0, 30)), max_size=40)


@given(steps)
def test_chunks_are_what_an_array_is_to_a_pipe(steps: list[bytes | int]) -> None:
    """The five things that paramiko's pipe does with its array, which must give the same bytes with chunks."""
    chunks, model = Chunks(b"begun"), array.array("B", b"begun")
    for step in steps:
        if isinstance(step, bytes):
            chunks.frombytes(step)
            model.frombytes(step)
        else:
            assert chunks[:step].tobytes() == model[:step].tobytes()
            del chunks[:step]
            del model[:step]
        assert len(chunks) == len(model)
    assert chunks[:None].tobytes() == model.tobytes()
    del chunks[:]
    assert (len(chunks), chunks.tobytes()) == (0, b"")


def test_many_small_pieces_take_little_memory() -> None:
    chunks = Chunks()
    tracemalloc.start()
    for number in range(20_000):
        chunks.frombytes(memoryview(bytes([number % 256]) * 100)[:1])
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 100_000
    assert chunks.tobytes() == bytes(number % 256 for number in range(20_000))


def test_a_channel_keeps_what_came_before_and_goes_on() -> None:
    """A channel's pipe, filled by one thread and emptied by another while its buffer is replaced."""
    channel = paramiko.Channel(1)
    channel.in_buffer.feed(b"first ")
    with_chunks(channel)
    sent = [bytes([number % 256]) * (number * 7 % 300) for number in range(2_000)]

    def fill() -> None:
        for data in sent:
            channel.in_buffer.feed(data)
        channel.in_buffer.close()

    filler = threading.Thread(target=fill)
    filler.start()
    got = b"".join(iter(lambda: channel.in_buffer.read(1_000, 10.0), b""))
    filler.join()
    assert got == b"first " + b"".join(sent)


@pytest.mark.parametrize("sizes", [[16, 40_000], [16, 20], [5, 9_000, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 70_000]])
def test_a_buffered_socket_gives_what_came_in_the_pieces_that_are_asked_for(sizes: list[int]) -> None:
    ours, theirs = socket.socketpair()
    content = bytes(range(251)) * 4_000
    with ours, theirs:

        def send() -> None:
            theirs.sendall(content)
            theirs.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        buffered = BufferedSocket(ours)
        buffered.settimeout(10.0)
        got = bytearray()
        while data := buffered.recv(sizes[len(got) % len(sizes)]):
            got += data
        sender.join()
        buffered.sendall(b"and back")
        assert (bytes(got), theirs.recv(20)) == (content, b"and back")


class Dribble:
    """A socket that gives pieces of given sizes, and times out where a size is nought."""

    def __init__(self, content: bytes, sizes: list[int]) -> None:
        self._content = memoryview(content)
        self._sizes = iter(sizes)

    def recv(self, most: int) -> bytes:
        size = min(next(self._sizes, len(self._content)), most)
        if not size and self._content:
            raise TimeoutError
        piece, self._content = self._content[:size], self._content[size:]
        return bytes(piece)


class DribbleInto(Dribble):
    """The same as a real socket has it."""

    def recv_into(self, buffer: memoryview) -> int:
        piece = self.recv(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


@given(
    st.lists(st.integers(0, 300_000), max_size=30),
    st.lists(st.one_of(st.integers(1, 20), st.integers(200_000, 262_160)), min_size=1, max_size=30),
    st.sampled_from([Dribble, DribbleInto]),
)
def test_what_is_taken_is_what_came_however_it_came(sizes: list[int], wanted: list[int], kind: type[Dribble]) -> None:
    content = (bytes(range(251)) * (sum(wanted) // 251 + 1))[: sum(wanted)]
    buffered = BufferedSocket(kind(content, sizes))
    got = bytearray()
    for size in wanted:
        while True:
            try:
                got += buffered.take(size)
            except TimeoutError:
                continue
            break
    assert got == content
    with pytest.raises(EOFError):
        buffered.take(1)
