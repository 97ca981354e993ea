"""What a person may ask of a copy: platforms, conversions, names, several places at once."""

from __future__ import annotations

import gzip
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.layout import Layout
from imgmove.errors import UsageError
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import Index, Manifest, parse_manifest
from imgmove.model.platform import Platform
from imgmove.ports import Event, Note
from imgmove.settings import Settings
from imgmove.stages.report import CopyReport
from imgmove.wire.files import LocalFiles
from tests.images import (
    BuiltImage,
    build_artifact,
    build_image,
    build_index,
    docker_archive,
    make_manifest_from,
    put_blob,
)
from tests.quirks import RegistryServer

AMD, ARM = "linux/amd64", "linux/arm64"


class Listener:
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def on(self, event: Event, /) -> None:
        if isinstance(event, Note):
            self.notes.append(event.text)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def session(settings: Settings, listener: Listener) -> Iterator[imgmove.Session]:
    with imgmove.Session(settings, listener) as session:
        yield session


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.writable(LocalFiles(), str(tmp_path / "in"))


def place(tmp_path: Path, name: str = "app:1") -> str:
    return f"oci:{tmp_path / 'in'}:{name}"


def options(*, platforms: Sequence[str] = (), **rest: object) -> imgmove.CopyOptions:
    return imgmove.CopyOptions(platforms=tuple(Platform.parse(text) for text in platforms), **rest)  # type: ignore[arg-type]


def moved(session: imgmove.Session, source: str, target: str, wanted: imgmove.CopyOptions | None = None) -> CopyReport:
    report = imgmove.copy(source, target, wanted, session=session)
    report.raise_failures()
    return report


def stored(tmp_path: Path, digest: Digest | None, folder: str = "out") -> bytes:
    assert digest is not None
    return (tmp_path / folder / "blobs" / digest.algorithm / digest.hex).read_bytes()


# --- platforms


def test_one_platform_is_taken_as_it_is(session: imgmove.Session, layout: Layout, tmp_path: Path) -> None:
    image = build_index(AMD, ARM, attested=True)
    image.put(layout, "app:1")
    report = moved(session, place(tmp_path), f"oci:{tmp_path / 'out'}", options(platforms=[ARM]))
    index = image.nodes[-1]
    assert isinstance(index, Index)
    assert report.images[0].digest == index.manifests[2].digest
    assert report.totals.blobs_sent == 3, "nothing of the other platform"


def test_several_platforms_make_an_index_with_their_attestations(
    session: imgmove.Session, layout: Layout, tmp_path: Path, listener: Listener
) -> None:
    image = build_index(AMD, ARM, "linux/s390x", attested=True)
    image.put(layout, "app:1")
    report = moved(session, place(tmp_path), f"oci:{tmp_path / 'out'}", options(platforms=[ARM, AMD]))
    made = parse_manifest(stored(tmp_path, report.images[0].digest))
    index = image.nodes[-1]
    assert isinstance(made, Index)
    assert isinstance(index, Index)
    assert [child.digest for child in made.manifests] == [child.digest for child in index.manifests[:4]]
    assert any("digest of its own" in note for note in listener.notes)
    imgmove.verify(f"oci:{tmp_path / 'out'}", session=session)
    again = moved(session, place(tmp_path), f"oci:{tmp_path / 'out'}", options(platforms=[ARM, AMD]))
    assert again.images[0].status == "present"


def test_all_platforms_by_name_are_the_index_itself(session: imgmove.Session, layout: Layout, tmp_path: Path) -> None:
    image = build_index(AMD, ARM, attested=True)
    image.put(layout, "app:1")
    report = moved(session, place(tmp_path), f"oci:{tmp_path / 'out'}", options(platforms=[AMD, ARM]))
    assert report.images[0].digest == image.root.digest


