"""Files of hosts whose answers get lost, or which lie."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from imgmove.errors import ImgmoveError, NetworkError, ServerRefused
from imgmove.wire.files.remote import RemoteFiles
from imgmove.wire.ssh import Sftp
from imgmove.wire.ssh.sftp_messages import (
    ASK_READ,
    ASK_WRITE,
    ATTRS,
    DATA,
    FAILURE,
    FSTAT,
    NAME,
    PERMISSION,
    READDIR,
    REMOVE,
    RENAME,
    STAT,
    packed,
)
from tests.wire.ssh.sftp_host import REPLACE, SYNC, Answer, MemoryHost, StoredFile, attributes, status


@pytest.fixture
def host() -> MemoryHost:
    return MemoryHost()


@pytest.fixture
def files(host: MemoryHost) -> Iterator[RemoteFiles]:
    connection: Any = host
    found = RemoteFiles(connection, far=1000.0)
    yield found
    found.close()


def lose(host: MemoryHost, what: int | str) -> None:
    """Has the connection break instead of the next answer to a request of a kind."""
    lost = iter([None])
    host.twist = lambda kind, answer: next(lost, answer) if kind == what else answer


def say(host: MemoryHost, what: int, lie: Answer) -> None:
    """Has all requests of a kind answered with a lie."""
    host.twist = lambda kind, answer: lie if kind == what else answer


CONTENT = b"content" * 100_000


@pytest.mark.parametrize("what", [REPLACE, SYNC, ASK_WRITE, FSTAT])
@pytest.mark.parametrize("is_lasting", [True, False])
def test_a_file_is_committed_once_however_often_it_is_asked_for(
    host: MemoryHost, files: RemoteFiles, what: int | str, is_lasting: bool
) -> None:
    writer = files.resume("/x/file", "key") if is_lasting else files.create("/x/file")
    lose(host, what)
    with contextlib.suppress(NetworkError):
        writer.write_at(0, CONTENT)
        writer.commit()
    assert host.files.get("/x/file", StoredFile(bytearray(CONTENT))).content == CONTENT
    with contextlib.suppress(ServerRefused):
        writer.commit()
    writer.abort()
    assert host.files.pop("/x/file").content == CONTENT
    assert host.files == {}


def test_nobody_waits_for_a_silent_host_at_the_end(host: MemoryHost, monkeypatch: pytest.MonkeyPatch) -> None:
    connection: Any = host
    files = RemoteFiles(connection, far=1000.0)
    files.create("/x/file")
    files.resume("/x/other", "key")
    monkeypatch.setattr(host, "drop_if_silent", lambda: monkeypatch.setattr(host, "is_alive", False))
    files.close()
    assert REMOVE not in host.requests
    with pytest.raises(NetworkError, match="the command has ended"):
        files.status("/x")


def test_what_another_user_left_is_made_anew(host: MemoryHost, files: RemoteFiles) -> None:
    theirs = StoredFile(bytearray(b"theirs"), is_ours=False)
    host.files["/x/.imgmove-file.key.partial"] = theirs
    writer = files.resume("/x/file", "key")
    assert writer.size == 0
    writer.write_at(0, b"ours")
    writer.commit()
    assert host.files.keys() == {"/x/file"}
    assert host.files["/x/file"].content == b"ours"


# --- hosts that replace no file in one step

ASIDE = "/x/.imgmove-file.replaced"


@pytest.fixture
def plain() -> MemoryHost:
    found = MemoryHost(can_replace=False)
    found.files["/x/file"] = StoredFile(bytearray(b"old"))
    return found


@contextlib.contextmanager
def files_of(host: Any) -> Iterator[RemoteFiles]:
    found = RemoteFiles(host, far=1000.0)
    yield found
    found.close()


def test_a_file_that_is_replaced_is_there_at_any_moment(plain: MemoryHost) -> None:
    seen: list[str] = []

    def look(_: int | str, answer: Answer) -> Answer:
        seen.append(next(name for name in ("/x/file", ASIDE) if name in plain.files))
        assert bytes(plain.files[seen[-1]].content) in (b"old", b"new")
        return answer

    plain.twist = look
    with files_of(plain) as files:
        files.write("/x/file", b"new")
        assert files.read_at("/x/file", 0, 9) == b"new"
    assert ASIDE in seen
    assert list(plain.files) == ["/x/file"]


def test_what_a_killed_run_put_aside_is_found(plain: MemoryHost) -> None:
    plain.files[ASIDE] = plain.files.pop("/x/file")
    with files_of(plain) as files:
        status = files.status("/x/file")
        assert status is not None
        assert status.size == 3
        assert files.read_at("/x/file", 0, 9) == b"old"
        files.write("/x/file", b"newer")
        assert list(plain.files) == ["/x/file"]
        assert files.status("/x/other") is None


def test_what_can_not_be_replaced_stays(plain: MemoryHost) -> None:
    def refuse(kind: int | str, answer: Answer) -> Answer:
        if kind == RENAME and {"/x/file", ASIDE} <= plain.files.keys():
            plain.files["/x/.imgmove-again"] = plain.files.pop("/x/file")
            return status(FAILURE)
        return answer

    plain.twist = refuse
    with files_of(plain) as files, pytest.raises(ServerRefused):
        files.write("/x/file", b"new")
    assert plain.files["/x/file"].content == b"old"
    assert ASIDE not in plain.files


def test_a_lock_is_given_back_over_the_next_connection(host: MemoryHost, files: RemoteFiles) -> None:
    with files.lock("/x"):
        (path, lock), *_ = host.files.items()
        lost = iter([None, None])

        def twist(kind: int | str, answer: Answer) -> Answer | None:
            if kind != REMOVE or next(lost, answer):
                return answer
            # It was never heard.
            host.files[path] = lock
            return None

        host.twist = twist
    assert host.files == {}


def test_what_went_away_before_it_was_whole_is_told(host: MemoryHost, files: RemoteFiles) -> None:
    def twist(kind: int | str, answer: Answer) -> Answer | None:
        if kind != SYNC:
            return answer
        host.files.clear()
        return None

    host.twist = twist
    writer = files.create("/x/file")
    writer.write_at(0, CONTENT)
    for _ in range(2):
        with pytest.raises(ImgmoveError) as caught:
            writer.commit()
    assert "no such file" in caught.value.message
    assert host.files == {}


def test_content_that_is_confirmed_and_not_there_is_found_out(host: MemoryHost, files: RemoteFiles) -> None:
    writer = files.create("/x/file")

    def twist(kind: int | str, answer: Answer) -> Answer:
        if kind == SYNC:
            del next(iter(host.files.values())).content[1:]
        return answer

    host.twist = twist
    writer.write_at(0, CONTENT)
    with pytest.raises(ServerRefused, match=f"/x/file: 1 of {len(CONTENT)} bytes lie there"):
        writer.commit()
    writer.abort()
    assert host.files == {}


@pytest.mark.parametrize("size", [0, 1, 10**6, 2**63, 2**64 - 1])
def test_sizes_that_are_not_true(host: MemoryHost, files: RemoteFiles, size: int) -> None:
    host.files["/file"] = StoredFile(bytearray(CONTENT))
    say(host, FSTAT, (ATTRS, attributes(size)))
    reader = files.open("/file")
    found = reader.read()
    # Some was asked for before the size was known; whoever reads has the true one, and a digest.
    assert found == CONTENT[: max(size, len(found))]
    reader.close()
    assert files.read_at("/file", 3, 10) == CONTENT[3:13]
    # What is not there is not asked for up to where the host says that it ends.
    assert host.requests.count(ASK_READ) < 200


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_content_in_other_pieces_than_asked_for(host: MemoryHost, files: RemoteFiles, size: int) -> None:
    host.files["/file"] = StoredFile(bytearray(CONTENT[:10_000]))
    host.twist = lambda _, answer: (DATA, packed(answer[1][4 : 4 + size])) if answer[0] == DATA else answer
    reader = files.open("/file")
    assert reader.read() == (CONTENT[:10_000] if size else b"")
    reader.close()


def test_no_more_is_asked_for_than_a_host_gives(
    host: MemoryHost, files: RemoteFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.files["/file"] = StoredFile(bytearray(CONTENT))
    host.twist = lambda _, answer: (DATA, packed(answer[1][4:1004])) if answer[0] == DATA else answer
    asked: list[int] = []

    def read(lane: Sftp, handle: bytes, offset: int, size: int, plain: Any = Sftp.read) -> Any:
        asked.append(size)
        return plain(lane, handle, offset, size)

    monkeypatch.setattr(Sftp, "read", read)
    reader = files.open("/file")
    assert reader.read() == CONTENT
    reader.close()
    # All but the first at once: what is left out is asked for when its turn comes, which takes a way there and back.
    assert max(asked[-300:]) == 1000


def test_more_content_than_asked_for(host: MemoryHost, files: RemoteFiles) -> None:
    host.files["/file"] = StoredFile(bytearray(CONTENT))
    say(host, ASK_READ, (DATA, packed(bytes(300_000))))
    with pytest.raises(NetworkError, match="more of /file than was asked for"):
        files.open("/file").read()


@pytest.mark.parametrize("name", [".imgmove-x.1-a.sent", ".imgmove-x.key.partial", ".imgmove-index.lock"])
def test_what_killed_runs_left_goes_however_short_a_run_is(host: MemoryHost, name: str) -> None:
    long_ago, just_now = int(time.time()) - 8 * 24 * 3600, int(time.time()) - 3600
    for modified, is_left in ((long_ago, False), (just_now, True)):
        host.files = {f"/x/{name}": StoredFile(modified=modified), "/x/other": StoredFile(modified=1)}
        connection: Any = host
        files = RemoteFiles(connection, far=1000.0)
        files.write("/x/file", b"content")
        files.close()
        assert sorted(host.files) == sorted([*([f"/x/{name}"] if is_left else []), "/x/file", "/x/other"])


def test_the_home_folder_may_be_closed(host: MemoryHost, files: RemoteFiles) -> None:
    host.files["/x/file"] = StoredFile()
    say(host, STAT, status(PERMISSION))
    assert files.list("/x") == ["file"]


def test_names_that_lead_elsewhere_are_not_followed(host: MemoryHost, files: RemoteFiles) -> None:
    host.files["/x/file"] = StoredFile()
    entries = b"".join(packed(name) + packed(b"") + attributes(1, modified=1) for name in (b"../up", b"a/b", b"good"))
    answers = iter([(NAME, (3).to_bytes(4) + entries)])
    host.twist = lambda kind, answer: next(answers, answer) if kind == READDIR else answer
    assert files.list("/x") == ["good"]


def test_long_names_have_temporary_ones_all_the_same(host: MemoryHost, files: RemoteFiles) -> None:
    path = f"/x/{'é' * 120}"
    files.resume(path, "one").keep()
    writer = files.create(path)
    assert [len(name.encode()) < 255 for name in host.files] == [True, True]
    writer.abort()
    files.forget_others(path, "two")
    assert host.files == {}
