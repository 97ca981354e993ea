"""Proving that content is whole."""

from __future__ import annotations

from pathlib import Path

from imgmove.endpoints.layout import Layout
from imgmove.endpoints.layout_reader import blob_path
from imgmove.engine.pool import Pool
from imgmove.engine.run import Run
from imgmove.engine.verify import verify
from imgmove.errors import NotFound
from imgmove.wire.files import LocalFiles
from tests.images import build_image


def test_what_is_missing_is_told_and_keeps_nothing_else_in_memory(tmp_path: Path) -> None:
    image, layout = build_image(), Layout.writable(LocalFiles(), str(tmp_path))
    image.put(layout, "app:1")
    for digest in image.blobs:
        (tmp_path / blob_path(digest)).unlink()
    pool = Pool(Run())
    verified = verify(layout, image.root, pool, with_referrers=False)
    pool.close()
    assert {fault.descriptor.digest for fault in verified.faults} == set(image.blobs)
    for fault in verified.faults:
        assert isinstance(fault.error, NotFound)
        error: BaseException | None = fault.error
        while error is not None:
            assert error.__traceback__ is None
            error = error.__context__
