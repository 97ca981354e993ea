from __future__ import annotations

from pathlib import Path

import pytest

from imgmove.endpoints.layout import Layout
from imgmove.wire.files import LocalFiles
from tests.cli.conftest import Run
from tests.images import build_image
from tests.quirks import RegistryServer


@pytest.fixture
def app(tmp_path: Path) -> str:
    build_image().put(Layout.writable(LocalFiles(), str(tmp_path / "app")), "app:1")
    return f"oci:{tmp_path / 'app'}:app:1"


def test_a_list_of_hosts(imgmove: Run, app: str, registry: RegistryServer, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("\ufeff# edges\r\none\r\n\ntwo  \none\n")
    (tmp_path / "failed").write_text("old\n")
    words = ("copy", app, "--hosts", "hosts", "--to", f"{registry.host}/{{}}/app:1", "--failed", "failed")
    ran = imgmove(*words)
    assert ran.status == 0, ran
    assert [line.partition("@")[0] for line in ran.stdout.splitlines()] == [
        f"{registry.host}/one/app:1",
        f"{registry.host}/two/app:1",
    ]
    assert (tmp_path / "failed").read_text() == ""


def test_those_that_failed_are_named_and_written_for_the_next_run(
    imgmove: Run, app: str, registry: RegistryServer, tmp_path: Path
) -> None:
    (tmp_path / "hosts").write_text(f"{registry.host}\n127.0.0.1:1\n")
    ran = imgmove("copy", app, "--hosts", "hosts", "--to={}/app:1", "--failed", "failed", "--retries", "0")
    assert ran.status == 3, ran
    assert ran.stdout.startswith(f"{registry.host}/app:1@sha256:")
    assert "127.0.0.1:1/app:1: " in ran.stderr
    assert "1 of 2 images failed" in ran.stderr
    assert (tmp_path / "failed").read_text() == "127.0.0.1:1\n"


def test_failed_without_a_list_holds_the_destinations(
    imgmove: Run, app: str, registry: RegistryServer, tmp_path: Path
) -> None:
    bad = "127.0.0.1:1/app:1"
    ran = imgmove("copy", app, f"--to={registry.host}/app:1", f"--to={bad}", "--failed", "failed", "--retries", "0")
    assert ran.status == 3, ran
    assert (tmp_path / "failed").read_text() == f"{bad}\n"
    ran = imgmove("copy", app, "--hosts", "failed", "--to", "{}", "--failed", "failed", "--retries", "0")
    assert ran.status == 1, ran
    assert (tmp_path / "failed").read_text() == f"{bad}\n"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("--hosts", "hosts", "--to", "reg/app"), 2),
        (("--hosts", "hosts", "--to", "{}/app", "--to", "{}/b"), 2),
        (("--hosts", "hosts"), 2),
        (("--failed", "failed"), 2),
        (("--hosts", "empty", "--to", "{}/app"), 2),
        (("--hosts", "none", "--to", "{}/app"), 1),
    ],
)
def test_what_can_not_be_filled_in(imgmove: Run, app: str, tmp_path: Path, words: tuple[str, ...], status: int) -> None:
    (tmp_path / "hosts").write_text("one\n")
    (tmp_path / "empty").write_text("# nothing\n")
    ran = imgmove("copy", app, *words)
    assert ran.status == status, ran
    assert len(ran.stderr.splitlines()) == 1, ran
