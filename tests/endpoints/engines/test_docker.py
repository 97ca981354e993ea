"""Docker's answers, without a docker."""

from __future__ import annotations

import json
from typing import cast

from imgmove.endpoints.engines.docker import Docker
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest
from imgmove.ports import Machine
from imgmove.wire.stream_http import StreamHttp
from tests.images import build_image

LAYERS = [{f"file{number}": bytes(number)} for number in range(3)]


class Daemon:
    """Answers for images that hold the first layers, one more each."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.images = {str(Digest.of(b"%d" % count)): count for count in range(40)}

    def ask(self, method: str, path: str) -> tuple[int, bytes]:
        assert method == "GET"
        self.asked.append(path)
        if path == "/images/json":
            return 200, json.dumps([{"Id": identity} for identity in self.images]).encode()
        identity = path.removeprefix("/images/").removesuffix("/json").replace("%3A", ":")
        diff_ids = [str(Digest.of(b"other %d" % self.images[identity]))]
        return 200, json.dumps({"Id": identity, "RootFS": {"Layers": diff_ids}}).encode()


def test_what_an_image_holds_is_asked_once() -> None:
    daemon = Daemon()
    docker = Docker(cast("StreamHttp", daemon), cast("Machine", None), "docker")
    image = build_image(LAYERS).nodes[-1]
    assert isinstance(image, Manifest)
    for _ in range(3):
        assert docker.held(image, [layer.digest for layer in image.layers]) == set()
    assert len([path for path in daemon.asked if path != "/images/json"]) == len(daemon.images)
