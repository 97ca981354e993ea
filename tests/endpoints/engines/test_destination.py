"""What is common to engines, with one that is made of a dictionary."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Collection, Sequence
from contextlib import closing

import pytest

from imgmove.endpoints.engines.destination import EngineDestination, EngineImage, Way
from imgmove.endpoints.engines.shipment import Shipment, diff_ids_of
from imgmove.endpoints.engines.temporary_names import temporary_repository
from imgmove.errors import ImgmoveError, MalformedContent, NetworkError, ServerRefused
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Manifest
from imgmove.model.platform import Platform
from imgmove.ports import Reader
from imgmove.streams import BytesReader
from tests.images import BuiltImage, build_image

APP = build_image([{"one": b"1"}, {"two": b"2"}])


class Content:
    def __init__(self, image: BuiltImage) -> None:
        self.image = image

    def open(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        return BytesReader(self.image.blobs[descriptor.digest][offset:])


class Shelf:
    """An engine that takes archives."""

    label = "the shelf"

    def __init__(self) -> None:
        self.images: dict[str, EngineImage] = {}
        self.known: set[Digest] = set()
        self.failures: dict[str, ImgmoveError] = {}
        self.is_lying = False
        self.taken: list[str] = []
        self.archives: list[set[str]] = []
        self.asked = 0
        self.left: dict[str, str] = {}

    def platform(self) -> Platform:
        return Platform("linux", "amd64")

    def full_name(self, name: str) -> str:
        return name

    def find(self, name: str) -> EngineImage | None:
        return self.images.get(name)

    def is_same(self, found: EngineImage, image: Manifest) -> bool:
        return found.identity == image.descriptor.digest

    def held(self, image: Manifest, diff_ids: Sequence[Digest], names: Sequence[str]) -> Collection[Digest]:
        return self.known

    def check(self, shipment: Shipment) -> None:
        """Takes all."""

    def ways(self, shipment: Shipment) -> Sequence[Way]:
        return [
            Way("a part", lambda shipment, name: self._take("a part", shipment, name)),
            Way("the whole", lambda shipment, name: self._take("the whole", shipment, name)),
        ]

    def name(self, temporary: str, name: str) -> None:
        self.images[name] = self.images[temporary]

    def references(self, start: str = "") -> list[str]:
        self.asked += 1
        return list(self.images)

    def forget(self, temporary: str) -> None:
        self.images.pop(temporary, None)

    def removing(self, name: str) -> str:
        return f"clear {name}"

    def close(self) -> None:
        """Nothing to do."""

    def _take(self, way: str, shipment: Shipment, name: str) -> None:
        self.taken.append(way)
        sink = io.BytesIO()
        shipment.write_archive(sink, name, shipment.image, shipment.held if way == "a part" else ())
        with closing(tarfile.open(fileobj=io.BytesIO(sink.getvalue()))) as archive:
            self.archives.append(set(archive.getnames()))
            manifest = json.loads(archive.extractfile("manifest.json").read())  # type: ignore[union-attr]
            assert manifest[0]["RepoTags"] == [name]
        if way in self.failures:
            # Engines are known to leave something behind.
            self.images[name] = EngineImage(Digest.of(b"half"), ())
            raise self.failures[way]
        diff_ids = shipment.diff_ids[:1] if self.is_lying else shipment.diff_ids
        self.images[name] = EngineImage(shipment.image.descriptor.digest, diff_ids)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def parts(image: BuiltImage) -> tuple[Manifest, bytes]:
    (node,) = image.nodes
    assert isinstance(node, Manifest)
    assert node.config is not None
    return node, image.blobs[node.config.digest]


def pull(shelf: Shelf, image: BuiltImage = APP, *names: str) -> Sequence[str]:
    manifest, config = parts(image)
    return EngineDestination(shelf).pull(manifest, config, names or ("app:1",), Content(image))


def test_an_image_gets_all_its_names_and_no_other(shelf: Shelf) -> None:
    assert pull(shelf, APP, "app:1", "app:2") == []
    assert set(shelf.images) == {"app:1", "app:2"}
    assert shelf.taken == ["a part"]


def test_what_is_held_is_left_out(shelf: Shelf) -> None:
    manifest, config = parts(APP)
    shelf.known = {manifest.layers[0].digest}
    holding = EngineDestination(shelf).holding(manifest, config, ("app:1",))
    assert not holding.is_complete
    assert manifest.layers[0].digest not in holding.missing
    assert manifest.layers[1].digest in holding.missing
    pull(shelf)
    assert f"blobs/sha256/{manifest.layers[0].digest.hex}" not in shelf.archives[0]
    assert f"blobs/sha256/{manifest.layers[1].digest.hex}" in shelf.archives[0]


def test_an_image_that_is_there(shelf: Shelf) -> None:
    manifest, config = parts(APP)
    pull(shelf)
    destination = EngineDestination(shelf)
    assert destination.holding(manifest, config, ("app:1",)).is_complete
    assert not destination.holding(manifest, config, ("app:1", "app:2")).is_complete


def test_a_way_that_fails_is_followed_by_the_next_and_told(shelf: Shelf) -> None:
    shelf.failures["a part"] = ServerRefused("a layer is gone")
    (note,) = pull(shelf)
    assert note == "a part failed (a layer is gone); sent the whole instead"
    assert set(shelf.images) == {"app:1"}


def test_an_engine_that_says_yes_to_half_an_image(shelf: Shelf) -> None:
    shelf.images["app:1"] = before = EngineImage(Digest.of(b"old"), ())
    shelf.is_lying = True
    with pytest.raises(ServerRefused, match="does not hold all of it"):
        pull(shelf)
    assert shelf.taken == ["a part", "the whole"]
    assert shelf.images == {"app:1": before}, "what had the name before keeps it"


@pytest.mark.parametrize(
    "error", [NetworkError("cut"), ServerRefused("the source says no").on("source"), MalformedContent("broken")]
)
def test_what_no_other_way_could_cure(shelf: Shelf, error: ImgmoveError) -> None:
    shelf.failures["a part"] = error
    with pytest.raises(type(error)):
        pull(shelf)
    assert shelf.taken == ["a part"]
    assert shelf.images == {}


def failing_forget(shelf: Shelf, failures: list[ImgmoveError], monkeypatch: pytest.MonkeyPatch) -> None:
    forget = shelf.forget

    def fails(temporary: str) -> None:
        if failures:
            raise failures.pop()
        forget(temporary)

    monkeypatch.setattr(shelf, "forget", fails)
    monkeypatch.setattr(time, "sleep", lambda _: None)


def test_a_removal_that_a_broken_connection_kept_is_tried_again(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_forget(shelf, [NetworkError("cut"), NetworkError("cut")], monkeypatch)
    assert pull(shelf) == []
    assert set(shelf.images) == {"app:1"}


@pytest.mark.parametrize(
    "failures", [[NetworkError("cut") for _ in range(6)], [ServerRefused("cut") for _ in range(2)]]
)
def test_a_name_that_stays_is_told_with_the_command_that_removes_it(
    shelf: Shelf, failures: list[ImgmoveError], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_forget(shelf, failures, monkeypatch)
    (note,) = pull(shelf)
    (left,) = set(shelf.images) - {"app:1"}
    assert note == (
        f"the shelf may still have a temporary image (cut): `clear {left}` removes it there,"
        " and so does a copy to it a day later"
    )
    assert pull(shelf, APP, "app:2") == [], "it is told once"


def test_a_name_that_stays_while_an_engine_is_away_goes_when_it_is_back(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_forget(shelf, [NetworkError("away") for _ in range(4)], monkeypatch)
    assert pull(shelf) == []
    assert set(shelf.images) == {"app:1"}


def test_an_error_tells_what_stays(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.failures["a part"] = NetworkError("the line broke")
    failures: list[ImgmoveError] = [ServerRefused("cut")]
    failing_forget(shelf, failures, monkeypatch)
    with pytest.raises(NetworkError, match="the line broke") as caught:
        pull(shelf)
    (left,) = shelf.images
    assert f"`clear {left}` removes it" in caught.value.hint
    shelf.failures.clear()
    assert pull(shelf) == [], "who tries again removes it"
    assert set(shelf.images) == {"app:1"}


def test_a_config_of_another_image() -> None:
    manifest, _ = parts(APP)
    _, other = parts(build_image())
    with pytest.raises(MalformedContent, match="2 layers"):
        diff_ids_of(manifest, other)


def named_at(seconds: float, monkeypatch: pytest.MonkeyPatch) -> str:
    """The repository of a run that began then."""
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: seconds)
        return temporary_repository()


def test_what_a_run_of_another_day_left_is_swept_and_nothing_else(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, recent = named_at(time.time() - 25 * 3600, monkeypatch), named_at(time.time() - 23 * 3600, monkeypatch)
    ahead = named_at(time.time() + 3600, monkeypatch)
    image = EngineImage(Digest.of(b"left"), ())
    left = [f"localhost/{old}:incoming", f"localhost/{old}:probe", f"127.0.0.1:40123/{old}@{Digest.of(b'left')}"]
    others = [f"localhost/{recent}:incoming", f"localhost/{ahead}:incoming", f"example.org/{old}:incoming"]
    others += [
        f"localhost/{old}",
        f"localhost/{old}-mine:incoming",
        "localhost/imgmove:1",
        "localhost/imgmove-1:incoming",
    ]
    shelf.images = dict.fromkeys([*left, *others], image)
    pull(shelf)
    assert set(shelf.images) == {*others, "app:1"}


def test_an_engine_is_swept_once_a_run(shelf: Shelf) -> None:
    manifest, config = parts(APP)
    destination = EngineDestination(shelf)
    for name in ("app:1", "app:2"):
        destination.pull(manifest, config, (name,), Content(APP))
    assert shelf.asked == 1


@pytest.mark.parametrize("broken", ["references", "forget"])
def test_a_sweep_that_fails_keeps_no_image_away(shelf: Shelf, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old = f"localhost/{named_at(time.time() - 25 * 3600, monkeypatch)}:incoming"
    shelf.images = {old: EngineImage(Digest.of(b"left"), ())}
    kept = getattr(shelf, broken)

    def fails(*names: str) -> None:
        if broken == "references" or names == (old,):
            raise ServerRefused("a container uses it")
        kept(*names)

    monkeypatch.setattr(shelf, broken, fails)
    assert pull(shelf) == []
    assert set(shelf.images) == {old, "app:1"}
