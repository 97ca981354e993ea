"""The one-time password of the port that an engine pulls from is known to nobody else on its host."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import time
from pathlib import Path
from typing import Any

import pytest

import imgmove
from imgmove.endpoints.engines import serving
from imgmove.endpoints.engines.docker import Docker
from imgmove.endpoints.engines.serving import Served
from imgmove.ports import Reader
from imgmove.settings import Settings
from tests.real.engine_fixtures import copied
from tests.real.engines import RealEngine
from tests.real.sshd import run_sshd

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]


def test_the_password_of_the_forwarded_port_shows_nowhere(
    docker26_containerd: RealEngine,
    layout: str,
    settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = docker26_containerd
    engine.clean()
    credentials: list[Served] = []
    looks: list[bool] = []
    seen: list[str] = []
    refused: list[int] = []
    name, open_blob, header = Docker.name, serving._OneImage.open, Served.docker_header.fget  # type: ignore[attr-defined]

    def noted_header(served: Served) -> str:
        if served not in credentials:
            credentials.append(served)
        return str(header(served))

    def looked_around(*arguments: Any) -> Reader:
        # The engine is in the middle of its pull.
        looks.append(True)
        seen.extend(shown_by_processes(secrets_of(credentials[-1])))
        return open_blob(*arguments)

    def knocked(docker: Docker, temporary: str, given: str) -> None:
        if temporary == credentials[-1].reference:
            refused.extend(statuses_of_strangers(credentials[-1]))
        name(docker, temporary, given)

    monkeypatch.setattr(Served, "docker_header", property(noted_header))
    monkeypatch.setattr(serving._OneImage, "open", looked_around)
    monkeypatch.setattr(Docker, "name", knocked)
    started = int(time.time()) - 1
    with run_sshd(tmp_path_factory.mktemp("shared"), f"SetEnv PATH={os.environ['PATH']}") as sshd:
        place = f"docker-daemon+ssh://{sshd.host}/app:1?{engine.options}"
        with imgmove.Session(sshd.settings(settings)) as session:
            copied(session, f"{layout}:app:1", place)
    (served,) = credentials
    assert looks
    assert shown_by_processes((engine.socket,)), "what is shown is found"
    assert seen == []
    assert refused == [401, 401, 401, 401]
    folder = Path(engine.socket).parent
    told = engine.do("events", "--since", str(started), "--until", str(int(time.time()) + 1), "--format", "{{json .}}")
    kept = [path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert "app:1" in told
    assert any(served.digest.hex.encode() in content for content in kept)
    for secret in secrets_of(served):
        assert secret not in told
        assert not any(secret.encode() in content for content in kept)
    engine.clean()


def secrets_of(served: Served) -> tuple[str, ...]:
    """The password, in all forms in which it goes about."""
    pair = base64.b64encode(f"imgmove:{served.password}".encode()).decode()
    return served.password, pair, served.docker_header


def shown_by_processes(secrets: tuple[str, ...]) -> list[str]:
    """The processes whose arguments or environment hold a secret."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        for what in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                content = (folder / what).read_bytes().decode(errors="replace")
                found += [f"{folder}/{what}" for secret in secrets if secret in content]
    return found


def statuses_of_strangers(served: Served) -> list[int]:
    """What somebody gets at the port who does not know the password."""
    statuses = []
    wrong = base64.b64encode(b"imgmove:" + b"x" * len(served.password)).decode()
    strange = base64.b64encode("imgmove:\u00fc".encode()).decode()
    manifest = f"/v2/{served.path}/manifests/{served.digest}"
    for path, said in (("/v2/", ""), (manifest, ""), ("/v2/", f"Basic {wrong}"), ("/v2/", f"Basic {strange}")):
        with contextlib.closing(http.client.HTTPConnection(served.host, timeout=10)) as connection:
            connection.request("GET", path, headers={"Authorization": said} if said else {})
            statuses.append(connection.getresponse().status)
    return statuses
