"""Real images on every hop between real registries, layouts, archives and pipes; read back by skopeo and umoci."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import imgmove
from imgmove.model.credentials import Credentials
from imgmove.model.digest import Digest
from imgmove.settings import Settings, SideOptions
from tests.images import build_many_layers, docker_archive
from tests.real.fixtures import RealRegistry
from tests.real.requirements import require

pytestmark = pytest.mark.real

EDGE = "sha256:4176afe72d62845d8d8049dab09fc6e37d6f1287f44b09429b98e045b00997fd"
KINDS = ["plain", "tls", "token", "layout", "oci-archive", "docker-archive", "tar.zst", "pipe"]


@pytest.fixture
def places(
    tmp_path: Path, plain_registry: RealRegistry, tls_registry: RealRegistry, token_registry: RealRegistry
) -> Callable[[str, str], str]:
    """A location of each kind, new for each label."""
    run = uuid.uuid4().hex[:8]
    hosts = {"plain": plain_registry, "tls": tls_registry, "token": token_registry}

    def place(kind: str, label: str) -> str:
        if kind in hosts:
            return f"{hosts[kind].host}/t{run}/{label}:1"
        if kind == "layout":
            return f"oci:{tmp_path / label}:app:1"
        suffix = "tar.zst" if kind == "tar.zst" else "tar"
        path = tmp_path / f"{label}.{suffix}"
        return str(path) if kind in ("tar.zst", "pipe") else f"{kind}:{path}:app:1"

    return place


@pytest.fixture
def arguments(tls_registry: RealRegistry) -> list[str]:
    """What the command line needs to know of the registries."""
    return [
        *("--src-ca", tls_registry.ca_file, "--dest-ca", tls_registry.ca_file),
        *("--src-creds", "alice:s3cret", "--dest-creds", "alice:s3cret"),
    ]


def run(environment: dict[str, str], *words: str, stdin: Path | None = None, stdout: Path | None = None) -> str:
    """Runs imgmove; with files where a pipe would be, fed through a real pipe."""
    command = [sys.executable, "-m", "imgmove", *words]
    source = subprocess.Popen(["cat", str(stdin)], stdout=subprocess.PIPE) if stdin else None
    output = stdout.open("wb") if stdout else subprocess.PIPE
    done = subprocess.run(
        command, stdin=source.stdout if source else None, stdout=output, stderr=subprocess.PIPE, env=environment
    )
    if source and source.stdout:
        source.stdout.close()
        source.wait()
    if stdout:
        output.close()  # type: ignore[union-attr]
    assert done.returncode == 0, done.stderr.decode()
    return (done.stderr if stdout else done.stdout).decode()


@pytest.mark.parametrize(("source", "destination"), list(itertools.product(KINDS, KINDS)))
def test_every_hop_keeps_the_digest(
    source: str,
    destination: str,
    places: Callable[[str, str], str],
    arguments: list[str],
    environment: dict[str, str],
    images: Path,
) -> None:
    first, second = places(source, "first"), places(destination, "second")
    # A CA option implies TLS for all of a side, so the plain ones are told apart.
    first_options = _options(arguments, "src", source) + _options(arguments, "dest", destination)
    put_options = _options(arguments, "dest", source)
    run(environment, "copy", "-q", f"oci-archive:{images / 'edge.oci.tar'}", _written(first, source), *put_options)
    told = run(
        environment,
        "copy",
        "-q",
        "-" if source == "pipe" else first,
        "-" if destination == "pipe" else second,
        *first_options,
        stdin=Path(first) if source == "pipe" else None,
        stdout=Path(second) if destination == "pipe" else None,
    )
    assert EDGE in told
    checked = run(environment, "verify", second, *_options(arguments, "src", destination))
    assert EDGE in checked


def _options(arguments: list[str], side: str, kind: str) -> list[str]:
    if kind not in ("tls", "token", "plain"):
        return []
    wanted = [f"--{side}-creds"] if kind == "token" else [f"--{side}-creds", f"--{side}-ca"] if kind == "tls" else []
    return [word for name in wanted for word in (name, arguments[arguments.index(name) + 1])]


def _written(location: str, kind: str) -> str:
    return f"oci-archive:{location}" if kind == "pipe" else location


@pytest.mark.parametrize("name", ["edge", "edge-sparse", "edge-invalid-gnusparse", "edge-invalid-whiteout"])
def test_even_what_engines_refuse_moves_unchanged(
    name: str, images: Path, plain_registry: RealRegistry, settings: Settings, tmp_path: Path
) -> None:
    place = f"{plain_registry.host}/unchanged/{name}-{uuid.uuid4().hex[:8]}"
    with imgmove.Session(settings) as session:
        steps = [f"oci-archive:{images / name}.oci.tar", f"{place}:1", f"oci:{tmp_path / 'layout'}", f"{place}-again:1"]
        digests = set()
        for source, destination in itertools.pairwise(steps):
            report = imgmove.copy(source, destination, session=session)
            report.raise_failures()
            digests.add(report.images[0].digest)
        digests.add(imgmove.inspect(steps[0], session=session).root.digest)
        assert len(digests) == 1
        imgmove.verify(steps[0], f"{place}-again:1", session=session).raise_differences()


def test_sixty_layers(plain_registry: RealRegistry, settings: Settings, tmp_path: Path) -> None:
    from imgmove.endpoints.layout import Layout
    from imgmove.wire.files import LocalFiles

    image = build_many_layers()
    image.put(Layout.writable(LocalFiles(), str(tmp_path / "many")), "many:1")
    place = f"{plain_registry.host}/many/m{uuid.uuid4().hex[:8]}:1"
    with imgmove.Session(settings) as session:
        imgmove.copy(f"oci:{tmp_path / 'many'}", place, session=session).raise_failures()
        report = imgmove.copy(place, str(tmp_path / "many.tar"), session=session)
        assert report.images[0].digest == image.root.digest
        assert report.totals.blobs_sent == 61


def test_docker_20s_archive_gets_one_digest_by_every_way(
    images: Path, plain_registry: RealRegistry, environment: dict[str, str]
) -> None:
    archive, place = images / "edge.docker20.tar", f"{plain_registry.host}/d20/x{uuid.uuid4().hex[:8]}"
    from_file = run(environment, "copy", "-q", str(archive), f"{place}-file:1")
    from_pipe = run(environment, "copy", "-q", "-", f"{place}-pipe:1", stdin=archive)
    other_home = {**environment, "XDG_CACHE_HOME": environment["HOME"] + "/elsewhere"}
    anew = run(other_home, "copy", "-q", "-", f"{place}-anew:1", stdin=archive)
    assert len({text.strip().partition("@")[2] for text in (from_file, from_pipe, anew)}) == 1
    before = len(plain_registry.requests("PATCH"))
    run(environment, "copy", "-q", str(archive), f"{place}-file:2")
    assert len(plain_registry.requests("PATCH")) == before, "a second run from a file uploads nothing"
    config = json.loads(run(environment, "inspect", "--config", f"{place}-file:1"))
    layers = json.loads(run(environment, "inspect", "--json", f"{place}-file:1"))["layers"]
    assert len(config["rootfs"]["diff_ids"]) == len(layers) == 6
    assert all(layer["mediaType"].endswith("tar+gzip") for layer in layers)


def test_skopeo_reads_what_we_write(
    images: Path, plain_registry: RealRegistry, settings: Settings, tmp_path: Path
) -> None:
    require("skopeo")
    place = f"{plain_registry.host}/skopeo/x{uuid.uuid4().hex[:8]}"
    layout, archive = tmp_path / "layout", tmp_path / "x.tar"
    with imgmove.Session(settings) as session:
        source = f"oci-archive:{images / 'edge.oci.tar'}"
        imgmove.copy(
            source,
            [f"{place}:1", f"oci:{layout}:app:1", f"oci-archive:{archive}:reg.example.com/app:1"],
            session=session,
        ).raise_failures()
        imgmove.copy(source, f"oci:{layout}:other:2", session=session).raise_failures()
    for location in (f"docker://{place}:1", f"oci:{layout}:app:1", f"oci:{layout}:other:2", f"oci-archive:{archive}"):
        assert skopeo("inspect", location)["Digest"] == EDGE
    loaded = skopeo("inspect", f"docker-archive:{archive}:reg.example.com/app:1")
    assert len(loaded["Layers"]) == 6
    # And all of its content, not the names alone.
    skopeo("copy", f"oci-archive:{archive}", f"dir:{tmp_path / 'dir'}")
    skopeo("copy", f"docker-archive:{archive}:reg.example.com/app:1", f"dir:{tmp_path / 'dir2'}")


def test_we_read_what_skopeo_writes(images: Path, settings: Settings, tmp_path: Path) -> None:
    require("skopeo")
    source = f"oci-archive:{images / 'edge.oci.tar'}"
    for number, form in enumerate(("oci:{}:app", "oci-archive:{}:app", "docker-archive:{}:app:1")):
        path = tmp_path / f"{number}.tar"
        skopeo("copy", source, form.format(path))
        with imgmove.Session(settings) as session:
            (image,) = imgmove.verify(str(path), session=session).images
            if "docker" not in form:
                assert str(image.verified.root.digest) == EDGE
            imgmove.copy(str(path), f"oci:{tmp_path / 'out'}:{number}", session=session).raise_failures()


def test_umoci_unpacks_our_layout(images: Path, settings: Settings, tmp_path: Path) -> None:
    require("umoci")
    with imgmove.Session(settings) as session:
        imgmove.copy(
            f"oci-archive:{images / 'edge.oci.tar'}", f"oci:{tmp_path / 'l'}:app", session=session
        ).raise_failures()
    done = subprocess.run(
        ["umoci", "unpack", "--rootless", "--image", f"{tmp_path / 'l'}:app", str(tmp_path / "bundle")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bundle" / "rootfs").is_dir()


def skopeo(verb: str, *words: str) -> dict[str, Any]:
    """Runs skopeo; what it says as JSON, if anything."""
    insecure = "--tls-verify=false" if verb == "inspect" else "--src-tls-verify=false"
    done = subprocess.run(["skopeo", "--insecure-policy", verb, insecure, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if verb == "inspect" else {}


def test_scopes_and_passwords(
    images: Path, token_registry: RealRegistry, tls_registry: RealRegistry, settings: Settings
) -> None:
    source = f"oci-archive:{images / 'edge.oci.tar'}"
    place = f"{token_registry.host}/public/x{uuid.uuid4().hex[:8]}:1"

    def attempt(settings: Settings, source: str, destination: str) -> imgmove.ImgmoveError | None:
        with imgmove.Session(settings) as session:
            return imgmove.copy(source, destination, session=session).images[0].error

    alice, bob = SideOptions(Credentials("alice", "s3cret")), SideOptions(Credentials("bob", "hunter2"))
    wrong = SideOptions(Credentials("alice", "wr0ng-s3cret"))
    for side in (SideOptions(), bob, wrong):
        error = attempt(replace(settings, destination=side), source, place)
        assert error is not None
        assert error.exit_status == 6, error
        assert error.side == "destination"
        assert "wr0ng" not in str(error)
    assert attempt(replace(settings, destination=alice), source, place) is None
    assert attempt(settings, place, f"oci:{settings.environment.home}/x") is None, "everybody may read public/"
    with imgmove.Session(settings) as session, pytest.raises(imgmove.ImgmoveError) as caught:
        imgmove.tags(f"{tls_registry.host}/x", session=session)
    assert caught.value.exit_status in (1, 6)


def test_one_token_for_many_threads(images: Path, token_registry: RealRegistry, settings: Settings) -> None:
    assert token_registry.tokens is not None
    before = token_registry.tokens.requests
    alice = SideOptions(Credentials("alice", "s3cret"))
    with imgmove.Session(replace(settings, destination=alice)) as session:
        place = f"{token_registry.host}/tokens/x{uuid.uuid4().hex[:8]}:1"
        imgmove.copy(f"oci-archive:{images / 'edge.oci.tar'}", place, session=session).raise_failures()
    assert token_registry.tokens.requests - before == 1


def test_requests_are_few(images: Path, plain_registry: RealRegistry, settings: Settings) -> None:
    name = f"few/x{uuid.uuid4().hex[:8]}"
    with imgmove.Session(settings) as session:
        imgmove.copy(f"oci-archive:{images / 'edge.oci.tar'}", f"{plain_registry.host}/{name}:1", session=session)
    mine = plain_registry.requests(name)
    by_method = {method: len([line for line in mine if f'"{method} ' in line]) for method in ("HEAD", "POST", "PUT")}
    # Seven blobs: HEAD, POST, PUT each; the tag is asked for once and the manifest put once.
    assert by_method == {"HEAD": 8, "POST": 7, "PUT": 8}
    with imgmove.Session(settings) as session:
        imgmove.copy(f"oci-archive:{images / 'edge.oci.tar'}", f"{plain_registry.host}/{name}:1", session=session)
    assert len(plain_registry.requests(name)) == len(mine) + 1, "an unchanged image costs one HEAD"


def test_deleting_a_tag_leaves_its_siblings(images: Path, plain_registry: RealRegistry, settings: Settings) -> None:
    place = f"{plain_registry.host}/delete/x{uuid.uuid4().hex[:8]}"
    with imgmove.Session(settings) as session:
        imgmove.copy(f"oci-archive:{images / 'edge.oci.tar'}", f"{place}:1", session=session).raise_failures()
        imgmove.tag(f"{place}:1", ["2", "3"], session=session)
        imgmove.delete(f"{place}:2", session=session)
        assert imgmove.tags(place, session=session) == ["1", "3"]
        assert imgmove.inspect(f"{place}:1", session=session).root.digest == Digest.parse(EDGE)
        imgmove.delete(f"{place}:1", session=session)
        imgmove.delete(f"{place}:3", session=session)
        assert imgmove.tags(place, session=session) == []


def test_several_images_in_one_archive(
    images: Path, plain_registry: RealRegistry, environment: dict[str, str], tmp_path: Path
) -> None:
    prefix = f"{plain_registry.host}/several/x{uuid.uuid4().hex[:8]}"
    run(environment, "copy", "-q", f"oci-archive:{images / 'edge.oci.tar'}", f"{prefix}/edge:1")
    run(environment, "copy", "-q", f"oci-archive:{images / 'edge-sparse.oci.tar'}", f"{prefix}/sparse:1")
    archive = tmp_path / "both.tar"
    run(environment, "save", "-q", f"{prefix}/edge:1", f"{prefix}/sparse:1", "-o", str(archive))
    # They share all layers but one.
    assert archive.stat().st_size < 3_600_000
    told = run(environment, "load", "-q", "-i", str(archive), "--to", f"{prefix}-back/")
    assert told.count("@sha256:") == 2
    piped = run(environment, "load", "-q", "--to", f"oci:{tmp_path / 'layout'}", stdin=archive)
    assert piped.count("@sha256:") == 2
    again = tmp_path / "again.tar"
    run(environment, "save", "-q", f"{prefix}/edge:1", f"{prefix}/sparse:1", stdout=again)
    assert again.read_bytes() == archive.read_bytes(), "archives are written the same each time, to a pipe too"


def test_docker_archives_of_other_shapes(settings: Settings, tmp_path: Path, plain_registry: RealRegistry) -> None:
    image = build_many_layers(3)
    digests = set()
    for number, (is_first, is_lower) in enumerate(((False, False), (True, False), (False, True))):
        path = tmp_path / f"{number}.tar"
        docker_archive(path, image, manifest_first=is_first, lower=is_lower)
        with imgmove.Session(settings) as session:
            place = f"{plain_registry.host}/shapes/x{uuid.uuid4().hex[:8]}:1"
            report = imgmove.copy(str(path), place, session=session)
            report.raise_failures()
            digests.add(report.images[0].digest)
    assert len(digests) == 1
