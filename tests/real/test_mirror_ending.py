"""SIGTERM in each phase of a pass: it ends soon, says so, and the next pass goes on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.quirks import Failure, Quirks, RegistryServer, Stall
from tests.real.mirroring import Ground

pytestmark = pytest.mark.real

WAIT = "600"


def waiting(kind: str) -> Quirks:
    """The first request of a kind is to be sent again, but not soon."""
    return Quirks(failures=(Failure(kind, 503, 1, WAIT),))


PHASES = [
    pytest.param("source", waiting("GET tags"), "GET tags", id="listing"),
    pytest.param("source", Quirks(stalls=(Stall("GET tags", 3, 600),)), "GET tags", id="in the midst of a list"),
    pytest.param("source", waiting("HEAD manifest"), "HEAD manifest", id="looking"),
    pytest.param("source", waiting("GET manifest"), "GET manifest", id="planning"),
    pytest.param("source", Quirks(stalls=(Stall("GET blob", 3, 600),)), "GET blob", id="moving"),
    pytest.param("destination", waiting("PUT manifest"), "PUT manifest", id="naming"),
    pytest.param("destination", waiting("DELETE manifest"), "DELETE manifest", id="pruning"),
]


@pytest.mark.parametrize(("side", "quirks", "kind"), PHASES)
def test_sigterm_while(ground: Ground, side: str, quirks: Quirks, kind: str) -> None:
    with (
        RegistryServer(quirks if side == "source" else None) as source,
        RegistryServer(quirks if side == "destination" else None) as destination,
    ):
        source.put_image("app", "1", "2")
        destination.put_image("app", "old", layers=(b"old",))
        ground.write("prune: {enabled: true}", source=f"{source.host}/app", destination=f"{destination.host}/app")
        asked = source if side == "source" else destination
        end_in_the_middle(ground, lambda: asked.count(kind) > 0)
        done = ground.run()
        assert done.status == 0, done.stderr
        assert sorted(destination.storage.make("app").tags()) == ["1", "2"]


def test_sigterm_while_a_hook_runs(ground: Ground, tmp_path: Path) -> None:
    with RegistryServer() as source, RegistryServer() as destination:
        source.put_image("app", "1")
        hooks = f"hooks: {{change: [sh, -c, 'touch {tmp_path}/began; sleep 600'], timeout: 700}}"
        ground.write(source=f"{source.host}/app", destination=f"{destination.host}/app", more=hooks)
        end_in_the_middle(ground, (tmp_path / "began").exists)
        assert ground.run().stdout == ""


def end_in_the_middle(ground: Ground, is_there: Callable[[], bool]) -> None:
    running = ground.begin("--report", ground.folder / "r.json")
    end = time.monotonic() + 60
    while not is_there():
        assert time.monotonic() < end
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)
    time.sleep(0.1)
    began = time.monotonic()
    running.send_signal(signal.SIGTERM)
    said = running.communicate(timeout=30)[1]
    assert time.monotonic() - began < 10
    assert running.returncode == 143, said
    assert said.splitlines()[-1] == "imgmove: interrupted; run the same command again to continue"
    assert "Traceback" not in said
