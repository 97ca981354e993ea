"""The pages for people, opened in Chromium."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from imgmove.airgap.inspection import InspectedImage
from imgmove.endpoints.layout import Layout
from imgmove.wire.files import LocalFiles
from tests.airgap.conftest import BASE, Connected, Run, noise
from tests.images import BuiltImage, build_image, make_manifest_from
from tests.quirks import RegistryServer
from tests.real.requirements import require


def opened(page: Path, folder: Path) -> str:
    """What a browser makes of a page, after everything in it has run."""
    require("chromium")
    done = subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"),
            *("--virtual-time-budget=1000", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_refers_to_an_image_is_counted() -> None:
    image = InspectedImage((), build_image().root, (), 0, 0, 0, None, ("SBOM", "signature", "signature", "x/y"), (), ())
    assert image.companions == "1 SBOM, 2 signatures, 1 x/y"


@pytest.mark.real
def test_the_approvers_page(connected: Connected, imgmove: Run, tmp_path: Path) -> None:
    assert imgmove("bundle", "create", "-q", "-o", "old.bundle", *connected.names).status == 0
    connected.push("team/app:2", build_image([BASE, noise(5)]))
    name = f"{connected.server.host}/team/app:2"
    assert imgmove("bundle", "create", "-q", "-o", "new.bundle", *connected.names, name).status == 0
    ran = imgmove("bundle", "inspect", "new.bundle", "--since", "old.bundle", "--html", "page.html")
    assert ran.status == 0, ran.stderr
    shown = opened(tmp_path / "page.html", tmp_path)
    for text in (
        "Air-gap bundle",
        name,
        "linux/amd64, linux/arm64",
        "1 SBOM",
        "1 signature",
        "not signed",
        "new</strong>",
    ):
        assert text in shown, text
    page = (tmp_path / "page.html").read_text()
    assert "http-equiv" in page
    assert not any(text in page for text in ("http://", "https://", "<script", "src="))


@pytest.mark.real
def test_the_report(connected: Connected, imgmove: Run, registry: RegistryServer, tmp_path: Path) -> None:
    assert imgmove("bundle", "keygen", "-o", "ours").status == 0
    assert imgmove("bundle", "create", "-q", "-o", "x.bundle", "--sign-key", "ours.key", *connected.names).status == 0
    words = (
        "bundle",
        "load",
        "-q",
        "x.bundle",
        "--to",
        f"{registry.host}/",
        "--key",
        "ours.pub",
        "--sign-key",
        "ours.key",
    )
    assert imgmove(*words, "--report", "report.html").status == 0
    assert imgmove(*words, "--reread", "--report", "report.json").status == 0
    shown = opened(tmp_path / "report.html", tmp_path)
    for text in ("Proof of loading", "all there", "checked with the key, valid", "present in full size"):
        assert text in shown, text
    assert (tmp_path / "report.html.sig").exists()
    assert imgmove("bundle", "verify", "report.json", "--key", "ours.pub").status == 0
    content = json.loads((tmp_path / "report.json").read_text())["content"]
    assert [image["proof"]["reread"] for image in content["images"]] == [True] * 3
    ran = imgmove(*words, "--report", "report.txt")
    assert (ran.status, ".json or .html" in ran.stderr) == (2, True)


def test_what_others_wrote_is_no_markup(imgmove: Run, tmp_path: Path) -> None:
    layout = Layout.writable(LocalFiles(), str(tmp_path / "layout"))
    image = build_image([BASE])
    document = json.loads(image.nodes[0].content)
    document["annotations"] = {"org.opencontainers.image.licenses": "<script>alert(1)</script>"}
    BuiltImage((make_manifest_from(document),), image.blobs).put(layout, "a:1")
    assert imgmove("bundle", "create", "-q", "-o", "x.bundle", "oci:layout").status == 0
    assert imgmove("bundle", "inspect", "x.bundle", "--html", "page.html").status == 0
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
