"""No byte of a signed bundle can be changed unseen, wherever it stands."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest

from imgmove.airgap.check import check
from imgmove.airgap.keys import read_public_key
from imgmove.endpoints.bundle import open_bundle
from imgmove.errors import ImgmoveError
from imgmove.settings import Settings
from imgmove.stages.session import Session
from imgmove.wire.files import LocalFiles
from tests.airgap.conftest import Run
from tests.images import build_artifact, build_index


@pytest.fixture
def bundle(settings: Settings, imgmove: Run, tmp_path: Path) -> Path:
    """A small one, most of whose bytes are not blobs'."""
    from imgmove.endpoints.layout import Layout

    layout = Layout.writable(LocalFiles(), str(tmp_path / "layout"))
    image = build_index("linux/amd64", "linux/arm64", attested=True)
    image.put(layout, "team/app:1")
    build_artifact(image.root).put(layout)
    assert imgmove("bundle", "keygen", "-o", "ours").status == 0
    words = ("bundle", "create", "-q", "--sign-key", "ours.key", "oci:layout")
    assert imgmove(*words, "-o", "x.bundle").status == 0
    assert imgmove(*words, "-o", "cut", "--volume-size", "24k").status == 0
    return tmp_path / "x.bundle"


def is_clean(session: Session, paths: list[Path], *, with_key: bool = True) -> bool:
    key = read_public_key(str(paths[0].parent / "ours.pub")) if with_key else None
    try:
        found = check(session, open_bundle(LocalFiles(), [str(path) for path in paths]), key)
    except ImgmoveError:
        return False
    return not found.faults


@pytest.mark.parametrize("seed", range(4))
def test_any_byte(seed: int, bundle: Path, settings: Settings) -> None:
    chance = random.Random(seed)
    content = bytearray(bundle.read_bytes())
    volumes = sorted(bundle.parent.glob("cut.0*"))
    assert len(volumes) > 1
    with closing(Session(settings)) as session:
        assert is_clean(session, [bundle])
        assert is_clean(session, volumes)
        for _ in range(40):
            damaged(session, [bundle], bundle, content, chance)
        whole = bytearray(volumes[0].read_bytes())
        for _ in range(15):
            damaged(session, volumes, volumes[0], whole, chance)


def damaged(session: Session, paths: list[Path], path: Path, content: bytearray, chance: random.Random) -> None:
    offset, other = chance.randrange(len(content)), chance.randrange(1, 256)
    content[offset] ^= other
    path.write_bytes(content)
    assert not is_clean(session, paths), f"byte {offset} of {path.name}"
    # Who has no key can't tell one signature from another, but sees all other damage.
    if len(paths) == 1 and not is_in_signature(content, offset):
        assert not is_clean(session, paths, with_key=False), f"byte {offset} of {path.name}, without a key"
    content[offset] ^= other
    path.write_bytes(content)


def is_in_signature(content: bytearray, offset: int) -> bool:
    """Whether a byte is of the base64 that follows imgmove.json and a header."""
    start = 512 + int(content[124:135], 8) + 512
    return start <= offset < start + 88
