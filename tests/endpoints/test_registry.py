"""What real registries do that the spec does not foresee: each habit, and that images arrive all the same."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.layout import Layout
from imgmove.endpoints.registry import RegistrySource
from imgmove.errors import AccessDenied, ContentError, DigestMismatch, NetworkError, NotFound, ServerRefused, Truncated
from imgmove.model import media_types
from imgmove.model.credentials import Credentials
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import make_index
from imgmove.model.reference import Reference
from imgmove.settings import Settings, SideOptions
from imgmove.stages.report import ImageReport
from imgmove.wire.files import LocalFiles
from tests.images import BuiltImage, build_artifact, build_image, build_index, docker_archive
from tests.quirks import BlobOrigin, Drop, Failure, Quirks, RegistryServer, TokenAuth

BIG = random.Random(7).randbytes(3 << 20)
Factory = Callable[..., RegistryServer]


@pytest.fixture
def quick(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose retries do not wait."""
    from imgmove.engine.run import RetryPolicy

    monkeypatch.setattr(RetryPolicy, "delay", lambda *_: 0.0)
    return replace(settings, retries=6)


@pytest.fixture
def image() -> BuiltImage:
    return build_image([{"big": BIG}, {"small": b"x"}])


@pytest.fixture
def layout(tmp_path: Path, image: BuiltImage) -> str:
    image.put(Layout.writable(LocalFiles(), str(tmp_path / "layout")), "app:1")
    return f"oci:{tmp_path / 'layout'}:app:1"


def move(settings: Settings, source: str, destination: str, options: imgmove.CopyOptions | None = None) -> ImageReport:
    with imgmove.Session(settings) as session:
        return imgmove.copy(source, destination, options, session=session).images[0]


def there_and_back(settings: Settings, server: RegistryServer, layout: str, tmp_path: Path) -> None:
    """Pushes and pulls an image, and makes sure that all of it came."""
    for source, destination in ((layout, f"{server.host}/app:1"), (f"{server.host}/app:1", f"oci:{tmp_path / 'back'}")):
        report = move(settings, source, destination)
        assert report.error is None, report.error
    with imgmove.Session(settings) as session:
        imgmove.verify(layout, f"oci:{tmp_path / 'back'}", session=session).raise_differences()


HABITS = {
    "none": Quirks(),
    "location as a url": Quirks(location="url"),
    "location with a query": Quirks(location="query"),
    "relative location": Quirks(location="relative"),
    "no digest header": Quirks(digest_header="missing"),
    "no head": Quirks(head=False),
    "no ranges": Quirks(ranges=False, drops=(Drop("GET blob", 1 << 20),)),
    "no chunks": Quirks(chunks="refused"),
    "one chunk": Quirks(chunks="one"),
    "patch says 201": Quirks(patch_status=201, largest_request=1 << 20),
    "mounts refused": Quirks(mount="refused"),
    "mounts ignored": Quirks(mount="ignored"),
    "no referrers api": Quirks(referrers=404),
    "referrers answer 405": Quirks(referrers=405),
    "download breaks": Quirks(drops=(Drop("GET blob", 1 << 20, 3),)),
    "upload breaks": Quirks(drops=(Drop("PUT upload", 1 << 20, 2, "upload"),)),
    "upload breaks and range sticks": Quirks(drops=(Drop("PUT upload", 1 << 20, 2, "upload"),), stuck_range=True),
    "too many requests": Quirks(failures=(Failure("* manifest", 429, 2, "0"), Failure("* blob", 429, 2, "0"))),
    "server errors": Quirks(failures=tuple(Failure("* *", status, 1) for status in (500, 502, 503, 499, 522))),
    "manifest put fails once": Quirks(failures=(Failure("PUT manifest", 503, 1, "Wed, 21 Oct 2015 07:28:00 GMT"),)),
    "chunk minimum": Quirks(chunk_min_length=1 << 20),
    "tokens": Quirks(token=TokenAuth()),
    "tokens that soon expire": Quirks(token=TokenAuth(uses=4)),
    "tokens called access_token": Quirks(token=TokenAuth(field="access_token")),
    "tokens without oauth2": Quirks(token=TokenAuth(oauth2=False)),
    "tokens for the first scope": Quirks(token=TokenAuth(scopes="first")),
    "basic": Quirks(basic={"alice": "s3cret"}),
}