def test_an_index_in_an_index(session: imgmove.Session, tmp_path: Path, settings: Settings) -> None:
    from tests.conftest import FIXTURES

    source = f"oci:{FIXTURES / 'layouts' / 'stereoscope-multiplatform_oci_dir'}"
    whole = moved(session, source, f"oci:{tmp_path / 'out'}:whole")
    assert whole.images[0].digest == imgmove.inspect(source, session=session).root.digest
    for platform in (AMD, ARM):
        report = moved(session, source, f"oci:{tmp_path / 'out'}:one", options(platforms=[platform]))
        assert str(imgmove.inspect(f"oci:{tmp_path / 'out'}:one", session=session).platform).startswith(platform)
        assert report.images[0].digest != whole.images[0].digest


# --- conversions


@pytest.mark.parametrize(("wanted", "suffix"), [("gzip", "+gzip"), ("zstd", "+zstd"), ("none", "")])
@pytest.mark.parametrize("before", ["gzip", "none"])
def test_compression(
    wanted: str, suffix: str, before: str, session: imgmove.Session, layout: Layout, tmp_path: Path
) -> None:
    image = build_image([{"a": b"a" * 100_000}, {"b": b"b"}], compression=before)
    image.put(layout, "app:1")
    report = moved(session, place(tmp_path), f"oci:{tmp_path / 'out'}", options(compression=wanted))
    node = parse_manifest(stored(tmp_path, report.images[0].digest))
    assert isinstance(node, Manifest)
    assert [layer.media_type for layer in node.layers] == [media_types.OCI_LAYER + suffix] * 2
    if wanted != before:
        assert node.descriptor != image.root
    original = image.nodes[0]
    assert isinstance(original, Manifest)
    assert node.config == original.config, "the config knows the uncompressed layers, so it stays"
    imgmove.verify(f"oci:{tmp_path / 'out'}", session=session)
    back = moved(session, f"oci:{tmp_path / 'out'}", f"oci:{tmp_path / 'back'}", options(compression="none"))
    plain = parse_manifest(stored(tmp_path, back.images[0].digest, "back"))
    config = json.loads(image.blobs[original.config.digest]) if original.config else {}
    assert [str(layer.digest) for layer in plain.children[1:]] == config["rootfs"]["diff_ids"]


@pytest.mark.parametrize("target", ["oci:{}/out", "{}/out.tar", "{}/out.tar.zst"])
def test_converting_an_index_keeps_its_attestations_in_step(
    target: str, session: imgmove.Session, layout: Layout, tmp_path: Path
) -> None:
    image = build_index(AMD, ARM, attested=True)
    image.put(layout, "app:1")
    moved(session, place(tmp_path), target.format(tmp_path), options(compression="zstd"))
    out = target.format(tmp_path)
    (verified,) = imgmove.verify(out, session=session).images
    index = verified.verified.nodes[0]
    assert isinstance(index, Index)
    digests = {str(child.digest) for child in index.manifests}
    for child in index.manifests[1::2]:
        assert child.annotations["vnd.docker.reference.digest"] in digests


def test_signatures_of_what_was_changed_stay_behind_and_that_is_said(
    session: imgmove.Session, layout: Layout, tmp_path: Path, listener: Listener
) -> None:
    image = build_image([{"a": b"a" * 1000}])
    image.put(layout, "app:1")
    build_artifact(image.root).put(layout)
    report = moved(session, place(tmp_path), f"oci:{tmp_path / 'out'}", options(compression="zstd"))
    assert report.images[0].referrers == 0
    assert any("1 referrer" in note and "left behind" in note for note in listener.notes)


@pytest.mark.parametrize("way", ["docker", "oci"])
def test_formats(way: str, session: imgmove.Session, layout: Layout, tmp_path: Path) -> None:
    build_index(AMD, ARM).put(layout, "app:1")
    moved(session, place(tmp_path), f"oci:{tmp_path / 'docker'}:app:1", options(format="docker"))
    source = f"oci:{tmp_path / 'docker'}:app:1" if way == "oci" else place(tmp_path)
    report = moved(session, source, f"oci:{tmp_path / 'out'}", options(format=way))
    index = parse_manifest(stored(tmp_path, report.images[0].digest))
    assert index.media_type == (media_types.DOCKER_LIST if way == "docker" else media_types.OCI_INDEX)
    assert isinstance(index, Index)
    for child in index.manifests:
        node = parse_manifest(stored(tmp_path, child.digest))
        kinds = {item.media_type for item in node.children}
        expected = (
            {media_types.DOCKER_CONFIG, media_types.DOCKER_LAYER_GZIP}
            if way == "docker"
            else {media_types.OCI_CONFIG, media_types.OCI_LAYER_GZIP}
        )
        assert kinds == expected
        assert node.media_type == child.media_type


