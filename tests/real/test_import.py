"""Imported images in real engines, and what docker's own import makes of the same."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import uuid
from pathlib import Path
from typing import Any

import pytest

import imgmove
from imgmove.model.location_grammar import parse_location
from imgmove.settings import Settings
from imgmove.stages.import_ import ImportOptions
from tests.images import tar_of
from tests.real.engines import RealEngine
from tests.real.programs import SAYS, hello_program

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]

CHANGES = [
    'CMD ["/hello"]',
    'ENV GREETING=\'hello  you\' WHO="$USER x\\"y\\"" PATH=/bin:/usr/bin',
    "ENV OLD the old form",
    "EXPOSE 80 8000-8002/udp",
    'LABEL "a b"=c d=${GREETING:-none} e=${NONE:-none}',
    "USER 0:0",
    'VOLUME ["/data", "/more"]',
    "WORKDIR /srv",
    "WORKDIR app",
    "HEALTHCHECK --interval=5m --timeout=3s --retries=2 CMD /hello || exit 1",
    "ONBUILD RUN make",
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    for name in ("etc", "dev", "proc", "sys", "srv/app"):
        (folder / name).mkdir(parents=True)
    (folder / "hello").write_bytes(hello_program())
    (folder / "hello").chmod(0o4755)
    (folder / "again").hardlink_to(folder / "hello")
    (folder / "etc" / "link").symlink_to("../hello")
    folder.chmod(0o755)
    return folder


@pytest.fixture(params=["docker20", "docker26", "docker26_containerd", "podman4", "containerd1"])
def engine(request: pytest.FixtureRequest) -> RealEngine:
    found: RealEngine = request.getfixturevalue(request.param)
    return found


def settings_of(engine: RealEngine, name: str) -> dict[str, Any]:
    """What an engine's image says of how it runs, empty fields left out."""
    config: dict[str, Any] = json.loads(engine.do("image", "inspect", name))[0]["Config"]
    return {key: value for key, value in config.items() if value}


def test_it_runs(engine: RealEngine, tree: Path, tmp_path: Path, settings: Settings) -> None:
    options = ImportOptions(changes=CHANGES)
    straight, archived, onto = (f"imported-{uuid.uuid4().hex[:8]}:1" for _ in range(3))
    with imgmove.Session(settings) as session:
        imgmove.import_rootfs(str(tree), engine.at(straight), options, session=session).raise_failures()
        place = f"oci-archive:{tmp_path / 'image.tar'}:{archived}"
        imgmove.import_rootfs(str(tree), place, options, session=session).raise_failures()
        (tmp_path / "more.tar").write_bytes(tar_of({"other": b"other", ".wh.again": b""}))
        more = ImportOptions(changes=["ENV MORE=1"], onto=parse_location(place))
        imgmove.import_rootfs(str(tmp_path / "more.tar"), engine.at(onto), more, session=session).raise_failures()
        again = ImportOptions(onto=parse_location(engine.at(straight)))
        copied = f"oci:{tmp_path / 'copied'}:1"
        imgmove.import_rootfs(str(tmp_path / "more.tar"), copied, again, session=session).raise_failures()
        rootfs = imgmove.inspect(copied, session=session).config["rootfs"]
    engine.load(tmp_path / "image.tar")
    assert rootfs == {"type": "layers", "diff_ids": engine.diff_ids(onto)}
    for name in (straight, archived, onto):
        assert engine.hello(name).strip() == SAYS
    assert engine.diff_ids(straight) == engine.diff_ids(archived) == engine.diff_ids(onto)[:1]
    if engine.scheme == "docker-daemon":
        assert settings_of(engine, straight) == settings_of(engine, archived)
        assert engine.do("run", "--rm", "--network", "none", straight, "/again").strip() == SAYS
        assert not engine.do("run", "--rm", "--network", "none", onto, "/again", check=False)


def test_as_docker_imports(docker20: RealEngine, tree: Path, tmp_path: Path, settings: Settings) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(tree, ".")
    (tmp_path / "tree.tar").write_bytes(buffer.getvalue())
    theirs, ours = (f"imported-{uuid.uuid4().hex[:8]}:1" for _ in range(2))
    words = [word for change in CHANGES for word in ("--change", change)]
    docker20.do("import", *words, "--message", "mine", str(tmp_path / "tree.tar"), theirs)
    with imgmove.Session(settings) as session:
        options = ImportOptions(changes=CHANGES, message="mine")
        imgmove.import_rootfs(str(tmp_path / "tree.tar"), docker20.at(ours), options, session=session).raise_failures()
    assert settings_of(docker20, ours) == settings_of(docker20, theirs)
    assert docker20.diff_ids(ours) == docker20.diff_ids(theirs), "the same tar is the same layer"
    one, two = (json.loads(docker20.do("image", "inspect", name))[0] for name in (ours, theirs))
    assert [one[key] for key in ("Os", "Architecture", "Comment")] == [
        two[key] for key in ("Os", "Architecture", "Comment")
    ]


def test_devices_and_attributes(docker20: RealEngine, tree: Path, settings: Settings) -> None:
    os.mknod(tree / "zero", 0o600 | 0o020000, os.makedev(1, 5))
    os.chown(tree / "etc", 12, 34)
    os.utime(tree / "etc", (0, 1_234_567_890))
    name = f"imported-{uuid.uuid4().hex[:8]}:1"
    with imgmove.Session(settings) as session:
        options = ImportOptions(changes=['CMD ["/hello"]'])
        imgmove.import_rootfs(str(tree), docker20.at(name), options, session=session).raise_failures()
    container = docker20.do("create", name)

    exported = subprocess.run([*docker20.client, "export", container], capture_output=True, check=True).stdout
    docker20.do("rm", container)
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        found = {member.name.rstrip("/"): member for member in archive}
    assert (found["zero"].ischr(), found["zero"].devmajor, found["zero"].devminor) == (True, 1, 5)
    assert (found["etc"].uid, found["etc"].gid) == (12, 34)
    assert found["hello"].mode & 0o7777 == 0o4755
    assert found["again"].islnk() or found["hello"].islnk()