@pytest.mark.parametrize("habit", HABITS)
def test_habits(habit: str, quick: Settings, registry_factory: Factory, layout: str, tmp_path: Path) -> None:
    server = registry_factory(HABITS[habit])
    alice = SideOptions(Credentials("alice", "s3cret"))
    there_and_back(replace(quick, source=alice, destination=alice), server, layout, tmp_path)


def test_a_broken_download_goes_on_where_it_broke(
    quick: Settings, registry_factory: Factory, layout: str, tmp_path: Path
) -> None:
    server = registry_factory(Quirks(drops=(Drop("GET blob", 2 << 20, 1),)))
    # One at a time, the largest first: it is the one that breaks.
    there_and_back(replace(quick, jobs=1), server, layout, tmp_path)
    assert any("range" in {name.lower() for name in request.headers} for request in server.seen)
    assert server.sent("GET blob") < len(BIG) + (1 << 20)


def test_a_broken_upload_goes_on_where_it_broke(
    quick: Settings, registry_factory: Factory, layout: str, tmp_path: Path
) -> None:
    server = registry_factory(Quirks(drops=(Drop("PUT upload", 2 << 20, 1, "upload"),)))
    # One at a time, the largest first: it is the one that breaks.
    there_and_back(replace(quick, jobs=1), server, layout, tmp_path)
    assert server.count("GET upload") >= 1


def test_a_request_too_large_is_cut_up(quick: Settings, registry_factory: Factory, layout: str, tmp_path: Path) -> None:
    server = registry_factory(Quirks(largest_request=10 << 20))
    there_and_back(quick, server, layout, tmp_path)


def test_a_wrong_digest_header_is_no_reason_to_take_other_content(
    quick: Settings, registry_factory: Factory, layout: str, tmp_path: Path
) -> None:
    server = registry_factory(Quirks(digest_header="wrong"))
    build_image().put(server.storage.make("app"), "1")
    report = move(quick, f"{server.host}/app:1", f"oci:{tmp_path / 'out'}")
    assert isinstance(report.error, DigestMismatch)
    assert not (tmp_path / "out" / "index.json").exists()


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_a_question_about_referrers_that_is_not_answered(
    status: int, quick: Settings, registry_factory: Factory, tmp_path: Path
) -> None:
    server = registry_factory(Quirks(referrers=status))
    build_image().put(server.storage.make("app"), "1")
    report = move(quick, f"{server.host}/app:1", f"oci:{tmp_path / 'out'}")
    assert report.error is not None, "no answer is not the same as none"
    assert report.error.side == "source"
    assert (
        move(quick, f"{server.host}/app:1", f"oci:{tmp_path / 'out'}", imgmove.CopyOptions(referrers=False)).error
        is None
    )