def test_dockers_format_has_no_zstd(session: imgmove.Session, layout: Layout, tmp_path: Path) -> None:
    build_image().put(layout, "app:1")
    report = imgmove.copy(
        place(tmp_path), f"oci:{tmp_path / 'out'}", options(format="docker", compression="zstd"), session=session
    )
    assert isinstance(report.images[0].error, UsageError)


def test_artifacts_are_never_converted(session: imgmove.Session, layout: Layout, tmp_path: Path) -> None:
    artifact = build_artifact()
    artifact.put(layout, "sbom:1")
    report = moved(
        session, place(tmp_path, "sbom:1"), f"oci:{tmp_path / 'out'}", options(compression="zstd", format="docker")
    )
    assert report.images[0].digest == artifact.root.digest


@pytest.mark.parametrize(
    ("kind", "is_refused"),
    [
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", False),
        ("application/vnd.oci.image.layer.v1.tar+unknown", True),
    ],
)
def test_layers_that_nobody_can_read(
    kind: str, is_refused: bool, session: imgmove.Session, layout: Layout, tmp_path: Path
) -> None:
    image = build_image()
    document = json.loads(image.nodes[0].content)
    document["layers"][0]["mediaType"] = kind
    BuiltImage((make_manifest_from(document),), image.blobs).put(layout, "app:1")
    assert moved(session, place(tmp_path), f"oci:{tmp_path / 'out'}").images[0].status == "copied"
    report = imgmove.copy(place(tmp_path), f"oci:{tmp_path / 'two'}", options(compression="zstd"), session=session)
    assert isinstance(report.images[0].error, UsageError) == is_refused


def test_old_docker_archives_keep_their_layers_in_files(session: imgmove.Session, tmp_path: Path) -> None:
    image = build_image([{"a": b"a" * 5000}])
    docker_archive(tmp_path / "d.tar", image)
    report = moved(session, str(tmp_path / "d.tar"), f"oci:{tmp_path / 'out'}")
    node = parse_manifest(stored(tmp_path, report.images[0].digest))
    assert [layer.media_type for layer in node.children[1:]] == [media_types.OCI_LAYER]
    assert stored(tmp_path, node.children[1].digest) == gzip.decompress(image.blobs[image.nodes[0].children[1].digest])


# --- content that is somewhere else


def test_foreign_layers_keep_their_urls_and_are_not_fetched(
    session: imgmove.Session, layout: Layout, tmp_path: Path, registry: RegistryServer
) -> None:
    image = build_image()
    document = json.loads(image.nodes[0].content)
    foreign = Descriptor(
        media_types.DOCKER_FOREIGN_LAYER + ".gzip", Digest.of(b"far away"), 8, ("https://example.com/x",)
    )
    document["layers"].append(foreign.to_json())
    built = BuiltImage((make_manifest_from(document),), image.blobs)
    built.put(layout, "app:1")
    for origin, target in (
        (place(tmp_path), f"{registry.host}/app:1"),
        (f"{registry.host}/app:1", str(tmp_path / "a.tar")),
        (str(tmp_path / "a.tar"), f"oci:{tmp_path / 'out'}"),
    ):
        assert moved(session, origin, target).images[0].digest == built.root.digest


def test_content_inside_its_descriptor(session: imgmove.Session, layout: Layout, tmp_path: Path) -> None:
    config = Descriptor(media_types.OCI_EMPTY, Digest.of(b"{}"), 2, data=b"{}")
    document = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "artifactType": "application/x",
        "config": config.to_json(),
        "layers": [],
    }
    BuiltImage((make_manifest_from(document),), {}).put(layout, "app:1")
    moved(session, place(tmp_path), f"oci:{tmp_path / 'out'}")
    assert stored(tmp_path, config.digest) == b"{}"


