"""``imgmove import`` as people call it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.images import tar_of
from tests.quirks import RegistryServer


@pytest.fixture(autouse=True)
def rootfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root file system in the folder where commands run, and a fixed date."""
    (tmp_path / "rootfs.tar").write_bytes(tar_of({"hello": b"world"}))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


def test_it_prints_where_the_image_is(imgmove: Run, registry: RegistryServer) -> None:
    ran = imgmove("import", "rootfs.tar", f"{registry.host}/app:1", "-c", 'CMD ["/hello"]', "--change", "ENV a=1 b=2")
    assert (ran.status, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"{registry.host}/app:1@sha256:")
    config = json.loads(imgmove("inspect", "--config", f"{registry.host}/app:1").stdout)
    assert config["config"] == {"Cmd": ["/hello"], "Env": ["a=1", "b=2"]}
    assert 'cmd         ["/hello"]\n' in imgmove("inspect", f"{registry.host}/app:1").stdout


def test_a_word_is_a_file(imgmove: Run, tmp_path: Path) -> None:
    (tmp_path / "alpine").mkdir()
    ran = imgmove("import", "alpine", "oci:out:1", "--json")
    assert ran.status == 0
    (image,) = json.loads(ran.stdout)["images"]
    assert (image["source"], image["destination"], image["status"]) == ("alpine", "oci:out:1", "copied")


def test_onto(imgmove: Run) -> None:
    assert imgmove("import", "rootfs.tar", "oci:out:base", "--platform", "linux/arm64").status == 0
    ran = imgmove("import", "rootfs.tar", "oci:out:more", "--onto", "oci:out:base", "-m", "more")
    assert ran.status == 0
    found = json.loads(imgmove("inspect", "--json", "oci:out:more").stdout)
    assert (len(found["layers"]), found["platform"]) == (2, "linux/arm64")
    assert [entry["comment"] for entry in found["config"]["history"]] == ["Imported from -", "more"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["nothing.tar", "oci:out"], 5, "nothing.tar: no such file"),
        (["rootfs.tar", "oci:out", "-c", "FOO x"], 2, "'FOO' can't be changed so (there are CMD,"),
        (["rootfs.tar", "oci:out", "-c", "EXPOSE web"], 2, "not a port: 'web'"),
        (["rootfs.tar", "oci:out", "--platform", "a/b/c/d"], 2, "not a platform"),
        (["rootfs.tar", "oci:out", "--max-size", "much"], 2, "not a size: 'much'"),
        (["rootfs.tar", "oci:out", "--max-size", "1k"], 4, "more than the 1000 bytes"),
        (["rootfs.tar", "oci:out", "--onto", "oci:none"], 5, "none: no such folder"),
        (["rootfs.tar", "oci:out", "--onto", "-"], 2, "can't be put onto an image out of a pipe"),
        (["rootfs.tar", "oci:out", "--compression", "xz"], 2, "'xz' is not one of"),
        (["rootfs.tar", "-", "--json"], 2, "stdout carries the archive"),
        (["rootfs.tar"], 2, "missing argument"),
        (["http://127.0.0.1:1/x.tar", "oci:out", "--retries", "0"], 1, "127.0.0.1:1 refused the connection"),
        (["http://[x", "oci:out"], 2, "not an address"),
        (["http://host:x/", "oci:out"], 2, "not an address"),
    ],
)
def test_what_is_refused(words: list[str], status: int, said: str, imgmove: Run, tmp_path: Path) -> None:
    ran = imgmove("import", *words)
    assert ran.status == status, ran.stderr
    assert said in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert not ran.stdout
    assert not (tmp_path / "out" / "index.json").exists()


def test_through_pipes(environment: dict[str, str], tmp_path: Path) -> None:
    script = 'cat rootfs.tar | "$0" -m imgmove import -q - - | "$0" -m imgmove copy -q - oci:out:1'
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script, sys.executable], env=environment, cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "index.json").exists()
