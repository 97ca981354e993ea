"""Archives and layouts as real tools wrote them, each on every way that it can go."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

import imgmove
from imgmove.endpoints.factory import Endpoints
from imgmove.errors import ImgmoveError
from imgmove.model.location_grammar import parse_location
from imgmove.settings import Settings
from imgmove.stages.copy import copy
from imgmove.stages.report import CopyReport
from tests.conftest import FIXTURES
from tests.quirks import RegistryServer

ARCHIVES = {
    "dive-oci-gzip.tar": 1,
    "dive-oci-zstd.tar": 1,
    "ggcr-hello-world-v25.tar": 1,
    "ggcr-test_bundle.tar": 2,
    "ggcr-test_image_1.tar": 1,
    "ggcr-whiteout_dir.tar": 1,
    "jib-docker-save.tar": 1,
    "podman-buildkit-oci.tar": 1,
    "podman-docker-name-only.tar.xz": 1,
    "podman-docker-two-images.tar.xz": 2,
    "podman-docker-two-names.tar.xz": 2,
    "podman-oci-name-only.tar.gz": 1,
    "podman-oci-registry-name.tar.gz": 1,
    "zarf-scratch.tar": 1,
}
"""How many names each holds. The other two are refused, each for its reason, in `test_wrong_input`."""

LAYOUTS = {
    "containers-artifact-index": 1,
    "containers-artifact-no-blobs": 1,
    "ggcr-test_index_one_image": 1,
    "oc-mirror-single-arch-empty-image": 1,
    "oc-mirror-single-arch-empty-image-sig": 1,
    "oras-py-ocilayout1": 1,
    "oras-zot-images": 7,
    "regclient-external": 2,
    "regclient-testrepo": 16,
    "stereoscope-multiplatform_oci_dir": 1,
    "zarf-crane-oci-layout": 5,
    "zarf-docker-graph-driver": 1,
}

BROKEN = {
    "containers-shared_blobs_dir": (5, "does not hold"),
    "containers-two_images_manifest": (5, "does not hold"),
    "oc-mirror-hello-manifestlist": (4, "has 741 bytes, not the 743"),
    "oc-mirror-rotten-layer": (4, "bytes, not the"),
    "trivy-invalid_oci_image": (5, "does not hold"),
}


@pytest.fixture
def session(settings: Settings) -> Iterator[imgmove.Session]:
    with imgmove.Session(settings) as session:
        yield session


def load(session: imgmove.Session, source: str, target: str) -> CopyReport:
    report = imgmove.load(source, target, session=session)
    report.raise_failures()
    return report


def digests(report: CopyReport) -> set[str]:
    return {str(image.digest) for image in report.images}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(name: str, session: imgmove.Session, registry: RegistryServer, tmp_path: Path) -> None:
    first = load(session, str(FIXTURES / "archives" / name), f"oci:{tmp_path / 'layout'}")
    assert len(first.images) == ARCHIVES[name]
    route = [f"oci:{tmp_path / 'layout'}", str(tmp_path / "again.tar"), f"oci:{tmp_path / 'end'}"]
    for origin, target in itertools.pairwise(route):
        assert digests(load(session, origin, target)) == digests(first)
    for number, image in enumerate(imgmove.verify(route[-1], session=session).images):
        place = f"{registry.host}/fixture:{number}"
        report = imgmove.copy(f"{route[-1]}@{image.verified.root.digest}", place, session=session)
        assert report.images[0].digest == image.verified.root.digest


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_out_of_a_pipe(name: str, settings: Settings, tmp_path: Path) -> None:
    content = (FIXTURES / "archives" / name).read_bytes()
    with imgmove.Session(settings) as session:
        expected = digests(load(session, str(FIXTURES / "archives" / name), f"oci:{tmp_path / 'file'}"))
    with imgmove.Session(settings) as session:
        session.endpoints = Endpoints(settings, stdin=io.BytesIO(content))
        report = copy(session, [parse_location("-")], [parse_location(f"oci:{tmp_path / 'pipe'}")], every=True)
    assert digests(report) == expected
    with imgmove.Session(settings) as session:
        imgmove.verify(f"oci:{tmp_path / 'pipe'}", session=session)
        assert imgmove.tags(f"oci:{tmp_path / 'pipe'}", session=session) == imgmove.tags(
            f"oci:{tmp_path / 'file'}", session=session
        )


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str, session: imgmove.Session, tmp_path: Path) -> None:
    source = f"oci:{FIXTURES / 'layouts' / name}"
    first = load(session, source, f"oci:{tmp_path / 'layout'}")
    assert len(first.images) == LAYOUTS[name]
    second = load(session, f"oci:{tmp_path / 'layout'}", str(tmp_path / "a.tar"))
    assert digests(second) == digests(first)
    assert digests(load(session, str(tmp_path / "a.tar"), f"oci:{tmp_path / 'end'}")) == digests(first)
    imgmove.verify(f"oci:{tmp_path / 'end'}", session=session)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_layouts(name: str, session: imgmove.Session, tmp_path: Path) -> None:
    status, message = BROKEN[name]
    report = imgmove.load(f"oci:{FIXTURES / 'layouts' / name}", f"oci:{tmp_path / 'out'}", session=session)
    for image in report.images:
        assert isinstance(image.error, ImgmoveError)
        assert image.error.exit_status == status
        assert message in str(image.error)
    assert not (tmp_path / "out" / "index.json").exists()


def test_referrers_of_a_layout_go_with_their_subjects(session: imgmove.Session, tmp_path: Path) -> None:
    source = f"oci:{FIXTURES / 'layouts' / 'regclient-testrepo'}"
    report = imgmove.copy(f"{source}:v2", f"oci:{tmp_path / 'out'}:v2", session=session)
    report.raise_failures()
    assert report.images[0].referrers >= 2
    wanted = {item.descriptor.digest for item in imgmove.inspect(f"{source}:v2", session=session).referrers}
    found = {
        item.descriptor.digest for item in imgmove.inspect(f"oci:{tmp_path / 'out'}:v2", session=session).referrers
    }
    assert found == wanted


def test_a_circle_of_referrers_ends(session: imgmove.Session, tmp_path: Path, registry: RegistryServer) -> None:
    source = f"oci:{FIXTURES / 'layouts' / 'regclient-testrepo'}"
    for name in ("loop", "child"):
        imgmove.copy(f"{source}:{name}", f"{registry.host}/{name}:1", session=session).raise_failures()
        imgmove.verify(f"{registry.host}/{name}:1", session=session)


def test_mislabelled_children_go_by_their_content(session: imgmove.Session, tmp_path: Path) -> None:
    source = f"oci:{FIXTURES / 'layouts' / 'ggcr-test_index'}"
    report = load(session, source, f"oci:{tmp_path / 'out'}")
    assert len(report.images) == 4