# --- names


def test_where_names_come_from(session: imgmove.Session, tmp_path: Path, registry: RegistryServer) -> None:
    build_image().put(registry.storage.make("team/app"), "1")
    source = f"{registry.host}/team/app:1"
    assert moved(session, source, f"oci:{tmp_path / 'l'}").images[0].destination == f"oci:{tmp_path / 'l'}:team/app:1"
    moved(session, source, str(tmp_path / "a.tar"))
    assert imgmove.tags(str(tmp_path / "a.tar"), session=session) == [source]
    report = moved(session, source, f"{registry.host}/copies/")
    assert report.images[0].destination == f"{registry.host}/copies/team/app:1"
    report = moved(session, str(tmp_path / "a.tar"), f"{registry.host}/more/")
    assert report.images[0].destination == f"{registry.host}/more/team/app:1"
    report = moved(session, source, f"{registry.host}/other")
    assert report.images[0].destination == f"{registry.host}/other:latest"


def test_names_in_docker_manifest_are_full(session: imgmove.Session, layout: Layout, tmp_path: Path) -> None:
    import tarfile

    build_index(ARM, AMD).put(layout, "app:1")
    moved(session, place(tmp_path), f"docker-archive:{tmp_path / 'a.tar'}:app:1")
    with tarfile.open(tmp_path / "a.tar") as archive:
        file = archive.extractfile("manifest.json")
        assert file
        (entry,) = json.loads(file.read())
        index_file = archive.extractfile("index.json")
        assert index_file
        (root,) = json.loads(index_file.read())["manifests"]
        assert set(entry["Layers"]) <= set(archive.getnames())
        config = archive.extractfile(entry["Config"])
        assert config
        assert json.loads(config.read())["architecture"] == "amd64", "of an index, linux/amd64 is the one"
    assert entry["RepoTags"] == ["docker.io/library/app:1"]
    assert root["annotations"] == {
        "org.opencontainers.image.ref.name": "app:1",
        "io.containerd.image.name": "docker.io/library/app:1",
    }


def test_more_tags(session: imgmove.Session, layout: Layout, tmp_path: Path, registry: RegistryServer) -> None:
    build_image().put(layout, "app:1")
    wanted = options(additional_tags=("stable", "edge"))
    moved(session, place(tmp_path), f"{registry.host}/app:1", wanted)
    moved(session, place(tmp_path), f"oci:{tmp_path / 'out'}:app:1", wanted)
    assert imgmove.tags(f"{registry.host}/app", session=session) == ["1", "edge", "stable"]
    assert imgmove.tags(f"oci:{tmp_path / 'out'}", session=session) == ["app:1", "app:edge", "app:stable"]


def test_several_destinations_and_sources(
    session: imgmove.Session, layout: Layout, tmp_path: Path, registry: RegistryServer
) -> None:
    shared = {"shared": b"s" * 50_000}
    build_image([shared, {"a": b"a"}]).put(layout, "a:1")
    build_image([shared, {"b": b"b"}]).put(layout, "b:1")
    report = imgmove.copy(
        [place(tmp_path, "a:1"), place(tmp_path, "b:1")],
        [f"{registry.host}/x/", str(tmp_path / "both.tar"), f"oci:{tmp_path / 'out'}"],
        session=session,
    )
    report.raise_failures()
    assert len(report.images) == 6
    assert imgmove.tags(str(tmp_path / "both.tar"), session=session) == [
        "docker.io/library/a:1",
        "docker.io/library/b:1",
    ]
    # Five blobs, each sent to the registry once: the shared one is mounted into the second repository.
    assert registry.count("PUT upload") == 5