@pytest.mark.parametrize("has_api", [True, False])
def test_referrers_travel(has_api: bool, quick: Settings, registry_factory: Factory, tmp_path: Path) -> None:
    quirks = Quirks() if has_api else Quirks(referrers=404)
    first, second = registry_factory(quirks), registry_factory(quirks)
    image = build_index("linux/amd64", "linux/arm64")
    of_root, of_child = build_artifact(image.root), build_artifact(image.nodes[0].descriptor, "application/x-child")
    of_sbom, tagged = (
        build_artifact(of_root.root, "application/x-signature"),
        build_artifact(None, "application/x-cosign"),
    )
    source = f"oci:{tmp_path / 'source'}"
    layout = Layout.writable(LocalFiles(), str(tmp_path / "source"))
    for item in (of_root, of_child, of_sbom):
        item.put(layout)
    tagged.put(layout, f"sha256-{image.root.digest.hex}.sig")
    image.put(layout, "app:1")
    route = [
        f"{source}:app:1",
        f"{first.host}/app:1",
        str(tmp_path / "a.tar"),
        f"{second.host}/other:1",
        f"oci:{tmp_path / 'end'}:app:1",
    ]
    for origin, target in itertools.pairwise(route):
        report = move(quick, origin, target)
        assert report.error is None, report.error
        assert report.referrers == 4, (origin, target)
    with imgmove.Session(quick) as session:
        imgmove.verify(route[0], route[-1], session=session).raise_differences()
        assert f"sha256-{image.root.digest.hex}.sig" in imgmove.tags(f"{second.host}/other", session=session)
    if not has_api:
        assert second.count("PUT manifest") >= 8, "the fallback tags are kept by us"


def test_an_unchanged_image_still_gets_new_signatures(
    quick: Settings, registry_factory: Factory, tmp_path: Path
) -> None:
    first, second = registry_factory(), registry_factory()
    image = build_image()
    image.put(first.storage.make("app"), "1")
    assert move(quick, f"{first.host}/app:1", f"{second.host}/app:1").status == "copied"
    assert move(quick, f"{first.host}/app:1", f"{second.host}/app:1").status == "present"
    build_artifact(image.root).put(first.storage.make("app"))
    report = move(quick, f"{first.host}/app:1", f"{second.host}/app:1")
    assert (report.status, report.referrers) == ("copied", 1)
    second.forget()
    assert move(quick, f"{first.host}/app:1", f"{second.host}/app:1").status == "present"
    assert second.count("* blob") == 0


def test_an_interrupted_copy_leaves_no_holes(
    quick: Settings, registry: RegistryServer, layout: str, image: BuiltImage
) -> None:
    # The manifest is there, as somebody else may have left it, but a layer isn't.
    node = image.nodes[0]
    registry.storage.make("app").put_manifest(node.content, node.media_type, ("0",))
    assert move(quick, layout, f"{registry.host}/app:1").error is None
    assert registry.content("app", node.children[1]) == image.blobs[node.children[1].digest]


def test_blobs_are_mounted_from_siblings(quick: Settings, registry: RegistryServer, layout: str) -> None:
    assert move(quick, layout, f"{registry.host}/one:1").error is None
    registry.forget()
    assert move(quick, layout, f"{registry.host}/two:1").error is None
    assert registry.received("PUT upload") == 0, "what was seen in one repository is mounted in the next"
    (Path(quick.knowledge_file)).unlink()
    registry.forget()
    assert move(quick, layout, f"{registry.host}/three:1").error is None
    assert registry.received("PUT upload") > len(BIG), "without knowledge it is sent again"
    (Path(quick.knowledge_file)).unlink()
    registry.forget()
    assert move(quick, f"{registry.host}/three:1", f"{registry.host}/four:1").error is None
    assert registry.received("PUT upload") == 0, "a sibling needs no knowledge"
    (Path(quick.knowledge_file)).unlink()
    archive = f"{Path(quick.knowledge_file).parent}.tar"
    assert move(quick, f"{registry.host}/four:1", archive).error is None
    registry.forget()
    assert move(quick, archive, f"{registry.host}/five:1").error is None
    assert registry.received("PUT upload") == 0, "what was read in one repository is mounted in the next"


def test_wrong_knowledge_costs_a_request(quick: Settings, registry_factory: Factory, layout: str) -> None:
    server = registry_factory()
    assert move(quick, layout, f"{server.host}/one:1").error is None
    server.storage.__init__()  # type: ignore[misc]
    assert move(quick, layout, f"{server.host}/two:1").error is None


