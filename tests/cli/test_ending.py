"""Signals, pipes that close, and what is printed where."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imgmove.endpoints.layout import Layout
from imgmove.wire.files import LocalFiles
from tests.cli.conftest import Run
from tests.images import build_image, tar_of


@pytest.fixture
def layout(tmp_path: Path) -> str:
    build_image([{"big": os.urandom(3_000_000)}, {"small": b"x"}]).put(
        Layout.writable(LocalFiles(), str(tmp_path / "in")), "app:1"
    )
    return f"oci:{tmp_path / 'in'}:app:1"


def partials(folder: Path) -> list[Path]:
    return list(folder.rglob(".imgmove-*"))


def begun(environment: dict[str, str], folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """A copy that is in the middle of a large blob."""
    process = subprocess.Popen(
        [sys.executable, "-m", "imgmove", "copy", "--limit-rate", "300k", *words],
        stderr=subprocess.PIPE,
        env=environment,
    )
    end = time.monotonic() + 20
    while not partials(folder):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.02)
    return process


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("target", ["oci:{}/out", "{}/out.tar"])
def test_signals(
    number: signal.Signals, status: int, target: str, layout: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    place = target.format(tmp_path)
    process = begun(environment, tmp_path, layout, place)
    process.send_signal(number)
    _, said = process.communicate(timeout=10)
    assert process.returncode == status
    assert said.decode().strip() == "imgmove: interrupted; run the same command again to continue"
    assert all(path.name.endswith(".partial") for path in partials(tmp_path))
    assert not (tmp_path / "out.tar").exists()
    assert not (tmp_path / "out" / "index.json").exists()
    subprocess.run([sys.executable, "-m", "imgmove", "copy", "-q", layout, place], check=True, env=environment)
    subprocess.run([sys.executable, "-m", "imgmove", "verify", "-q", place], check=True, env=environment)
    assert not partials(tmp_path)


@pytest.mark.parametrize("target", ["oci:{}/out", "{}/out.tar"])
def test_after_a_kill_the_next_run_cleans_up(
    target: str, layout: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    place = target.format(tmp_path)
    process = begun(environment, tmp_path, layout, place)
    process.kill()
    process.communicate()
    assert not (tmp_path / "out.tar").exists()
    subprocess.run([sys.executable, "-m", "imgmove", "copy", "-q", layout, place], check=True, env=environment)
    assert not partials(tmp_path)


@pytest.mark.parametrize("target", ["oci:{}/out", "{}/out.tar", "-"])
def test_a_signal_while_a_pipe_is_waited_for(target: str, tmp_path: Path, environment: dict[str, str]) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "imgmove", "import", "-", target.format(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**environment, "TMPDIR": str(folder)},
    )
    assert process.stdin
    assert process.stderr
    process.stdin.write(tar_of({"big": os.urandom(3_000_000)})[:2_000_000])
    process.stdin.flush()
    end = time.monotonic() + 20
    while not partials(tmp_path):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    # Its stdin stays open: nothing but the signal ends it.
    assert process.wait(10) == 130
    assert process.stderr.read().decode() == "imgmove: interrupted; run the same command again to continue\n"
    process.stdin.close()
    process.stderr.close()
    assert not partials(tmp_path)
    assert not list(folder.iterdir())
    assert not (tmp_path / "out.tar").exists()


def test_a_reader_that_has_enough(layout: str, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "imgmove", "save", layout],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout
    assert process.stderr
    process.stdout.read(1000)
    process.stdout.close()
    said = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(10) == 1
    assert said == "imgmove: destination: whoever read stdout stopped before the end\n"


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("copy", "--help"), ("inspect", "LAYOUT")])
def test_no_room_for_results(words: tuple[str, ...], layout: str, environment: dict[str, str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    given = [layout if word == "LAYOUT" else word for word in words]
    command = [sys.executable, "-m", "imgmove", *given]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
        assert (done.returncode, done.stderr) == (1, "imgmove: the output can't be written: No space left on device\n")
        # Notes that nobody can read are no failure.
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, text=True, env=environment)
        assert done.returncode == 0


@pytest.mark.parametrize("redirected", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_streams_that_are_closed(redirected: str, layout: str, environment: dict[str, str]) -> None:
    for words in ("--version", f"copy {layout} {layout}-2"):
        command = f"exec '{sys.executable}' -m imgmove {words} {redirected}"
        done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, env=environment)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", ["copy LAYOUT -", "save LAYOUT", "export LAYOUT", "bundle create LAYOUT -o -"])
def test_what_has_nowhere_to_go(words: str, layout: str, environment: dict[str, str]) -> None:
    command = f"exec '{sys.executable}' -m imgmove {words.replace('LAYOUT', layout)}"
    done = subprocess.run(["sh", "-c", f"{command} >&-"], stderr=subprocess.PIPE, text=True, env=environment)
    assert done.returncode == 2
    assert "has nowhere to go: stdout is closed" in done.stderr
    done = subprocess.run(["sh", "-c", f"{command} >/dev/null"], stderr=subprocess.PIPE, text=True, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", ["load --to oci:loaded", "copy - oci:loaded", "import - oci:loaded"])
def test_what_comes_from_nowhere(words: str, environment: dict[str, str], tmp_path: Path) -> None:
    command = f"exec '{sys.executable}' -m imgmove {words} <&-"
    done = subprocess.run(
        ["sh", "-c", command], stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path, stdin=subprocess.PIPE
    )
    assert done.returncode > 0
    assert done.stderr.startswith(
        ("imgmove: source: nothing came out of the pipe", "imgmove: source: the pipe is empty")
    )
    assert not (tmp_path / "loaded").exists()


def test_results_leave_stdout_to_the_archive(layout: str, environment: dict[str, str], tmp_path: Path) -> None:
    with (tmp_path / "x.tar").open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "imgmove", "copy", layout, "-"], stdout=file, stderr=subprocess.PIPE, env=environment
        )
    assert done.returncode == 0
    assert done.stderr.decode().startswith("-@sha256:")
    subprocess.run(
        [sys.executable, "-m", "imgmove", "verify", "-q", str(tmp_path / "x.tar")], check=True, env=environment
    )


def test_json_documents(imgmove: Run, layout: str) -> None:
    for words in (
        ("copy", "--json", layout, "oci:out"),
        ("copy", "--json", "--dry-run", layout, "oci:out2"),
        ("save", "--json", layout, "-o", "x.tar"),
        ("load", "--json", "-i", "x.tar", "--to", "oci:loaded"),
        ("inspect", "--json", layout),
        ("tags", "--json", "oci:loaded"),
        ("tag", "--json", "oci:loaded:library/app:1", "other:1"),
        ("delete", "--json", "oci:loaded:other:1"),
        ("verify", "--json", layout),
        ("verify", "--json", layout, "oci:out"),
    ):
        ran = imgmove(*words)
        assert ran.status == 0, ran
        assert json.loads(ran.stdout) is not None


def test_a_failed_copy_is_in_the_json_too(imgmove: Run, layout: str) -> None:
    ran = imgmove("copy", "--json", layout, layout.replace("app:1", "none:1"), "oci:out")
    assert ran.status == 3
    images = json.loads(ran.stdout)["images"]
    assert [image["status"] for image in images] == ["copied", "failed"]
    assert images[1]["error"]["exit_status"] == 5


def test_quiet_and_verbose(imgmove: Run, layout: str) -> None:
    assert imgmove("copy", "-q", layout, "oci:one").stderr == ""
    said = imgmove("copy", "-v", layout, "oci:two").stderr
    assert said.count("sent") == 3
    lines = imgmove("copy", "--log-format", "json", "no-such-host.invalid/x", "oci:three").stderr.splitlines()
    assert [json.loads(line)["level"] for line in lines] == ["error"]


def test_help_fits_a_terminal(imgmove: Run) -> None:
    for words in ((), ("copy",), ("save",), ("load",), ("inspect",), ("verify",), ("login",)):
        ran = imgmove(*words, "--help")
        assert ran.status == 0
        assert max(len(line) for line in ran.stdout.splitlines()) <= 80
    for words in ((), ("bundle",)):
        assert imgmove(*words) == imgmove(*words, "--help"), "a group alone is a question"
        assert "..." not in imgmove(*words).stdout.replace("[ARGS]...", ""), "the summaries are whole"
        assert "\b" not in imgmove(*words).stdout
    assert imgmove("--version").stdout.startswith("imgmove ")


def test_login_and_logout(imgmove: Run, registry_factory: object, tmp_path: Path, layout: str) -> None:
    from tests.quirks import Quirks

    server = registry_factory(Quirks(basic={"alice": "s3cret"}))  # type: ignore[operator]
    assert imgmove("login", server.host, "-u", "alice", "-p", "wr0ng").status == 6
    ran = imgmove("login", server.host, "-u", "alice", "-p", "s3cret")
    assert ran.status == 0, ran
    assert ran.stdout == "Login succeeded\n"
    assert "s3cret" not in ran.stderr
    kept = tmp_path / "home" / ".docker" / "config.json"
    assert server.host in json.loads(kept.read_text())["auths"]
    assert kept.stat().st_mode & 0o077 == 0
    assert imgmove("copy", "-q", layout, f"{server.host}/app:1").status == 0
    assert imgmove("logout", server.host).status == 0
    assert imgmove("copy", "-q", layout, f"{server.host}/app:2").status == 6
    assert imgmove("login", server.host, "-u", "x").status == 2, "there is nobody to ask"