def test_a_dry_run_moves_nothing(
    session: imgmove.Session, layout: Layout, tmp_path: Path, registry: RegistryServer
) -> None:
    image = build_image()
    image.put(layout, "app:1")
    report = imgmove.copy(
        place(tmp_path),
        [f"{registry.host}/app:1", f"oci:{tmp_path / 'out'}", str(tmp_path / "a.tar")],
        options(dry_run=True),
        session=session,
    )
    assert [item.status for item in report.images] == ["planned"] * 3
    assert {item.digest for item in report.images} == {image.root.digest}
    assert report.totals.blobs_sent == 6
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "a.tar").exists()
    assert registry.count("POST upload") == 0
    document = report.to_json()
    assert json.loads(json.dumps(document)) == document


def test_layouts_and_archives_are_the_same_each_time(session: imgmove.Session, layout: Layout, tmp_path: Path) -> None:
    build_index(AMD, ARM, attested=True).put(layout, "app:1")
    contents = set()
    for number in range(3):
        moved(session, place(tmp_path), str(tmp_path / f"{number}.tar"))
        contents.add((tmp_path / f"{number}.tar").read_bytes())
    assert len(contents) == 1
    packed = set()
    for number in range(2):
        moved(session, place(tmp_path), str(tmp_path / f"{number}.tar.gz"))
        packed.add((tmp_path / f"{number}.tar.gz").read_bytes())
    assert len(packed) == 1
    assert {gzip.decompress(content) for content in packed} == contents


# --- many at the same time


def _copy_one(source: str, target: str, home: str) -> None:
    from imgmove.settings.environment import Environment

    settings = Settings(Environment({"HOME": home}, home, home))
    with imgmove.Session(settings) as session:
        imgmove.copy(source, target, session=session).raise_failures()


def test_twenty_processes_write_one_layout(layout: Layout, tmp_path: Path, session: imgmove.Session) -> None:
    for number in range(20):
        build_image([{"shared": b"s" * 100_000}, {"own": bytes([number])}]).put(layout, f"app:{number}")
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(
            target=_copy_one,
            args=(place(tmp_path, f"app:{number}"), f"oci:{tmp_path / 'out'}:app:{number}", str(tmp_path)),
        )
        for number in range(20)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len(imgmove.tags(f"oci:{tmp_path / 'out'}", session=session)) == 20
    assert len(imgmove.verify(f"oci:{tmp_path / 'out'}", session=session).images) == 20
    assert not list((tmp_path / "out").rglob(".imgmove*"))


def test_verify_names_each_difference(session: imgmove.Session, layout: Layout, tmp_path: Path) -> None:
    one, two = build_image([{"a": b"a"}]), build_image([{"b": b"b"}])
    one.put(layout, "one:1")
    two.put(layout, "two:1")
    report = imgmove.verify(place(tmp_path, "one:1"), place(tmp_path, "two:1"), session=session)
    text = "\n".join(report.differences)
    for digest in (one.root.digest, two.root.digest, *one.blobs, *two.blobs):
        assert str(digest) in text
    with pytest.raises(imgmove.ImgmoveError) as caught:
        report.raise_differences()
    assert caught.value.exit_status == 4
    put_blob(layout, Descriptor.of(b"x", "x"), b"x")
    build_artifact(one.root).put(layout)
    imgmove.copy(place(tmp_path, "one:1"), f"oci:{tmp_path / 'o'}:one:1", options(referrers=False), session=session)
    assert (
        len(imgmove.verify(place(tmp_path, "one:1"), f"oci:{tmp_path / 'o'}:one:1", session=session).differences) == 3
    )


def test_layouts_keep_names_to_the_letter(session: imgmove.Session, tmp_path: Path) -> None:
    place = Layout.writable(LocalFiles(), str(tmp_path / "in"))
    for name in ("app:1", "latest", "docker.io/library/web:2"):
        build_image([{"name": name.encode()}]).put(place, name)
    report = imgmove.load(f"oci:{tmp_path}/in", f"oci:{tmp_path}/out", session=session)
    report.raise_failures()
    assert imgmove.tags(f"oci:{tmp_path}/out", session=session) == ["app:1", "docker.io/library/web:2", "latest"]
