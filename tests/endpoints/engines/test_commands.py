"""Engines that are spoken to by their own commands."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from typing import cast

import pytest

from imgmove.endpoints.engines.commands import Program
from imgmove.endpoints.engines.podman import Podman
from imgmove.errors import ImgmoveError, LocalError, MalformedContent, NetworkError
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest
from imgmove.ports import Machine
from imgmove.wire.machine import LocalMachine
from tests.images import build_image

GONE = "Error: unable to connect to Podman socket: dial unix /run/podman.sock: connect: connection refused"

Answer = Callable[[Sequence[str]], str]


class Done:
    """A command that has ended."""

    def __init__(self, status: int, printed: str, said: str) -> None:
        self._printed = io.BytesIO(printed.encode())
        self._end = status, said
        self.read = self._printed.read

    def end_input(self) -> None:
        pass

    def wait(self) -> tuple[int, str]:
        return self._end

    def close(self) -> None:
        pass


class Host:
    """A machine whose program answers as it is told, or is gone."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.is_gone = False
        self.asked: list[Sequence[str]] = []

    def start(self, words: Sequence[str]) -> Done:
        self.asked.append(words)
        return Done(125, "", GONE) if self.is_gone else Done(0, self.answer(words), "")


def program(host: Host) -> Program:
    return Program(cast("Machine", host), ["podman"], "podman")


def test_an_engine_that_is_started_again_is_waited_for() -> None:
    host = Host(lambda _: "5.4")
    host.is_gone = True
    asking = program(host)

    def failed() -> type[ImgmoveError]:
        with pytest.raises(ImgmoveError, match=r"nothing listens at /run/podman.sock") as caught:
            asking.ask("version")
        return caught.type

    assert failed() is LocalError, "it has never answered"
    host.is_gone = False
    asking.ask("version")
    host.is_gone = True
    assert failed() is NetworkError


def test_a_program_that_never_stops_talking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgmove.endpoints.engines.commands._LARGEST_OUTPUT", 1 << 20)
    talking = Program(LocalMachine(), ["yes"], "podman")
    with pytest.raises(MalformedContent, match="podman says more than 1 MiB"):
        talking.ask("images")
    with pytest.raises(MalformedContent, match="podman says more than 1 MiB"):
        talking.feed(lambda _: None, "load", comes=lambda: False)


def test_podman_is_asked_about_few_images_and_the_likeliest_first() -> None:
    image = build_image([{"one": b"1"}, {"two": b"2"}]).nodes[-1]
    assert isinstance(image, Manifest)
    diff_ids = [Digest.of(b"1"), Digest.of(b"2")]
    identities = [f"{number:064x}" for number in range(1000)]
    names = {identity: f"example.org/tool{identity[-4:]}:1" for identity in identities}
    names[identities[-1]] = "example.org/team/app:1"

    def answer(words: Sequence[str]) -> str:
        if words[1] == "images":
            return "\n".join(f"sha256:{identity} {name}" for identity, name in names.items())
        layers = {identity: [str(diff_ids[0])] if identity == identities[-1] else [] for identity in identities}
        wanted = [word.removeprefix("sha256:") for word in words[5:]]
        return "\n".join(json.dumps({"Id": identity, "RootFS": {"Layers": layers[identity]}}) for identity in wanted)

    host = Host(answer)
    podman = Podman(program(host))
    for _ in range(2):
        assert set(podman.held(image, diff_ids, ["localhost/app:2"])) == {image.layers[0].digest}
    assert len(host.asked) < 5
    assert max(len(words) for words in host.asked) < 100
