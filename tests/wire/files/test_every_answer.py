"""Copies to another host, during which any one answer gets lost: each ends with the same files as if none had."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from imgmove.endpoints.archive.writer import ArchiveFile
from imgmove.endpoints.layout import Layout
from imgmove.engine.plan import Choice, Move
from imgmove.engine.planner import make_plan
from imgmove.engine.pool import Pool
from imgmove.engine.run import RetryPolicy, Run
from imgmove.engine.transfer import transfer
from imgmove.wire.files import LocalFiles
from imgmove.wire.files.remote import RemoteFiles
from tests.images import build_image
from tests.wire.ssh.sftp_host import MemoryHost, StoredFile

IMAGE = build_image([{"one": b"1" * 1000}, {"two": b"2" * 2000}])


@pytest.fixture
def local(tmp_path: Path) -> Layout:
    found = Layout.writable(LocalFiles(), str(tmp_path))
    IMAGE.put(found, "app:1")
    return found


Place = Callable[[RemoteFiles], Layout | ArchiveFile]


def files_after_copy(local: Layout, host: MemoryHost, place: Place) -> dict[str, bytes]:
    """What lies on a host once the image was copied there."""
    connection: Any = host
    files = RemoteFiles(connection, far=1000.0, stale=0.05)
    with closing(files), closing(Pool(Run(jobs=3, retry=RetryPolicy(first_delay=0.0)))) as pool:
        move = Move(local, "app:1", place(files), ("app:1",), "app:1")
        (outcome,) = transfer(make_plan([move], Choice(), pool), pool)
    assert outcome.error is None
    return {path: bytes(file.content) for path, file in host.files.items()}


@pytest.mark.parametrize("hears_last", [True, False])
@pytest.mark.parametrize("can_replace", [True, False])
@pytest.mark.parametrize(
    "place",
    [lambda files: Layout.writable(files, "/x"), lambda files: ArchiveFile(files, "/x.tar")],
    ids=["layout", "archive"],
)
def test_any_answer_may_get_lost(local: Layout, place: Place, can_replace: bool, hears_last: bool) -> None:
    calm = MemoryHost(can_replace=can_replace)
    wanted = files_after_copy(local, calm, place)
    blobs = {path: content for path, content in wanted.items() if path.startswith("/x/blobs/")}
    assert all(sha256(content).hexdigest() == path.rpartition("/")[2] for path, content in blobs.items())
    assert len(blobs) == len(IMAGE.blobs) + 1 if blobs else set(wanted) == {"/x.tar"}
    for number in range(len(calm.requests)):
        host = MemoryHost(can_replace=can_replace)
        host.breaks_at, host.hears_last = number + 1, hears_last
        assert files_after_copy(local, host, place) == wanted, (number, host.requests[number])


@pytest.mark.parametrize("hears_last", [True, False])
def test_any_answer_may_get_lost_where_files_are_replaced_in_several_steps(local: Layout, hears_last: bool) -> None:
    def host_with_one() -> MemoryHost:
        found = MemoryHost(can_replace=False)
        found.files = {path: StoredFile(bytearray(content)) for path, content in before.items()}
        return found

    def place(files: RemoteFiles) -> Layout:
        return Layout.writable(files, "/x")

    before = files_after_copy(local, MemoryHost(can_replace=False), place)
    before["/x/index.json"] = before["/x/index.json"].replace(b"app:1", b"old:1")
    wanted = files_after_copy(local, calm := host_with_one(), place)
    assert {b"app:1", b"old:1"} <= set(wanted["/x/index.json"].split(b'"'))
    for number in range(len(calm.requests)):
        host = host_with_one()
        host.breaks_at, host.hears_last = number + 1, hears_last
        assert files_after_copy(local, host, place) == wanted, (number, host.requests[number])
