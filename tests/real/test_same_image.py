"""One image under several names, sent to docker's registry all at once, which does not keep apart who puts what."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.layout import Layout
from imgmove.settings import Settings
from imgmove.wire.files import LocalFiles
from tests.images import build_index
from tests.real.fixtures import RealRegistry

pytestmark = pytest.mark.real

TAGS = ("1", "1.2", "1.2.3", "latest", "stable")


def test_all_names_arrive_each_time(plain_registry: RealRegistry, settings: Settings, tmp_path: Path) -> None:
    """Six times in ten they did not, so ten times without a failure are no chance."""
    image = build_index("linux/amd64", "linux/arm64", "linux/s390x", attested=True)
    image.put(Layout.writable(LocalFiles(), str(tmp_path / "in")), *(f"app:{tag}" for tag in TAGS))
    with imgmove.Session(replace(settings, retries=0)) as session:
        for _ in range(10):
            place = f"{plain_registry.host}/same{uuid.uuid4().hex[:8]}/"
            report = imgmove.load(f"oci:{tmp_path / 'in'}", place, session=session)
            report.raise_failures()
            assert {image.digest for image in report.images} == {image.root.digest}
            assert set(imgmove.tags(f"{place}library/app", session=session)) >= set(TAGS)
