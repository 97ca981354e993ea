"""Bundles and papers made by an attacker who knows the format: consistent in themselves, and lying."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from imgmove.airgap.check import check
from imgmove.airgap.documents import KINDS, Holdings, Request, seal, unseal
from imgmove.airgap.inspection import inspect_bundle
from imgmove.airgap.load import load
from imgmove.airgap.options import LoadBundleOptions
from imgmove.airgap.page import inspection_page, report_page
from imgmove.endpoints.bundle import open_bundle
from imgmove.errors import ImgmoveError
from imgmove.model.location import LayoutLocation
from imgmove.model.location_grammar import parse_location
from imgmove.settings import Settings
from imgmove.stages.session import Session
from imgmove.wire.files import LocalFiles
from tests.airgap.conftest import Connected, Run
from tests.airgap.test_trust import flip, members, signed
from tests.images import build_artifact, build_index
from tests.quirks import RegistryServer

__all__ = ["signed"]

ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1 << 70,
    1.5,
    "",
    "x",
    "../../etc/passwd",
    "\x1b[2Jred",
    "\ud800",
    [],
    {},
    [[]],
    "sha256:" + "0" * 64,
]


@pytest.fixture
def small(settings: Settings, imgmove: Run, tmp_path: Path) -> Path:
    """An unsigned bundle of an index with an attestation and an SBOM."""
    from imgmove.endpoints.layout import Layout

    layout = Layout.writable(LocalFiles(), str(tmp_path / "layout"))
    image = build_index("linux/amd64", "linux/arm64", attested=True)
    image.put(layout, "team/app:1")
    build_artifact(image.root).put(layout)
    assert imgmove("bundle", "create", "-q", "-o", "small.bundle", "oci:layout").status == 0
    return tmp_path / "small.bundle"


def rewritten(content: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The bundle with another imgmove.json of the same size, if it has room, so that all else stays where it is."""
    size = int(content[124:135], 8)
    document = json.loads(content[512 : 512 + size])
    change(document)
    if "checksum" in document:
        document["checksum"] = "0" * 64
    text = json.dumps(document, separators=(",", ":")).encode()[: size - 1].ljust(size - 1) + b"\n"
    text = text.replace(b"0" * 64, hashlib.sha256(text).hexdigest().encode(), 1)
    return content[:512] + text + content[512 + size :]


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a document with each of its keys."""
    for key in list(document) if isinstance(document, dict) else range(len(document)):
        yield document, key
        if isinstance(document[key], dict | list):
            yield from places(document[key])


def survives(session: Session, bundle: Path, far: Path) -> None:
    """Whatever a bundle says, only our own errors come of it, and nothing that was not whole is shown."""
    try:
        opened = open_bundle(LocalFiles(), [str(bundle)])
        check(session, opened)
        inspection_page(inspect_bundle(opened, opened)).decode()
        report = load(session, opened, LayoutLocation(str(far)), LoadBundleOptions())
        report_page(report).decode()
        seal("receipt", report.holdings.to_json())
    except ImgmoveError:
        pass


def test_indexes_that_lie(small: Path, settings: Settings) -> None:
    content, number = small.read_bytes(), 0
    with closing(Session(settings)) as session:

        @hypothesis.settings(
            max_examples=150, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], deadline=None
        )
        @hypothesis.given(st.data())
        def lie(data: st.DataObject) -> None:
            nonlocal number
            number += 1

            def change(document: dict[str, Any]) -> None:
                for _ in range(data.draw(st.integers(1, 2))):
                    found = list(places(document))
                    holder, key = found[data.draw(st.integers(0, len(found) - 1))]
                    kind = data.draw(st.sampled_from(["odd", "gone", "twice"]))
                    if kind == "odd":
                        holder[key] = copy.deepcopy(data.draw(st.sampled_from(ODD)))
                    elif kind == "gone":
                        del holder[key]
                    elif isinstance(holder, list):
                        holder.append(copy.deepcopy(holder[key]))

            small.write_bytes(rewritten(content, change))
            survives(session, small, small.parent / f"far{number}")

        lie()


def test_papers_that_lie() -> None:
    good: dict[str, dict[str, object]] = {
        "receipt": {"place": "x", "images": [{"name": "a:1", "digest": "sha256:" + "a" * 64}], "blobs": []},
        "request": {"bundle": "x", "images": [{"name": "a:1", "digest": "sha256:" + "a" * 64, "blobs": []}]},
    }

    @hypothesis.settings(max_examples=150, deadline=None)
    @hypothesis.given(st.sampled_from(sorted(good)), st.integers(0, 20), st.sampled_from(ODD))
    def lie(kind: str, where: int, odd: object) -> None:
        content = copy.deepcopy(good[kind])
        found = list(places(content))
        holder, key = found[where % len(found)]
        holder[key] = odd
        try:
            sealed = seal(kind, content)  # type: ignore[arg-type]
        except UnicodeEncodeError:
            return
        try:
            _, opened = unseal(sealed, "paper")
            Holdings.from_json(opened) if kind == "receipt" else Request.from_json(opened)
        except ImgmoveError:
            pass

    lie()


def test_a_signature_stands_for_one_kind_alone(imgmove: Run, tmp_path: Path) -> None:
    """What somebody signed as a receipt is no inventory, request or report of theirs, and no bundle."""
    from imgmove.airgap.keys import read_public_key, read_signing_key

    assert imgmove("bundle", "keygen", "-o", "ours").status == 0
    key, trusted = read_signing_key(str(tmp_path / "ours.key")), read_public_key(str(tmp_path / "ours.pub"))
    content: dict[str, object] = {"place": "x", "images": [], "blobs": []}
    sealed = {kind: json.loads(seal(kind, content, key.sign)) for kind in KINDS}
    for kind, document in sealed.items():
        unseal(json.dumps(document).encode(), "paper", accepts=trusted.accepts)
        for other in KINDS:
            if other != kind:
                forged = sealed[other] | {"signature": document["signature"]}
                with pytest.raises(ImgmoveError, match="another key"):
                    unseal(json.dumps(forged).encode(), "paper", accepts=trusted.accepts)


def test_a_bundle_signed_by_the_far_side(signed: Path, imgmove: Run, registry: RegistryServer) -> None:
    """The keys of the two sides do not stand for one another."""
    assert imgmove("bundle", "keygen", "-o", "receiver").status == 0
    ran = imgmove("bundle", "load", signed, "--to", f"{registry.host}/", "--key", "receiver.pub")
    assert (ran.status, "signed by another key" in ran.stderr) == (4, True)
    words = ("--receipt", "r.json", "--sign-key", "receiver.key")
    assert imgmove("bundle", "load", "-q", signed, "--to", f"{registry.host}/", *words).status == 0
    ran = imgmove("bundle", "create", "-o", "x.bundle", "--have", "r.json", "--key", "ours.pub", f"{registry.host}/x:1")
    assert (ran.status, "another key" in ran.stderr) == (4, True)


def test_members_before_the_first(signed: Path, imgmove: Run) -> None:
    """Another name for the first member in a pax header, which some readers of tars believe and some do not."""
    content = signed.read_bytes()
    records = b"20 path=imgmove.jsn\n"
    header = bytearray(content[:512])
    header[:100] = b"PaxHeader".ljust(100, b"\0")
    header[124:136] = f"{len(records):011o}\0".encode()
    header[156:157] = b"x"
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    signed.write_bytes(bytes(header) + records.ljust(512, b"\0") + content)
    for words in (("verify", signed), ("load", signed, "--to", "oci:far")):
        assert imgmove("bundle", *words).status in (2, 4)


CHANGED: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    "index.json": lambda path, _: flip(path, members(path)["index.json"].offset_data + 60),
    "manifest": lambda path, index: flip(path, index["manifests"][-1]["offset"] + 20),
    "config": lambda path, index: flip(path, min(index["blobs"], key=lambda item: item["size"])["offset"] + 1),
    "layer": lambda path, index: flip(path, max(index["blobs"], key=lambda item: item["size"])["offset"] + 100),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_bundle_that_changes_once_it_was_checked(
    what: str, signed: Path, registry: RegistryServer, settings: Settings, tmp_path: Path
) -> None:
    """As on a disk that somebody else writes to: the destination shows what was signed, or an error, and no tag."""
    from imgmove.airgap.keys import read_public_key

    index = json.loads(signed.read_bytes()[512:].split(b"\n")[0])
    with closing(Session(settings)) as session:
        bundle = open_bundle(LocalFiles(), [str(signed)])
        bundle.check_signature(read_public_key(str(tmp_path / "ours.pub")).accepts)
        CHANGED[what](signed, index)
        options = LoadBundleOptions()
        try:
            report = load(session, bundle, parse_location(f"{registry.host}/"), options)
        except ImgmoveError:
            report = None
        done = [image for image in report.images if image.report.error is None] if report is not None else []
        if what == "index.json":
            assert len(done) == 3, "it was read when it was checked, and is not read again"
        else:
            assert len(done) < 3
        for repository in registry.storage.names():
            place = registry.storage.find(repository)
            assert place is not None
            for tag in place.tags():
                from imgmove.engine.verify import verify

                verify(place, place.resolve(tag), session.pool, with_referrers=False).raise_first()


def test_a_request_may_ask_for_images_of_registries_alone(imgmove: Run, tmp_path: Path) -> None:
    """A paper from the far side is not to have files and engines of this side sent there."""
    for name in ("oci:secret", "docker-daemon:secret", "./secret.tar", "-"):
        request = Request("f00", [])
        content = request.to_json() | {"images": [{"name": name, "digest": "sha256:" + "a" * 64, "blobs": []}]}
        (tmp_path / "request.json").write_bytes(seal("request", content))
        ran = imgmove("bundle", "create", "-o", "gap.bundle", "--request", "request.json")
        assert ran.status == 2, ran.stderr
        assert "asks for" in ran.stderr


def test_hints_that_lie(connected: Connected, imgmove: Run, registry: RegistryServer, tmp_path: Path) -> None:
    """A receipt that says a blob is where it is not: the image is not shown, and what it lacks is named."""
    host = connected.server.host
    assert imgmove("bundle", "create", "-q", "-o", "all.bundle", f"{host}/team/web:1").status == 0
    assert imgmove("bundle", "load", "-q", "all.bundle", "--to", "oci:elsewhere", "--receipt", "r.json").status == 0
    content = json.loads((tmp_path / "r.json").read_bytes())["content"]
    for blob in content["blobs"]:
        blob["repositories"] = ["team/nothing"]
    (tmp_path / "r.json").write_bytes(seal("receipt", content))
    words = ("--have", "r.json", f"{host}/team/app:1", f"{host}/base/multi:2")
    assert imgmove("bundle", "create", "-q", "-o", "delta.bundle", *words).status == 0
    ran = imgmove("bundle", "load", "delta.bundle", "--to", f"{registry.host}/")
    assert ran.status == 3, ran.stderr
    assert "team/app:1 can't be completed: the destination lacks 1 blob" in ran.stderr
    assert "base/multi" in ran.stdout
    assert imgmove("tags", f"{registry.host}/team/app").stdout == ""


def test_volumes_of_the_same_bundle_that_were_cut_otherwise(connected: Connected, imgmove: Run, tmp_path: Path) -> None:
    for name, size in (("one", 150_000), ("two", 200_000)):
        words = ("-o", name, "--volume-size", size, *connected.names)
        assert imgmove("bundle", "create", "-q", *words).status == 0
    for mixed in (["one.001", "one.001", "two.002", "one.003"], ["two.002", "one.003", "one.001"]):
        ran = imgmove("bundle", "verify", *mixed)
        assert ran.status == 4
        assert [line for line in ran.stdout.splitlines() if line.startswith("volume 2 (two.002)")]
        assert "one.0" not in ran.stdout
    assert imgmove("bundle", "verify", "one.002", "one.001", "one.001", "one.003").status == 0


def test_a_size_of_volumes_that_can_not_be(connected: Connected, imgmove: Run, tmp_path: Path) -> None:
    """It is the fault of the volume that states it, not of who names it."""
    words = ("-o", "cut", "--volume-size", 150_000, *connected.names)
    assert imgmove("bundle", "create", "-q", *words).status == 0
    content = (tmp_path / "cut.002").read_bytes()
    for odd in (b'"volume_size":100000', b'"volume_size":    10', b'"volume_size":000000', b'"volume_size":999999'):
        (tmp_path / "cut.002").write_bytes(content.replace(b'"volume_size":150000', odd))
        ran = imgmove("bundle", "verify", "cut.002", "cut.001", "cut.003")
        assert ran.status == 4, ran.stderr
        assert "(cut.002)" in ran.stdout
        assert "cut.001" not in ran.stdout
