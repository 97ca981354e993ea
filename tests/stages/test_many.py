"""Many images at once: their plans follow one another, and nothing but the memory shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.layout import Layout
from imgmove.ports import Event, PlanMade
from imgmove.settings import Settings
from imgmove.stages import move as stage
from imgmove.stages.report import CopyReport
from imgmove.wire.files import LocalFiles
from tests.images import build_artifact, build_image, build_index
from tests.quirks import Quirks, RegistryServer

TAGS = [f"v{number}" for number in range(7)]


class Plans:
    """Counts them."""

    def __init__(self) -> None:
        self.made = 0

    def on(self, event: Event, /) -> None:
        self.made += isinstance(event, PlanMade)


@pytest.fixture
def source(registry: RegistryServer) -> str:
    for number, tag in enumerate(TAGS):
        build_image([{"base": b"x" * 5000}, {"own": bytes([number // 2]) * 900}]).put(
            registry.storage.make("many"), tag
        )
    return f"{registry.host}/many"


def copied(settings: Settings, source: str, target: str, *, dry_run: bool = False) -> tuple[CopyReport, int]:
    """A copy, and in how many plans it was made."""
    plans = Plans()
    with imgmove.Session(settings, plans) as session:
        options = imgmove.CopyOptions(all_tags=True, dry_run=dry_run)
        report = imgmove.copy(source, target, options=options, session=session)
    report.raise_failures()
    return report, plans.made


@pytest.mark.parametrize("place", ["registry", "layout", "archive"])
def test_plans_that_follow_one_another_come_to_the_same(
    place: str,
    source: str,
    settings: Settings,
    registry_factory: Callable[[], RegistryServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Two registries, as the second copy would mount what the first one sent.
    places = {"registry": lambda name: f"{registry_factory().host}/{name}"}
    places["layout"] = lambda name: f"oci:{tmp_path / name}"
    places["archive"] = lambda name: f"{tmp_path / name}.tar"
    one, many = places[place]("one"), places[place]("many")
    whole, _ = copied(settings, source, one)
    monkeypatch.setattr(stage, "MOST_TOGETHER", 2)
    planned, _ = copied(settings, source, many, dry_run=True)
    apart, plans = copied(settings, source, many)
    assert plans == (1 if place == "archive" else 4), "an archive has a single plan"
    assert planned.totals == apart.totals == whole.totals
    assert len(planned.blobs) == planned.totals.blobs_sent
    assert [image.digest for image in apart.images] == [image.digest for image in whole.images]
    with imgmove.Session(settings) as session:
        assert len(imgmove.tags(many, session=session)) == len(TAGS)
        for image in apart.images:
            imgmove.verify(str(image), session=session)


def test_what_several_names_share_is_put_once(
    settings: Settings, registry_factory: Callable[..., RegistryServer], tmp_path: Path
) -> None:
    """Docker's registry refuses an index while one of its children is put again."""
    image = build_index("linux/amd64", "linux/arm64", attested=True)
    layout = Layout.writable(LocalFiles(), str(tmp_path / "in"))
    image.put(layout, *(f"app:{tag}" for tag in TAGS))
    signature = build_artifact(image.root)
    signature.put(layout)
    server = registry_factory(Quirks(referrers=404))
    with imgmove.Session(settings) as session:
        imgmove.load(f"oci:{tmp_path / 'in'}", f"{server.host}/", session=session).raise_failures()
    put = [request.path.rpartition("/")[2] for request in server.seen if request.method == "PUT"]
    manifests = [name for name in put if name.startswith("sha256:")]
    assert sorted(manifests) == sorted({str(node.descriptor.digest) for node in (*image.nodes, *signature.nodes)})
    assert sorted(name for name in put if name in TAGS) == TAGS


def test_one_that_fails_keeps_the_later_ones_not_from_moving(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout.writable(LocalFiles(), str(tmp_path / "in"))
    for tag in TAGS:
        build_image([{"own": tag.encode() * 900}]).put(layout, f"app:{tag}")
    with imgmove.Session(settings) as session:
        layer = imgmove.inspect(f"oci:{tmp_path}/in:app:v1", session=session).layers[0]
    (tmp_path / "in" / "blobs" / "sha256" / layer.digest.hex).write_bytes(b"something else")
    monkeypatch.setattr(stage, "MOST_TOGETHER", 2)
    with imgmove.Session(settings) as session:
        report = imgmove.load(f"oci:{tmp_path}/in", f"oci:{tmp_path}/out", session=session)
    assert [image.error is None for image in report.images] == [tag != "v1" for tag in TAGS]
    assert not any(image.error.__traceback__ for image in report.images if image.error), "frames hold what they knew"