def test_a_manifest_whose_children_are_put_by_others_too(
    quick: Settings, registry_factory: Factory, layout: str
) -> None:
    """Docker's registry finds no digest in the link to a child that somebody else puts just then."""
    server = registry_factory(Quirks(failures=(Failure("PUT manifest", 400, count=2, code="DIGEST_INVALID"),)))
    assert move(quick, layout, f"{server.host}/app:1").error is None
    refused = registry_factory(Quirks(failures=(Failure("PUT manifest", 400, count=2, code="MANIFEST_INVALID"),)))
    assert isinstance(move(quick, layout, f"{refused.host}/app:1").error, ServerRefused)


@pytest.mark.parametrize(
    ("quirks", "kind"),
    [
        (Quirks(flipped=1 << 20), DigestMismatch),
        (Quirks(length_error=-10), ContentError),
        (Quirks(redirect_to="loop"), ServerRefused),
    ],
)
def test_what_a_server_does_wrong_for_good(
    quirks: Quirks, kind: type[Exception], quick: Settings, registry_factory: Factory, image: BuiltImage, tmp_path: Path
) -> None:
    server = registry_factory(quirks)
    image.put(server.storage.make("app"), "1")
    for target in (f"oci:{tmp_path / 'out'}", str(tmp_path / "out.tar")):
        report = move(quick, f"{server.host}/app:1", target)
        assert report.error is not None
        assert isinstance(report.error, kind | NetworkError | ContentError | Truncated), report.error
        assert report.error.side == "source"
    assert not (tmp_path / "out" / "index.json").exists()
    left = [path.name for path in tmp_path.rglob("*") if path.is_file() and "imgmove" in path.name]
    # What broke off may go on another time; what is wrong never will.
    assert all(name.endswith(".partial") for name in left)
    assert not left or isinstance(report.error, NetworkError)
    assert not (tmp_path / "out.tar").exists()


def test_another_blob_is_never_committed(quick: Settings, registry_factory: Factory, image: BuiltImage) -> None:
    layer = image.nodes[0].children[1]
    source = registry_factory(Quirks(swapped={str(layer.digest): b"\x1f\x8b" + bytes(layer.size - 2)}))
    destination = registry_factory()
    image.put(source.storage.make("app"), "1")
    report = move(quick, f"{source.host}/app:1", f"{destination.host}/app:1")
    assert isinstance(report.error, ContentError)
    assert report.error.exit_status == 4
    with pytest.raises(NotFound):
        destination.storage.make("app").resolve("1")
    assert not destination.storage.make("app").holds(layer.digest)


def test_credentials_stay_with_their_origin(
    quick: Settings, registry_factory: Factory, image: BuiltImage, tmp_path: Path
) -> None:
    contents = {str(digest): content for digest, content in image.blobs.items()}
    with BlobOrigin(contents) as origin:
        server = registry_factory(Quirks(basic={"alice": "s3cret"}, redirect_to=origin.url))
        image.put(server.storage.make("app"), "1")
        settings = replace(quick, source=SideOptions(Credentials("alice", "s3cret")))
        assert move(settings, f"{server.host}/app:1", f"oci:{tmp_path / 'out'}").error is None
        assert origin.seen
        for request in origin.seen:
            assert "authorization" not in {name.lower() for name in request.headers}


def test_lists_in_pages(quick: Settings, registry_factory: Factory) -> None:
    server = registry_factory(Quirks(largest_page=7))
    image = build_image()
    image.put(server.storage.make("team/app"), *[f"v{number}" for number in range(30)])
    for number in range(20):
        image.put(server.storage.make(f"team/x{number}"), "1")
    image.put(server.storage.make("other/y"), "1")
    with imgmove.Session(quick) as session:
        assert imgmove.tags(f"{server.host}/team/app", session=session) == sorted(f"v{number}" for number in range(30))
        assert len(imgmove.repos(server.host, session=session)) == 22
        assert len(imgmove.repos(f"{server.host}/team", session=session)) == 21


