"""Several processes at the same place at the same time."""

from __future__ import annotations

import multiprocessing
import random
from pathlib import Path

import imgmove
from imgmove.settings import Settings
from tests.images import build_image
from tests.quirks import RegistryServer
from tests.real import kill_child

SHARED = {"shared": random.Random(41).randbytes(2 << 20)}


def test_a_blob_that_several_want_in_one_layout_is_fetched_once(
    registry: RegistryServer, settings: Settings, tmp_path: Path
) -> None:
    images = [build_image([SHARED, {"own": bytes([number])}]) for number in range(8)]
    for number, image in enumerate(images):
        image.put(registry.storage.make("app"), str(number))
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(
            target=kill_child.copy,
            args=(f"{registry.host}/app:{number}", f"oci:{tmp_path / 'out'}:app:{number}", str(tmp_path)),
        )
        for number in range(len(images))
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    layer = images[0].nodes[0].children[1].digest
    asked = [request for request in registry.seen if request.path.endswith(str(layer))]
    assert [request.method for request in asked] == ["GET"]
    with imgmove.Session(settings) as session:
        assert len(imgmove.tags(f"oci:{tmp_path / 'out'}", session=session)) == len(images)
        imgmove.verify(f"oci:{tmp_path / 'out'}", session=session)
    assert not list(tmp_path.rglob(".imgmove*"))


def test_two_processes_that_write_the_same_archive(
    registry: RegistryServer, settings: Settings, tmp_path: Path
) -> None:
    image = build_image([SHARED])
    image.put(registry.storage.make("app"), "1")
    context = multiprocessing.get_context("spawn")
    words = (f"{registry.host}/app:1", str(tmp_path / "x.tar"), str(tmp_path))
    processes = [context.Process(target=kill_child.copy, args=words) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    with imgmove.Session(settings) as session:
        assert imgmove.verify(str(tmp_path / "x.tar"), session=session).images
    assert not list(tmp_path.rglob(".imgmove*"))
