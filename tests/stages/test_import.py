"""Images out of root file systems: to every kind of place, alone and onto others, and what goes wrong."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import random
import resource
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
import zstandard

import imgmove
from imgmove.endpoints.factory import Endpoints
from imgmove.endpoints.layout import Layout
from imgmove.engine.run import RetryPolicy
from imgmove.errors import (
    AccessDenied,
    BeginningLost,
    DigestMismatch,
    ImgmoveError,
    LocalError,
    MalformedContent,
    NotFound,
    Truncated,
    UsageError,
)
from imgmove.model import media_types
from imgmove.model.digest import Digest
from imgmove.model.location_grammar import parse_location
from imgmove.model.platform import Platform
from imgmove.ports import Event, Note
from imgmove.rootfs.tar import END
from imgmove.settings import Settings, SideOptions
from imgmove.stages.import_ import ImportOptions, import_rootfs
from imgmove.wire.files import LocalFiles
from tests.images import build_artifact, build_image, build_index, docker_archive, tar_of
from tests.quirks import Drop, Failure, Quirks, RegistryServer

TAR = tar_of({"etc/hello": b"world", "big": random.Random(5).randbytes(300_000)})
EPOCH = "1700000000"
Factory = Callable[..., RegistryServer]


@pytest.fixture
def dated(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings at a fixed date, whose retries do not wait."""
    monkeypatch.setattr(RetryPolicy, "delay", lambda *_: 0.0)
    variables = {**settings.environment.variables, "SOURCE_DATE_EPOCH": EPOCH}
    return replace(settings, environment=replace(settings.environment, variables=variables))


@pytest.fixture
def session(dated: Settings) -> Iterator[imgmove.Session]:
    with imgmove.Session(dated) as session:
        yield session


def forgetful(settings: Settings, cache: Path) -> Settings:
    """Settings of somebody who has not been here before."""
    variables = {**settings.environment.variables, "XDG_CACHE_HOME": str(cache)}
    return replace(settings, environment=replace(settings.environment, variables=variables))


@pytest.fixture
def rootfs(tmp_path: Path) -> str:
    (tmp_path / "rootfs.tar").write_bytes(TAR)
    return str(tmp_path / "rootfs.tar")


def imported(
    session: imgmove.Session, rootfs: str, place: str, options: ImportOptions | None = None
) -> tuple[Digest, dict[str, Any], imgmove.Inspection]:
    """The digest, the config and the rest of a new image."""
    report = imgmove.import_rootfs(rootfs, place, options, session=session)
    report.raise_failures()
    digest = report.images[0].digest
    assert digest is not None
    with imgmove.Session(session.settings) as fresh:
        found = imgmove.inspect(place, session=fresh)
        assert found.root.digest == digest
        imgmove.verify(place, session=fresh).raise_differences()
    return digest, found.config, found


def packed(session: imgmove.Session, rootfs: str, place: str) -> Digest:
    return imported(session, rootfs, place)[0]


def test_the_image(session: imgmove.Session, rootfs: str, tmp_path: Path) -> None:
    options = ImportOptions(changes=['CMD ["/bin/app"]', "ENV A=1"], platform=Platform("linux", "arm", "v7"))
    _, config, found = imported(session, rootfs, f"oci:{tmp_path / 'out'}:app:1", options)
    assert config == {
        "created": "2023-11-14T22:13:20Z",
        "architecture": "arm",
        "os": "linux",
        "variant": "v7",
        "config": {"Cmd": ["/bin/app"], "Env": ["A=1"]},
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(TAR))]},
        "history": [{"created": "2023-11-14T22:13:20Z", "comment": "Imported from -"}],
    }
    (layer,) = found.layers
    assert layer.media_type == media_types.OCI_LAYER_GZIP
    content = (tmp_path / "out" / "blobs" / "sha256" / layer.digest.hex).read_bytes()
    assert gzip.decompress(content) == TAR


def test_this_machine_s_platform_and_time(settings: Settings, rootfs: str, tmp_path: Path) -> None:
    with imgmove.Session(settings) as session:
        _, config, _ = imported(session, rootfs, f"oci:{tmp_path / 'out'}:1", ImportOptions(message="by hand"))
    assert (config["os"], config["architecture"]) == ("linux", Platform.parse(os.uname().machine).architecture)
    assert config["created"] > "2026"
    assert config["history"] == [{"created": config["created"], "comment": "by hand"}]