def test_all_tags(quick: Settings, registry_factory: Factory) -> None:
    first, second = registry_factory(Quirks(largest_page=2)), registry_factory()
    build_image().put(first.storage.make("app"), "1", "2", "stable")
    build_image([{"other": b"x"}]).put(first.storage.make("app"), "3")
    with imgmove.Session(quick) as session:
        options = imgmove.CopyOptions(all_tags=True)
        report = imgmove.copy(f"{first.host}/app", f"{second.host}/copy/app", options, session=session)
        report.raise_failures()
        assert [str(image).partition("@")[0] for image in report.images] == [
            f"{second.host}/copy/app:{tag}" for tag in ("1", "2", "3", "stable")
        ]
        assert imgmove.tags(f"{second.host}/copy/app", session=session) == ["1", "2", "3", "stable"]
    assert first.count("GET blob") == len({*build_image().blobs, *build_image([{"other": b"x"}]).blobs})


def test_deleting_where_tags_cant_be_deleted(quick: Settings, registry_factory: Factory) -> None:
    server = registry_factory(Quirks(tag_delete=405))
    image = build_image()
    image.put(server.storage.make("app"), "1", "2")
    with imgmove.Session(quick) as session:
        imgmove.delete(f"{server.host}/app:1", session=session)
        assert imgmove.tags(f"{server.host}/app", session=session) == ["2"]
        assert imgmove.inspect(f"{server.host}/app:2", session=session).root.digest == image.root.digest
        imgmove.delete(f"{server.host}/app:2", session=session)
        assert imgmove.tags(f"{server.host}/app", session=session) == []


@pytest.mark.parametrize("is_nested", [False, True])
def test_deleting_a_name_for_one_image_of_an_index(
    quick: Settings, registry_factory: Factory, *, is_nested: bool
) -> None:
    server = registry_factory(Quirks(tag_delete=400))
    index = build_index("linux/amd64", "linux/arm64")
    outer = make_index(media_types.OCI_INDEX, [index.root])
    repository = server.storage.make("app")
    index.put(repository, *(() if is_nested else ("all",)))
    if is_nested:
        repository.put_manifest(outer.content, outer.media_type, ("all",))
    child = index.nodes[0]
    repository.put_manifest(child.content, child.media_type, ("amd64",))
    with imgmove.Session(quick) as session:
        imgmove.delete(f"{server.host}/app:amd64", session=session)
        assert imgmove.tags(f"{server.host}/app", session=session) == ["all"]
        imgmove.verify(f"{server.host}/app:all", session=session)


@pytest.mark.parametrize(("status", "count"), [(405, 9), (400, 3)])
def test_a_tag_that_cannot_be_deleted_stays_what_it_was(
    quick: Settings, registry_factory: Factory, status: int, count: int
) -> None:
    """Docker's registry allows no deleting unless told to; others may refuse only the manifest that was put aside."""
    server = registry_factory(Quirks(failures=(Failure("DELETE manifest", status, count),)))
    image = build_image()
    image.put(server.storage.make("app"), "1", "2")
    with imgmove.Session(quick) as session:
        with pytest.raises(ServerRefused):
            imgmove.delete(f"{server.host}/app:1", session=session)
        assert imgmove.tags(f"{server.host}/app", session=session) == ["1", "2"]
        assert imgmove.inspect(f"{server.host}/app:1", session=session).root.digest == image.root.digest
    assert server.count("PUT manifest") == (2 if status == 400 else 0)


