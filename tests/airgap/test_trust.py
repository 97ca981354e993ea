"""Keys, and every kind of byte in a bundle changed in turn."""

from __future__ import annotations

import io
import json
import shutil
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.airgap.conftest import Connected, Run
from tests.quirks import RegistryServer

Change = Callable[[Path], None]


@pytest.fixture
def signed(connected: Connected, imgmove: Run, tmp_path: Path) -> Path:
    """A signed bundle beside its key."""
    assert imgmove("bundle", "keygen", "-o", "ours").status == 0
    words = ("--sign-key", "ours.key", *connected.names)
    assert imgmove("bundle", "create", "-q", "-o", "signed.bundle", *words).status == 0
    return tmp_path / "signed.bundle"


def test_keys(imgmove: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = imgmove("bundle", "keygen", "-o", "plain")
    assert ran.stdout.split() == ["plain.key", "plain.pub"]
    assert stat.S_IMODE((tmp_path / "plain.key").stat().st_mode) == 0o600
    assert "already" in imgmove("bundle", "keygen", "-o", "plain").stderr
    monkeypatch.setenv("IMGMOVE_PASSPHRASE", "open sesame")
    assert imgmove("bundle", "keygen", "-o", "locked", "--passphrase").status == 0
    assert b"ENCRYPTED" in (tmp_path / "locked.key").read_bytes()
    monkeypatch.setenv("IMGMOVE_PASSPHRASE", "close sesame")
    ran = imgmove("bundle", "create", "-o", "x.bundle", "--sign-key", "locked.key", "reg.example.com/x")
    assert (ran.status, "passphrase is wrong" in ran.stderr) == (2, True)
    assert "sesame" not in ran.stderr


def test_a_signed_bundle(signed: Path, imgmove: Run, registry: RegistryServer, tmp_path: Path) -> None:
    assert imgmove("bundle", "verify", signed, "--key", "ours.pub").status == 0
    words = ("--key", "ours.pub", "--sign-key", "ours.key", "--receipt", "r.json")
    ran = imgmove("bundle", "load", "-q", signed, "--to", f"{registry.host}/", *words)
    assert ran.status == 0, ran.stderr
    assert imgmove("bundle", "verify", "r.json", "--key", "ours.pub").status == 0


def test_who_did_not_sign(signed: Path, connected: Connected, imgmove: Run, registry: RegistryServer) -> None:
    assert imgmove("bundle", "create", "-q", "-o", "unsigned.bundle", connected.names[0]).status == 0
    assert imgmove("bundle", "keygen", "-o", "others").status == 0
    for bundle, key, said in (("unsigned.bundle", "ours.pub", "not signed"), (signed, "others.pub", "another key")):
        ran = imgmove("bundle", "load", bundle, "--to", f"{registry.host}/", "--key", key)
        assert ran.status == 4, ran.stderr
        assert said in ran.stderr
    assert registry.seen == [], "the destination has not even been asked"


def members(path: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(path) as archive:
        return {member.name: member for member in archive}


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def in_member(name: str, at: int = 30) -> Change:
    def change(path: Path) -> None:
        flip(path, members(path)[name].offset_data + at)

    return change


def in_manifest(path: Path) -> None:
    index = json.loads(Path(path).read_bytes()[512:].split(b"\n")[0])
    flip(path, index["manifests"][0]["offset"] + 5)


def in_blob(path: Path) -> None:
    index = json.loads(Path(path).read_bytes()[512:].split(b"\n")[0])
    blob = max(index["blobs"], key=lambda item: item["size"])
    flip(path, blob["offset"] + blob["size"] // 2)


def in_blob_header(path: Path) -> None:
    index = json.loads(Path(path).read_bytes()[512:].split(b"\n")[0])
    flip(path, index["blobs"][-1]["offset"] - 512 + 130)


def without_signature(path: Path) -> None:
    content = path.read_bytes()
    start = members(path)["imgmove.json.sig"].offset
    path.write_bytes(content[:start] + content[start + 1024 :])


def added(kind: bytes, name: str, target: str = "") -> Change:
    """Appends a member as tar -r would do it."""

    def change(path: Path) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        member.size = 5 if kind == tarfile.REGTYPE else 0
        with tarfile.open(path, "a") as archive:
            archive.addfile(member, io.BytesIO(b"extra"[: member.size]))

    return change


def replaced_by_link(path: Path) -> None:
    """The first blob's header becomes a link's."""
    index = json.loads(path.read_bytes()[512:].split(b"\n")[0])
    member = tarfile.TarInfo(f"blobs/sha256/{index['blobs'][0]['digest'][7:]}")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with path.open("r+b") as file:
        file.seek(index["blobs"][0]["offset"] - 512)
        file.write(member.tobuf(tarfile.USTAR_FORMAT)[:512])


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


CHANGES: dict[str, Change] = {
    "signature": in_member("imgmove.json.sig", 3),
    "no signature": without_signature,
    "imgmove.json": in_member("imgmove.json"),
    "index.json": in_member("index.json"),
    "manifest.json": in_member("manifest.json"),
    "oci-layout": in_member("oci-layout", 5),
    "manifest": in_manifest,
    "blob": in_blob,
    "blob header": in_blob_header,
    "extra file": added(tarfile.REGTYPE, "extra"),
    "duplicated member": added(tarfile.REGTYPE, "index.json"),
    "path traversal": added(tarfile.REGTYPE, "../../etc/passwd"),
    "link member": added(tarfile.SYMTYPE, "link", "/etc/passwd"),
    "blob that is a link": replaced_by_link,
    "truncated": cut_off,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("key", [True, False], ids=["key", "no key"])
def test_changed_bundles_are_refused(
    change: str, key: bool, signed: Path, imgmove: Run, registry: RegistryServer, tmp_path: Path
) -> None:
    """Without a key too, but for the signature itself."""
    bad = tmp_path / "bad.bundle"
    shutil.copy(signed, bad)
    CHANGES[change](bad)
    words = ("--key", "ours.pub") if key else ()
    if change == "signature" and not key:
        return
    ran = imgmove("bundle", "verify", bad, *words)
    assert ran.status in (1, 2, 4), ran.stderr
    assert "internal" not in ran.stderr
    ran = imgmove("bundle", "load", bad, "--to", f"{registry.host}/", *words)
    assert ran.status in (1, 2, 3, 4), ran.stderr
    if change == "blob":
        assert registry.count("PUT manifest") < 10
        assert "holds other content" in ran.stderr
    else:
        assert registry.seen == [], "nothing but a blob's bytes is looked at only on the way"


def test_changed_papers_are_refused(
    signed: Path, connected: Connected, imgmove: Run, registry: RegistryServer, tmp_path: Path
) -> None:
    words = ("--receipt", "r.json", "--sign-key", "ours.key")
    assert imgmove("bundle", "load", "-q", signed, "--to", f"{registry.host}/", *words).status == 0
    good = (tmp_path / "r.json").read_bytes()
    name = connected.names[0]
    create = ("bundle", "create", "-q", "-o", "delta.bundle", "--have", "r.json", name)
    assert imgmove(*create, "--key", "ours.pub").status == 0
    document = json.loads(good)
    document["content"]["blobs"][0]["size"] += 1
    (tmp_path / "r.json").write_text(json.dumps(document))
    ran = imgmove(*create)
    assert (ran.status, "was changed" in ran.stderr) == (4, True)
    del document["signature"]
    (tmp_path / "r.json").write_text(json.dumps(json.loads(good) | {"signature": ""}))
    assert imgmove(*create, "--key", "ours.pub").status == 4