def test_the_same_image_everywhere(
    dated: Settings, session: imgmove.Session, rootfs: str, tmp_path: Path, registry: RegistryServer
) -> None:
    places = [f"oci:{tmp_path / 'out'}:a", f"{registry.host}/a:1", str(tmp_path / "a.tar"), str(tmp_path / "a.tar.zst")]
    digests = {packed(session, rootfs, place) for place in places}
    output = io.BytesIO()
    with imgmove.Session(dated) as other:
        other.endpoints = Endpoints(dated, stdout=output)
        report = import_rootfs(other, rootfs, parse_location("-"))
    (tmp_path / "piped.tar").write_bytes(output.getvalue())
    assert report.images[0].digest == imgmove.inspect(str(tmp_path / "piped.tar"), session=session).root.digest
    assert digests == {report.images[0].digest}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("imgmove-")]


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda content: content,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": lambda content: zstandard.ZstdCompressor().compress(content),
}


def test_the_same_image_however_the_tar_is_packed(dated: Settings, session: imgmove.Session, tmp_path: Path) -> None:
    digests: set[Digest | None] = set()
    for kind, pack in PACKERS.items():
        (tmp_path / "rootfs").write_bytes(pack(TAR))
        digests.add(packed(session, str(tmp_path / "rootfs"), f"oci:{tmp_path / 'out'}:{kind}"))
        with imgmove.Session(dated) as other:
            other.endpoints = Endpoints(dated, stdin=io.BytesIO(pack(TAR)))
            piped = import_rootfs(other, "-", parse_location(f"oci:{tmp_path / 'out'}:{kind}-piped"))
            digests.add(piped.images[0].digest)
    assert len(digests) == 1


def test_a_folder(session: imgmove.Session, tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "etc").mkdir(parents=True, mode=0o755)
        folder.chmod(0o755)
        (folder / "etc" / "hello").write_text("world")
        (folder / "etc" / "hello").chmod(0o644)
        digests.add(packed(session, str(folder), f"oci:{tmp_path / 'out'}:{name}"))
    assert len(digests) == 1, "times after SOURCE_DATE_EPOCH are set to it"


@pytest.mark.parametrize(
    ("compression", "kind"),
    [("gzip", media_types.OCI_LAYER_GZIP), ("zstd", media_types.OCI_LAYER_ZSTD), ("none", media_types.OCI_LAYER)],
)
def test_compression(
    compression: Any, kind: str, session: imgmove.Session, rootfs: str, tmp_path: Path, registry: RegistryServer
) -> None:
    options = ImportOptions(compression=compression)
    for place in (f"{registry.host}/a:{compression}", f"oci:{tmp_path / 'out'}:1", str(tmp_path / "a.tar")):
        _, config, found = imported(session, rootfs, place, options)
        assert found.layers[0].media_type == kind
        assert config["rootfs"]["diff_ids"] == [str(Digest.of(TAR))]


def test_docker_s_format(session: imgmove.Session, rootfs: str, tmp_path: Path) -> None:
    found = imported(session, rootfs, str(tmp_path / "a.tar"), ImportOptions(format="docker"))[2]
    assert found.root.media_type == media_types.DOCKER_MANIFEST
    assert found.layers[0].media_type == media_types.DOCKER_LAYER_GZIP


