"""Docker's answers, without a docker."""

from __future__ import annotations

import contextlib
import json
from fnmatch import fnmatchcase
from typing import cast
from urllib.parse import unquote

import pytest

from imgmove.endpoints.engines.docker import Docker
from imgmove.errors import MalformedContent, ServerRefused
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest
from imgmove.ports import Machine
from imgmove.streams import BytesReader
from imgmove.wire.stream_http import StreamHttp
from tests.images import build_image

LAYERS = [{f"file{number}": bytes(number)} for number in range(3)]


class Daemon:
    """Answers for images that hold the first layers, one more each."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.images = {str(Digest.of(b"%d" % count)): count for count in range(40)}
        self.names: dict[str, list[str]] = {}

    def ask(self, method: str, path: str) -> tuple[int, bytes]:
        assert method == "GET"
        self.asked.append(path)
        if path == "/info":
            return 200, json.dumps({"Images": len(self.images)}).encode()
        if path.startswith("/images/json"):
            patterns = json.loads(unquote(path.partition("=")[2]) or "{}").get("reference", ())
            found = [
                {"Id": identity, "RepoTags": self.names.get(identity, [])}
                for identity in self.images
                if not patterns
                or any(
                    fnmatchcase(name.partition(":")[0], pattern) and name.count("/") == pattern.count("/")
                    for name in self.names.get(identity, ())
                    for pattern in patterns
                )
            ]
            return 200, json.dumps(found).encode()
        identity = path.removeprefix("/images/").removesuffix("/json").replace("%3A", ":")
        diff_ids = [str(Digest.of(b"other %d" % self.images[identity]))]
        return 200, json.dumps({"Id": identity, "RootFS": {"Layers": diff_ids}}).encode()


class Answering:
    """Gives the same answer to whatever it is asked."""

    def __init__(self, answer: object) -> None:
        self._answer = json.dumps(answer).encode()

    def ask(self, method: str, path: str) -> tuple[int, bytes]:
        del method, path
        return 200, self._answer

    def open(self, path: str) -> tuple[int, Endless]:
        del path
        return 500, Endless()


class Endless(BytesReader):
    """Never stops; nobody may ask for all of it."""

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert 0 <= size < 1 << 20
        return b"x" * size


@pytest.mark.parametrize("odd", [True, 7, "text", [[1], {"a": 1}, None, 5], {"a": 1}])
def test_answers_of_other_shapes_are_no_reason_to_fail_otherwise_than_as_ever(odd: object) -> None:
    image = build_image(LAYERS).nodes[-1]
    assert isinstance(image, Manifest)
    entry = {"Id": odd, "RepoTags": odd, "RepoDigests": odd, "RootFS": {"Layers": odd}, "DriverStatus": odd}
    for answer in (odd, entry, [entry], {**entry, "Id": str(image.descriptor.digest)}, {**entry, "RootFS": odd}):
        docker = Docker(cast("StreamHttp", Answering(answer)), cast("Machine", None), "docker")
        assert all(isinstance(name, str) for name in docker.references())
        with contextlib.suppress(MalformedContent):
            assert not docker.keeps_manifests
        with contextlib.suppress(MalformedContent):
            docker.find("x")
        with contextlib.suppress(MalformedContent):
            docker.held(image, [layer.digest for layer in image.layers], ["app:1"])


def test_what_an_error_says_is_read_no_further_than_anybody_would() -> None:
    docker = Docker(cast("StreamHttp", Answering({})), cast("Machine", None), "docker")
    with pytest.raises(ServerRefused, match=r"x{300}…$"):
        docker.save("app:1")


def test_what_an_image_holds_is_asked_once() -> None:
    daemon = Daemon()
    docker = Docker(cast("StreamHttp", daemon), cast("Machine", None), "docker")
    image = build_image(LAYERS).nodes[-1]
    assert isinstance(image, Manifest)
    for _ in range(3):
        assert docker.held(image, [layer.digest for layer in image.layers], ["app:1"]) == set()
    assert len([path for path in daemon.asked if not path.startswith(("/images/json", "/info"))]) == len(daemon.images)


@pytest.mark.parametrize(("count", "is_listed"), [(40, True), (400, False)])
def test_a_list_that_is_longer_than_what_is_missing_is_not_asked_for(count: int, is_listed: bool) -> None:
    daemon = Daemon()
    daemon.images = {str(Digest.of(b"%d" % number)): number for number in range(count)}
    earlier = list(daemon.images)[7]
    daemon.names[earlier] = ["team/app:1"]
    docker = Docker(cast("StreamHttp", daemon), cast("Machine", None), "docker")
    image = build_image(LAYERS).nodes[-1]
    assert isinstance(image, Manifest)
    docker.held(image, [layer.digest for layer in image.layers], ["registry.example/app:2"])
    asked = [unquote(path) for path in daemon.asked if path != "/info"]
    assert "*/app" in asked[0]
    assert asked[1] == f"/images/{earlier}/json"
    assert ("/images/json" in asked) == is_listed


@pytest.mark.parametrize(
    ("architecture", "machine", "expected"),
    [
        ("amd64", "x86_64", "linux/amd64"),
        ("arm64", "aarch64", "linux/arm64"),
        ("arm", "armv6l", "linux/arm/v6"),
        ("arm", "armv7l", "linux/arm/v7"),
        ("arm", "aarch64", "linux/arm"),
        ("arm", "", "linux/arm"),
    ],
)
def test_which_arm_it_is_the_machine_tells(architecture: str, machine: str, expected: str) -> None:
    answer = {"Os": "linux", "Arch": architecture, "Architecture": machine}
    docker = Docker(cast("StreamHttp", Answering(answer)), cast("Machine", None), "docker")
    assert str(docker.platform()) == expected