def test_sha512(quick: Settings, registry: RegistryServer, tmp_path: Path) -> None:
    content = b"named by a longer hash"
    digest = Digest.of(content, "sha512")
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": Descriptor.of(b"{}", "application/vnd.oci.empty.v1+json").to_json(),
        "layers": [Descriptor("application/x-data", digest, len(content)).to_json()],
    }
    layout = Layout.writable(LocalFiles(), str(tmp_path / "in"))
    from tests.images import put_blob

    put_blob(layout, Descriptor.of(b"{}", "x"), b"{}")
    put_blob(layout, Descriptor("x", digest, len(content)), content)
    layout.put_manifest(json.dumps(document).encode(), str(document["mediaType"]), ("app:1",))
    route = [
        f"oci:{tmp_path / 'in'}:app:1",
        f"{registry.host}/app:1",
        str(tmp_path / "a.tar"),
        f"oci:{tmp_path / 'out'}",
    ]
    for origin, target in itertools.pairwise(route):
        report = move(quick, origin, target)
        assert report.error is None, report.error
    assert (tmp_path / "out" / "blobs" / "sha512" / digest.hex).read_bytes() == content


def test_a_needless_upload_from_a_pipe_is_cancelled(quick: Settings, registry: RegistryServer, tmp_path: Path) -> None:
    from imgmove.endpoints.factory import Endpoints
    from imgmove.model.location_grammar import parse_location
    from imgmove.stages.copy import copy

    image = build_image([{"a": BIG}])
    docker_archive(tmp_path / "d.tar", image)
    for number in range(2):
        (Path(quick.knowledge_file)).unlink(missing_ok=True)
        registry.forget()
        with imgmove.Session(quick) as session, (tmp_path / "d.tar").open("rb") as stream:
            session.endpoints = Endpoints(quick, stdin=stream)
            copy(session, [parse_location("-")], [parse_location(f"{registry.host}/app:{number}")]).raise_failures()
    assert registry.count("DELETE upload") >= 1
    assert len(registry.storage.make("app")._blobs) == 2


@pytest.mark.parametrize("name", ["alice", "mallory"])
def test_no_secret_is_shown(name: str, quick: Settings, registry_factory: Factory, layout: str) -> None:
    server = registry_factory(Quirks(token=TokenAuth()))
    wrong = SideOptions(Credentials(name, "hunter2-wrong"))
    report = move(replace(quick, destination=wrong), layout, f"{server.host}/app:1")
    assert isinstance(report.error, AccessDenied)
    assert "hunter2" not in str(report.error) + repr(report.error.__cause__)


def test_reading_all_tags_answers_the_question_for_digest_tags(quick: Settings, registry_factory: Factory) -> None:
    server = registry_factory(Quirks(largest_page=2, referrers=404))
    image = server.put_image("app", "1", "2", "3", "4", "5")
    with imgmove.Session(quick) as session:
        source = session.endpoints.registries.source(Reference.parse(f"{server.host}/app"))
        assert isinstance(source, RegistrySource)
        assert list(source.tags()) == ["1", "2", "3", "4", "5"]
        server.forget()
        assert list(source.referrers(image.digest)) == []
    # One for the API, none for the fallback tag and the three of cosign.
    assert [request.path for request in server.seen] == [f"/v2/app/referrers/{image.digest}"]


class Doorman:
    """Counts, and refuses from some request on."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[str] = []
        self.heard = 0

    def before(self, method: str, place: str) -> None:
        if len(self.asked) >= self.most:
            raise ServerRefused("enough for today")
        self.asked.append(f"{method} {place}")

    def after(self, headers: Mapping[str, str]) -> None:
        self.heard += "content-type" in headers


def test_a_gate_is_asked_before_every_request(quick: Settings, registry: RegistryServer) -> None:
    registry.put_image("app", "1")
    gate = Doorman(1)
    with imgmove.Session(quick) as session:
        session.endpoints.registries.gates[registry.host] = gate
        source = session.endpoints.registries.source(Reference.parse(f"{registry.host}/app"))
        source.resolve("1")
        with pytest.raises(ServerRefused, match="enough for today"):
            source.resolve("1")
    assert gate.asked == [f"HEAD {registry.url}/v2/app/manifests/1"]
    assert gate.heard == 1