class Web(BaseHTTPRequestHandler):
    """Sends /old on to /rootfs.tar.gz, and breaks the first answer in its middle."""

    def do_GET(self) -> None:
        if self.path.startswith("/old"):
            self.send_response(302)
            self.send_header("Location", "/rootfs.tar.gz")
            self.end_headers()
            return
        content = gzip.compress(TAR, mtime=0)
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:] if start else content[:150_000])

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_url(scheme: str, dated: Settings, rootfs: str, tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        if scheme == "https":
            authority = trustme.CA()
            authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1").configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        url = f"{scheme}://alice:s3cret@127.0.0.1:{server.server_address[1]}/old?token=s3cret"
        trusting = replace(dated, source=SideOptions(ca_files=(str(tmp_path / "ca.pem"),)))
        try:
            with imgmove.Session(trusting if scheme == "https" else dated) as session:
                _, config, _ = imported(session, url, f"oci:{tmp_path / 'out'}:1")
            if scheme == "https":
                with imgmove.Session(dated) as session, pytest.raises(AccessDenied, match="not trusted"):
                    imgmove.import_rootfs(url, f"oci:{tmp_path / 'out'}:2", session=session)
        finally:
            server.shutdown()
            thread.join()
    assert config["rootfs"]["diff_ids"] == [str(Digest.of(TAR))]
    origin = f"{scheme}://127.0.0.1:{server.server_address[1]}/old"
    assert config["history"][0]["comment"] == f"Imported from {origin}", "without secrets"


# --- onto another image


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.writable(LocalFiles(), str(tmp_path / "seed"))


def onto(place: str, *changes: str, **more: Any) -> ImportOptions:
    return ImportOptions(changes=changes, onto=parse_location(place), **more)


def test_one_more_layer(session: imgmove.Session, rootfs: str, layout: Layout, tmp_path: Path) -> None:
    base = build_image([{"a": b"1"}, {"b": b"2"}])
    base.put(layout, "base:1")
    places = [
        f"oci:{tmp_path / 'out'}:app:1",
        f"oci:{tmp_path / 'seed'}:app:1",
        *(f"{tmp_path}/a.{x}" for x in ("tar", "tar.gz")),
    ]
    digests = set()
    for place in places:
        options = onto(f"oci:{tmp_path / 'seed'}:base:1", "ENV A=1", message="more")
        digest, config, found = imported(session, rootfs, place, options)
        digests.add(digest)
        assert [layer.digest for layer in found.layers][:2] == [layer.digest for layer in base.nodes[0].children[1:]]
        assert config["rootfs"]["diff_ids"][2:] == [str(Digest.of(TAR))]
        assert config["config"] == {"Cmd": ["/hello"], "Env": ["A=1"]}
        assert config["history"] == [{"created": "2023-11-14T22:13:20Z", "comment": "more"}]
    assert len(digests) == 1


def test_a_base_with_half_a_surrogate_pair(
    session: imgmove.Session, rootfs: str, layout: Layout, tmp_path: Path
) -> None:
    base = build_image()
    base.put(layout, "whole:1")
    document = {**json.loads(base.nodes[0].content), "annotations": {"a": "\ud800"}}
    layout.put_manifest(json.dumps(document).encode(), base.nodes[0].media_type, ("base:1",))
    place = f"oci:{tmp_path / 'seed'}:base:1"
    _, _, found = imported(session, rootfs, f"oci:{tmp_path / 'out'}:app:1", onto(place))
    assert found.manifest is not None
    assert found.manifest.annotations == {"a": "?"}
    options = imgmove.CopyOptions(compression="zstd")
    imgmove.copy(place, f"oci:{tmp_path / 'out'}:zstd:1", options=options, session=session).raise_failures()


def test_only_the_new_layer_is_sent(
    session: imgmove.Session, rootfs: str, layout: Layout, tmp_path: Path, registry: RegistryServer
) -> None:
    image = build_image([{"a": b"1"}, {"b": b"2"}])
    image.put(layout, "base:1")
    build_artifact(image.root).put(layout)
    base = f"{registry.host}/base:1"
    imgmove.copy(f"oci:{tmp_path / 'seed'}:base:1", base, session=session).raise_failures()
    for place, mounts in ((f"{registry.host}/other:1", 2), (f"{registry.host}/base:2", 0)):
        before = len(registry.log)
        with imgmove.Session(forgetful(session.settings, tmp_path / place.rpartition("/")[2])) as fresh:
            imported(fresh, rootfs, place, onto(base))
            assert not imgmove.inspect(place, session=fresh).referrers, "what was said of the base is not said of this"
        requests = [exchange for exchange in registry.log[before:] if exchange.method in ("PUT", "POST", "GET")]
        mounted = [exchange for exchange in requests if "mount=" in exchange.query and exchange.status == 201]
        assert len(mounted) == mounts
        assert sum(exchange.method == "PUT" and "/uploads/" in exchange.path for exchange in requests) <= 2


def test_a_base_without_a_manifest(
    session: imgmove.Session, rootfs: str, tmp_path: Path, registry: RegistryServer
) -> None:
    docker_archive(tmp_path / "old.tar", build_image([{"a": b"1"}]))
    for compression, kinds in (
        ("keep", [media_types.OCI_LAYER_GZIP, media_types.OCI_LAYER_GZIP]),
        ("zstd", [media_types.OCI_LAYER, media_types.OCI_LAYER_ZSTD]),
    ):
        options = onto(str(tmp_path / "old.tar"), compression=compression)
        found = imported(session, rootfs, f"{registry.host}/app:{compression}", options)[2]
        assert [layer.media_type for layer in found.layers] == kinds


def test_what_was_sent_is_counted(
    session: imgmove.Session, rootfs: str, layout: Layout, tmp_path: Path, registry: RegistryServer
) -> None:
    build_image([{"a": b"1"}]).put(layout, "base:1")
    base = f"{registry.host}/base:1"
    imgmove.copy(f"oci:{tmp_path / 'seed'}:base:1", base, session=session).raise_failures()
    before = registry.received("* upload")
    alone = imgmove.import_rootfs(rootfs, f"{registry.host}/alone:1", session=session)
    middle = registry.received("* upload")
    assert alone.totals.bytes_sent == alone.images[0].bytes_sent == middle - before
    more = imgmove.import_rootfs(rootfs, f"{registry.host}/base:2", onto(base, "ENV a=1"), session=session)
    sent = registry.received("* upload") - middle
    # Of a new blob, a plan can only hope that it may be mounted: such is the config.
    (config,) = [blob for blob in more.plans[0].blobs if blob.fate == "mount"]
    assert more.totals.bytes_sent == more.images[0].bytes_sent == sent - config.descriptor.size
    assert (more.totals.blobs_sent, more.totals.blobs_present, more.totals.blobs_mounted) == (1, 1, 1)


def test_docker_s_format_is_kept(session: imgmove.Session, rootfs: str, layout: Layout, tmp_path: Path) -> None:
    build_image().put(layout, "oci:1")
    seed = f"oci:{tmp_path / 'seed'}"
    converted = imgmove.CopyOptions(format="docker")
    imgmove.copy(f"{seed}:oci:1", f"{seed}:docker:1", converted, session=session).raise_failures()
    _, config, found = imported(session, rootfs, f"{seed}:new:1", onto(f"{seed}:docker:1"))
    assert found.root.media_type == media_types.DOCKER_MANIFEST
    assert {layer.media_type for layer in found.layers} == {media_types.DOCKER_LAYER_GZIP}
    assert len(config["rootfs"]["diff_ids"]) == 2
    with pytest.raises(UsageError, match="no zstd layers"):
        imgmove.import_rootfs(rootfs, f"{seed}:x", onto(f"{seed}:docker:1", compression="zstd"), session=session)
    options = onto(f"{seed}:docker:1", compression="zstd", format="oci")
    found = imported(session, rootfs, f"{seed}:x", options)[2]
    assert [layer.media_type for layer in found.layers] == [media_types.OCI_LAYER_GZIP, media_types.OCI_LAYER_ZSTD]


def test_one_image_of_an_index(session: imgmove.Session, rootfs: str, layout: Layout, tmp_path: Path) -> None:
    build_index("linux/s390x", "linux/arm64", attested=True).put(layout, "base:1")
    base = f"oci:{tmp_path / 'seed'}:base:1"
    options = onto(base, platform=Platform.parse("linux/arm64"))
    assert imported(session, rootfs, f"oci:{tmp_path / 'out'}:1", options)[1]["architecture"] == "arm64"
    with pytest.raises(NotFound, match="s390x"):
        imgmove.import_rootfs(
            rootfs, f"oci:{tmp_path / 'out'}:2", onto(base, platform=Platform.parse("riscv64")), session=session
        )


def test_what_no_layer_can_be_put_onto(session: imgmove.Session, rootfs: str, layout: Layout, tmp_path: Path) -> None:
    build_artifact().put(layout, "sbom:1")
    build_image().put(layout, "amd:1")
    seed, out = f"oci:{tmp_path / 'seed'}", f"oci:{tmp_path / 'out'}:1"
    with pytest.raises(UsageError, match="no image"):
        imgmove.import_rootfs(rootfs, out, onto(f"{seed}:sbom:1"), session=session)
    with pytest.raises(NotFound):
        imgmove.import_rootfs(rootfs, out, onto(f"{seed}:none"), session=session)
    with pytest.raises(NotFound, match="amd64"):
        imgmove.import_rootfs(rootfs, out, onto(f"{seed}:amd:1", platform=Platform.parse("arm64")), session=session)
    with pytest.raises(UsageError, match="--change"):
        imgmove.import_rootfs(rootfs, out, onto(f"{seed}:amd:1", "WHAT x"), session=session)
    with pytest.raises(UsageError, match="pipe"):
        onto("-")
    assert not (tmp_path / "out").exists()


# --- what goes wrong


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", UsageError),
        (b"hello\n", UsageError),
        (bytes(range(256)) * 10, UsageError),
        (gzip.compress(b"hello\n", mtime=0), UsageError),
        (TAR[:100_000], Truncated),
        (TAR[:512], Truncated),
        (TAR[:1024], Truncated),
        (gzip.compress(TAR, mtime=0)[:100_000], Truncated),
        (gzip.compress(TAR, mtime=0)[:-4], Truncated),
        (gzip.compress(TAR, mtime=0)[:-8] + b"x" * 1000, MalformedContent),
        (TAR[:1024] + b"x" * 4096, MalformedContent),
        (zstandard.ZstdCompressor().compress(TAR)[:-9], Truncated),
    ],
)
def test_input_that_is_not_whole(
    content: bytes, error: type[Exception], session: imgmove.Session, tmp_path: Path, registry: RegistryServer
) -> None:
    (tmp_path / "rootfs").write_bytes(content)
    for place in (
        f"{registry.host}/a:1",
        str(tmp_path / "a.tar"),
        str(tmp_path / "a.tar.gz"),
        f"oci:{tmp_path / 'out'}",
    ):
        with pytest.raises(error, match="rootfs") as raised:
            imgmove.import_rootfs(str(tmp_path / "rootfs"), place, session=session).raise_failures()
        assert isinstance(raised.value, ImgmoveError)
        assert raised.value.side == "source"
    session.close()
    assert registry.count("PUT upload") == registry.count("PUT manifest") == 0
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(left) == ["oci-layout", "rootfs"] or left == ["rootfs"]


def test_a_bomb(session: imgmove.Session, tmp_path: Path) -> None:
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(tar_of({"zeros": bytes(50 << 20)})))
    with pytest.raises(MalformedContent, match="more than the 1000000 bytes"):
        imgmove.import_rootfs(
            str(tmp_path / "bomb.gz"), str(tmp_path / "a.tar"), ImportOptions(max_size=1_000_000), session=session
        )
    session.close()
    assert not (tmp_path / "a.tar").exists()


@pytest.mark.parametrize("place", ["oci:{}/out:1", "{}/a.tar", "{}/a.tar.gz"])
def test_a_full_disk(place: str, session: imgmove.Session, rootfs: str, tmp_path: Path) -> None:
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(LocalError, match="can't hold so large a file"):
            imgmove.import_rootfs(rootfs, place.format(tmp_path), session=session).raise_failures()
        session.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(set(left) - {"oci-layout", "knowledge.sqlite"}) == ["rootfs.tar"]


@pytest.mark.parametrize("change", ["FOO x", "ENV", "CMD [1]", "EXPOSE x", "ENV a='"])
def test_a_change_that_is_none(change: str) -> None:
    with pytest.raises(UsageError, match="--change"):
        ImportOptions(changes=["ENV fine=1", change])


@pytest.mark.parametrize(
    "wrong",
    [
        {"compression": "xz"},
        {"compression": "none", "compression_level": 1},
        {"compression_level": 20},
        {"format": "x"},
        {"compression": "zstd", "format": "docker"},
    ],
)
def test_options_that_contradict(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ImportOptions(**wrong)


def test_an_upload_that_breaks_goes_on(session: imgmove.Session, tmp_path: Path, registry_factory: Factory) -> None:
    (tmp_path / "big.tar").write_bytes(tar_of({"big": random.Random(2).randbytes(9 << 20)}))
    broken = registry_factory(Quirks(drops=(Drop("PATCH upload", 1 << 20, 2, "upload"),)))
    whole = registry_factory()
    rootfs = str(tmp_path / "big.tar")
    assert packed(session, rootfs, f"{broken.host}/a:1") == packed(session, rootfs, f"{whole.host}/a:1")


@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_an_upload_that_is_lost_begins_anew(
    kind: str, dated: Settings, rootfs: str, tmp_path: Path, registry_factory: Factory
) -> None:
    lossy = registry_factory(Quirks(failures=(Failure("PUT upload", 404),)))
    (tmp_path / "folder").mkdir()
    with imgmove.Session(dated) as session:
        packed(session, rootfs if kind == "tar" else str(tmp_path / "folder"), f"{lossy.host}/a:1")


def test_a_pipe_whose_upload_is_lost_can_not_begin_anew(
    dated: Settings, rootfs: str, monkeypatch: pytest.MonkeyPatch, registry_factory: Factory
) -> None:
    lossy = registry_factory(Quirks(failures=(Failure("PUT upload", 404),)))
    with open(rootfs, "rb") as stream, imgmove.Session(dated) as session:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
        with pytest.raises(BeginningLost, match="lost the upload"):
            imgmove.import_rootfs("-", f"{lossy.host}/a:1", session=session)
    assert not any(exchange.method == "PUT" and "/manifests/" in exchange.path for exchange in lossy.log)


def test_a_digest_that_is_demanded(
    session: imgmove.Session, rootfs: str, tmp_path: Path, registry: RegistryServer
) -> None:
    digest = packed(session, rootfs, f"oci:{tmp_path / 'out'}:1")
    assert packed(session, rootfs, f"{registry.host}/a:1@{digest}") == digest
    with pytest.raises(DigestMismatch, match="demands"):
        imgmove.import_rootfs(
            rootfs, f"{registry.host}/b:1@{digest}", ImportOptions(message="other"), session=session
        ).raise_failures()
    assert registry.count("PUT manifest") == 1


def test_a_destination_that_needs_a_name(session: imgmove.Session, rootfs: str, registry: RegistryServer) -> None:
    with pytest.raises(UsageError, match="no name of its own"):
        imgmove.import_rootfs(rootfs, f"{registry.host}/team/", session=session)


def test_what_a_person_should_know(dated: Settings, tmp_path: Path) -> None:
    heard: list[str] = []

    class Listening:
        def on(self, event: Event, /) -> None:
            if isinstance(event, Note):
                heard.append(event.text)

    (tmp_path / "x.tar").write_bytes(tar_of({"manifest.json": b"[]", "etc/.wh.x": b""}))
    with imgmove.Session(dated, Listening()) as session:
        imgmove.import_rootfs(str(tmp_path / "x.tar"), f"oci:{tmp_path / 'out'}:1", session=session)
    assert len(heard) == 2
    assert "archive of images" in heard[0]
    assert "will not show: 1" in heard[1]


@pytest.mark.parametrize("date", ["yesterday", "-1", "1.5", "9" * 12, "१"])
def test_a_date_that_is_none(date: str, settings: Settings, rootfs: str, tmp_path: Path) -> None:
    variables = {**settings.environment.variables, "SOURCE_DATE_EPOCH": date}
    dated = replace(settings, environment=replace(settings.environment, variables=variables))
    with imgmove.Session(dated) as session, pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        imgmove.import_rootfs(rootfs, f"oci:{tmp_path / 'out'}", session=session)


def test_a_folder_is_not_packed_into_itself(session: imgmove.Session, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "to-folder").symlink_to(folder)
    for place in (f"oci:{folder / 'out'}", f"oci:{folder}", f"{tmp_path}/to-folder/a.tar"):
        with pytest.raises(UsageError, match="lies in the folder"):
            imgmove.import_rootfs(str(folder), place, session=session)
    assert not list(folder.iterdir())
    imgmove.import_rootfs(str(folder), f"oci:{tmp_path / 'folder2'}", session=session).raise_failures()


def test_an_empty_tar_is_an_empty_image(session: imgmove.Session, tmp_path: Path) -> None:
    (tmp_path / "empty.tar").write_bytes(END)
    config = imported(session, str(tmp_path / "empty.tar"), f"oci:{tmp_path / 'out'}:1")[1]
    assert config["rootfs"]["diff_ids"] == [str(Digest.of(END))]
    assert json.dumps(config)
