"""Whatever is wrong ends in one clear line, the right exit status, and nothing half-done."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from imgmove.endpoints.layout import Layout
from imgmove.endpoints.layout_reader import blob_path
from imgmove.model import media_types
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest
from imgmove.model.manifest import make_manifest
from imgmove.wire.files import LocalFiles
from tests.cli.conftest import Ran, Run
from tests.images import build_artifact, build_image, build_index, put_blob
from tests.quirks import Quirks, RegistryServer, TokenAuth

Factory = Callable[..., RegistryServer]


def one_line(ran: Ran, status: int, *parts: str) -> None:
    """Makes sure that a command failed as it should."""
    assert ran.status == status, ran
    lines = ran.stderr.strip().splitlines()
    assert len(lines) == 1, ran.stderr
    assert lines[0].startswith("imgmove: ")
    for part in parts:
        assert part in lines[0]
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""


def nothing_at(*paths: Path) -> None:
    """Makes sure that nothing appeared, under its own or a temporary name."""
    for path in paths:
        assert not path.exists()
        assert not [name for name in os.listdir(path.parent) if name.startswith(".imgmove")]


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    path = tmp_path / "layout"
    build_image([{"file": os.urandom(200_000)}]).put(Layout.writable(LocalFiles(), str(path)), "app:1")
    return path


@pytest.fixture
def archive(imgmove: Run, layout: Path, tmp_path: Path) -> Path:
    path = tmp_path / "good.tar"
    assert imgmove("copy", f"oci:{layout}", path).status == 0
    return path


def tar_file(path: Path, members: Mapping[str, bytes], *extra: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in extra:
            archive.addfile(member)
    return path


def test_unknown_tag(imgmove: Run, registry: RegistryServer, layout: Path) -> None:
    registry.put_image("app", "1")
    one_line(imgmove("copy", f"{registry.host}/app:2", "oci:out"), 5, "source", f"{registry.host}/app has no tag 2")
    one_line(imgmove("copy", f"{registry.host}/none:1", "oci:out"), 5)
    one_line(imgmove("copy", f"oci:{layout}:app:2", "oci:out"), 5, "app:2", "app:1")
    one_line(imgmove("tags", f"{registry.host}/none"), 5)
    one_line(imgmove("inspect", f"{registry.host}/app:2"), 5)
    one_line(imgmove("delete", f"{registry.host}/app:2"), 5, "destination", "(there is 1)")
    one_line(imgmove("inspect", f"{registry.host}/app/"), 2, f"imgmove repos {registry.host}/app lists")
    one_line(imgmove("copy", "--dry-run", f"{registry.host}/app:2", "oci:out"), 5)
    one_line(imgmove("verify", f"{registry.host}/app:1", "oci:gone"), 5, "destination: gone: no such folder")


def test_what_keeps_an_archive_from_being_written_is_told_once(imgmove: Run, registry: RegistryServer) -> None:
    registry.put_image("app", "1")
    ran = imgmove("save", f"{registry.host}/app:1", f"{registry.host}/app:2", "-o", "out.tar")
    told = [f"imgmove: source: {registry.host}/app has no tag 2 (there is 1)", "imgmove: all 2 images failed"]
    assert (ran.status, ran.stderr.splitlines()) == (5, told)


def test_a_registry_has_repositories_not_tags(imgmove: Run) -> None:
    one_line(imgmove("tags", "localhost:5000"), 2, "imgmove repos localhost:5000 lists")
    one_line(imgmove("tags", "alpine:3"), 2, "the repository is docker.io/library/alpine")


def test_names_of_images_that_have_none(imgmove: Run, layout: Path, tmp_path: Path) -> None:
    signature = build_artifact(build_image([{"file": b"signed"}]).root)
    signature.put(Layout.writable(LocalFiles(), str(layout)))
    ran = imgmove("tags", f"oci:{layout}")
    assert (ran.status, ran.stdout, ran.stderr) == (0, "app:1\n", ""), "a signature is no image"
    image = build_image()
    image.put(Layout.writable(LocalFiles(), str(tmp_path / "bare")))
    ran = imgmove("tags", "oci:bare")
    said = f"imgmove: oci:bare: 1 image has no name, and can be had by its digest, such as {image.root.digest}\n"
    assert (ran.status, ran.stdout, ran.stderr) == (0, "", said)
    one_line(imgmove("tags", "oci:gone"), 5, "source: gone: no such folder")


def test_no_such_host(imgmove: Run, layout: Path) -> None:
    one_line(imgmove("copy", "no-such-host.invalid/app:1", "oci:out"), 1, "source: no such host: no-such-host.invalid")
    ran = imgmove("copy", f"oci:{layout}", "127.0.0.1:1/app:1", "--retries", "0")
    one_line(ran, 1, "destination: 127.0.0.1:1 refused the connection")


@pytest.mark.parametrize(
    "words",
    [
        ("copy", "Bad/Reference", "oci:x"),
        ("copy", "a b", "oci:x"),
        ("copy", "alpine"),
        ("copy",),
        ("frobnicate",),
        ("copy", "a", "b", "--no-such-option"),
        ("copy", "a", "b", "--jobs", "0"),
        ("copy", "a", "b", "--jobs", "x"),
        ("copy", "a", "b", "--platform", "x/y/z/w"),
        ("copy", "a", "b", "--compression-level", "3"),
        ("copy", "a", "b", "--compression", "gzip", "--compression-level", "12"),
        ("copy", "a", "b", "--limit-rate", "fast"),
        ("copy", "a", "b", "--src-creds", ":x"),
        ("copy", "-", "--to", "oci:a", "--to", "oci:b"),
        ("copy", "a", "--to=-", "--json"),
        ("copy", "docker-daemon:@web", "oci:x"),
        ("copy", "docker-daemon:", "oci:x"),
        ("copy", "app", "docker-daemon:app", "--platform", "linux/amd64,linux/arm64"),
        ("copy", "oci+ssh://ops:secret@host/x", "oci:x"),
        ("inspect", "app", "--raw", "--json"),
        ("tags", "app:1"),
        ("tags", "localhost:99999/app"),
        ("repos", "localhost:655360"),
        ("copy", "a", "b", "--timeout", "99999999999999999999"),
        ("verify", "app", "--key", "a\0b"),
        ("login", "reg.example.com", "-u", "x", "-p", "y", "--password-stdin"),
        ("copy", "app:1", "oci:x", "--all-tags"),
        ("copy", "app:1", "oci:x", "--additional-tag", "not a tag"),
    ],
)
def test_what_can_not_be_meant(imgmove: Run, words: tuple[str, ...], tmp_path: Path) -> None:
    one_line(imgmove(*words), 2)
    nothing_at(tmp_path / "x")


def test_corrupt_layer(imgmove: Run, layout: Path, registry: RegistryServer, tmp_path: Path) -> None:
    (layer,) = [path for path in (layout / "blobs" / "sha256").iterdir() if path.stat().st_size > 100_000]
    content = bytearray(layer.read_bytes())
    content[1000] ^= 1
    layer.write_bytes(content)
    for target in (f"{registry.host}/app:1", "oci:out", "./out.tar", "./out.tar.gz"):
        one_line(imgmove("copy", f"oci:{layout}", target), 4, "source", layer.name[:12], "other content")
    one_line(imgmove("verify", f"oci:{layout}"), 4, layer.name[:12])
    nothing_at(tmp_path / "out.tar", tmp_path / "out.tar.gz")
    assert not (tmp_path / "out" / "index.json").exists()
    assert not registry.storage.make("app").holds(Digest("sha256", layer.name))


def test_truncated_archive(imgmove: Run, archive: Path, tmp_path: Path) -> None:
    content = archive.read_bytes()
    for cut in (100_000, 150_000):
        (tmp_path / "cut.tar").write_bytes(content[:cut])
        one_line(imgmove("copy", "./cut.tar", "oci:out"), 1, "cut.tar", "ends")
    (tmp_path / "cut.tar").write_bytes(content[:700])
    assert imgmove("copy", "./cut.tar", "oci:out").status in (1, 2)
    assert not (tmp_path / "out" / "index.json").exists()


def test_truncated_pipe(archive: Path, environment: dict[str, str], tmp_path: Path) -> None:
    for cut in (0, 300, 100_000):
        done = subprocess.run(
            [sys.executable, "-m", "imgmove", "copy", "-", "oci:out"],
            input=archive.read_bytes()[:cut],
            capture_output=True,
            env=environment,
            cwd=tmp_path,
        )
        assert done.returncode in (1, 2), done
        assert done.stderr.decode().startswith("imgmove: ")
        assert done.stderr.count(b"\n") == 1, done.stderr
        assert not (tmp_path / "out" / "index.json").exists()


def test_another_digest_than_demanded(imgmove: Run, layout: Path, registry: RegistryServer) -> None:
    wrong = Digest.of(b"something else")
    one_line(imgmove("copy", f"oci:{layout}", f"{registry.host}/app:1@{wrong}"), 4, str(wrong))
    one_line(imgmove("copy", f"oci:{layout}@{wrong}", "oci:out"), 5, str(wrong))


def test_a_size_that_lies(imgmove: Run, layout: Path, tmp_path: Path) -> None:
    index = json.loads((layout / "index.json").read_text())
    for difference in (-1, 1, 1000):
        changed = json.loads(json.dumps(index))
        changed["manifests"][0]["size"] += difference
        (layout / "index.json").write_text(json.dumps(changed))
        one_line(imgmove("copy", f"oci:{layout}", "oci:out"), 4, "source")
    (layout / "index.json").write_text(json.dumps(index))
    layout_of_layers = json.loads((layout / blob_path(Digest.parse(index["manifests"][0]["digest"]))).read_text())
    for difference in (-1, 1):
        manifest = json.loads(json.dumps(layout_of_layers))
        manifest["layers"][0]["size"] += difference
        content = json.dumps(manifest).encode()
        Layout.writable(LocalFiles(), str(layout)).put_manifest(content, media_types.OCI_MANIFEST, ("lie:1",))
        ran = imgmove("copy", f"oci:{layout}:lie:1", "oci:out")
        assert ran.status in (1, 4), ran
        assert ran.stderr.count("\n") == 1
    assert not (tmp_path / "out" / "index.json").exists()


def test_manifests_that_are_bombs(imgmove: Run, registry: RegistryServer, tmp_path: Path) -> None:
    for number, content in enumerate(
        (
            b'{"schemaVersion":2,"a":"' + b"x" * (5 << 20) + b'"}',
            b'{"a":' * 100_000,
            b"[" * 1_000_000,
            b"\x00\xff" * 100,
        )
    ):
        digest = Digest.of(content)
        layout = tmp_path / f"bomb{number}"
        (layout / "blobs" / "sha256").mkdir(parents=True)
        (layout / blob_path(digest)).write_bytes(content)
        entry = Descriptor(media_types.OCI_MANIFEST, digest, len(content)).to_json()
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
        one_line(imgmove("copy", f"oci:{layout}", "oci:out"), 4, "source")
        (layout / "index.json").write_bytes(content)
        assert imgmove("copy", f"oci:{layout}", "oci:out").status in (4, 5)


def test_a_manifest_too_large_from_a_registry(imgmove: Run, registry_factory: Factory) -> None:
    content = b'{"schemaVersion":2,"a":"' + b"x" * (5 << 20) + b'"}'
    server = registry_factory()
    root = server.put_image("app", "1")
    big = registry_factory(Quirks(swapped={str(root.digest): content}))
    big.put_image("app", "1")
    ran = imgmove("copy", f"{big.host}/app:1", "oci:out")
    assert ran.status == 4, ran
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "blobs/../../evil", "a/b/../../../evil"])
def test_names_that_lead_out(imgmove: Run, name: str, tmp_path: Path, archive: Path) -> None:
    with tarfile.open(archive) as good:
        members = {item.name: (good.extractfile(item) or io.BytesIO()).read() for item in good}
    tar_file(tmp_path / "evil.tar", {name: b"x", **members})
    one_line(imgmove("copy", "./evil.tar", "oci:out"), 4, "leads out of the archive")
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["../../../../etc/passwd", "/etc/passwd"])
def test_links_that_lead_out(imgmove: Run, kind: bytes, target: str, tmp_path: Path) -> None:
    config = json.dumps({"rootfs": {"diff_ids": [str(Digest.of(b""))]}}).encode()
    manifest = json.dumps([{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["l/layer.tar"]}]).encode()
    link = tarfile.TarInfo("l/layer.tar")
    link.type, link.linkname = kind, target
    tar_file(tmp_path / "evil.tar", {"c.json": config, "manifest.json": manifest}, link)
    one_line(imgmove("copy", "./evil.tar", "oci:out"), 4, "leads out of the archive")


def test_links_in_circles(imgmove: Run, tmp_path: Path) -> None:
    config = json.dumps({"rootfs": {"diff_ids": [str(Digest.of(b""))]}}).encode()
    manifest = json.dumps([{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["a"]}]).encode()
    links = []
    for name, target in (("a", "b"), ("b", "a")):
        link = tarfile.TarInfo(name)
        link.type, link.linkname = tarfile.SYMTYPE, target
        links.append(link)
    tar_file(tmp_path / "evil.tar", {"c.json": config, "manifest.json": manifest}, *links)
    one_line(imgmove("copy", "./evil.tar", "oci:out"), 4, "not there")


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounts a small file system")
def test_no_space(imgmove: Run, layout: Path, registry: RegistryServer, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "none", str(small)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("can't mount here")
    try:
        one_line(imgmove("copy", f"oci:{layout}", f"oci:{small / 'out'}"), 1, "destination", "no space left")
        one_line(imgmove("copy", f"oci:{layout}", small / "out.tar"), 1, "destination", "no space left")
        nothing_at(small / "out.tar")
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounts a file system")
def test_a_destination_on_a_read_only_file_system(imgmove: Run, layout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("can't mount here")
    try:
        for target in ("oci:locked/out", "./locked/out.tar", "./locked/out.tar.zst"):
            one_line(imgmove("copy", f"oci:{layout}", target), 1, "destination", "locked/out", "read-only")
        one_line(imgmove("save", f"oci:{layout}:app:1", "-o", "locked/out.tar"), 1, "destination", "read-only")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_destination_that_can_not_be_written(imgmove: Run, layout: Path, tmp_path: Path) -> None:
    one_line(imgmove("copy", f"oci:{layout}", "/proc/imgmove.tar"), 1, "destination", "/proc")
    one_line(imgmove("copy", f"oci:{layout}", "oci:/proc/imgmove"), 1, "/proc")
    one_line(imgmove("copy", f"oci:{layout}", "./no/such/folder/x.tar"), 1, "no such folder")
    (tmp_path / "file").write_text("x")
    one_line(imgmove("copy", f"oci:{layout}", "oci:file"), 2, "is a file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").touch()
    one_line(imgmove("copy", f"oci:{layout}", "oci:full"), 2, "holds other files")
    assert os.listdir(tmp_path / "full") == ["precious"]


@pytest.mark.parametrize("name", ["x.tar.xz", "x.tar.bz2", "x.TBZ", "x.zip"])
def test_archives_of_a_kind_that_is_not_written(imgmove: Run, layout: Path, tmp_path: Path, name: str) -> None:
    one_line(imgmove("copy", f"oci:{layout}", f"./{name}"), 2, "are not written", ".tar.zst", f"oci:./{name} for a lay")
    one_line(
        imgmove("save", f"oci:{layout}", "-o", name), 2, "are not written", f"oci-archive:./{name} for a plain tar"
    )
    nothing_at(tmp_path / name)
    assert imgmove("copy", "-q", f"oci:{layout}", f"oci:./{name}").status == 0


def test_a_file_without_its_dot(imgmove: Run, layout: Path, tmp_path: Path) -> None:
    one_line(imgmove("copy", f"oci:{layout}", "x.tar"), 2, "a file is written ./x.tar")
    one_line(imgmove("copy", "x.tar", "oci:out"), 2, "a file is written ./x.tar")
    nothing_at(tmp_path / "x.tar", tmp_path / "out")


def test_wrong_password(imgmove: Run, registry_factory: Factory, layout: Path) -> None:
    for quirks in (Quirks(basic={"alice": "s3cret"}), Quirks(token=TokenAuth())):
        server = registry_factory(quirks)
        ran = imgmove("copy", f"oci:{layout}", f"{server.host}/app:1", "--dest-creds", "alice:wr0ng")
        one_line(ran, 6, f"destination: {server.host} does not accept the user name or password from --dest-creds")
        assert "wr0ng" not in ran.stderr
        one_line(imgmove("copy", f"oci:{layout}", f"{server.host}/app:1"), 6, f"imgmove login {server.host}")
        assert (
            imgmove("copy", "-q", f"oci:{layout}", f"{server.host}/app:1", "--dest-creds", "alice:s3cret").status == 0
        )


def test_where_a_wrong_password_was_found(
    imgmove: Run, registry_factory: Factory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = registry_factory(Quirks(basic={"alice": "s3cret"}))
    file, entry = tmp_path / "auth.json", base64.b64encode(b"alice:wr0ng").decode()
    file.write_text(json.dumps({"auths": {server.host: {"auth": entry}}}))
    wrong = f"{server.host} does not accept the user name or password"
    hint = f"(imgmove login {server.host} tries and keeps others)"
    for ran in (
        imgmove("tags", f"{server.host}/app", "--authfile", file),
        imgmove("tags", f"{server.host}/app", "--creds", "alice:wr0ng"),
        imgmove("login", server.host, "-u", "alice", "--authfile", "new.json", "-p", "wr0ng"),
    ):
        assert ran.status == 6, ran
        assert "wr0ng" not in ran.stderr
        assert entry not in ran.stderr
        assert wrong in ran.stderr
    one_line(imgmove("tags", f"{server.host}/app", "--authfile", file), 6, f"{wrong} from {file}", hint)
    ran = imgmove("tags", f"{server.host}/app", "--creds", "alice")
    one_line(ran, 6, f"{wrong} from --creds, without a password")
    assert "imgmove login" not in ran.stderr, "what is stored is not at fault"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(file))
    one_line(imgmove("inspect", f"{server.host}/app:1"), 6, f"source: {wrong} from {file} {hint}")


def test_a_scope_too_small(imgmove: Run, registry_factory: Factory, layout: Path) -> None:
    server = registry_factory(Quirks(token=TokenAuth(users={"alice": "s3cret"})))
    server.put_image("public/app", "1")
    assert imgmove("copy", "-q", f"{server.host}/public/app:1", "oci:out").status == 0
    one_line(imgmove("copy", f"oci:{layout}", f"{server.host}/public/app:2"), 6, "destination")


def test_several_images_and_one_name(imgmove: Run, layout: Path) -> None:
    build_index("linux/amd64").put(Layout.writable(LocalFiles(), str(layout)), "other:2")
    one_line(imgmove("copy", f"oci:{layout}", "oci:out"), 2, "app:1", "other:2")
    one_line(imgmove("copy", f"oci:{layout}:app:1", f"oci:{layout}:other:2", "oci:out:x"), 2, "would both become")
    one_line(imgmove("load", "-i", layout, "--to", "localhost:1/all"), 2, "both become", "end the destination in / so")
    ran = imgmove("copy", f"oci:{layout}:app:1", f"oci:{layout}:none:1", "oci:out2")
    assert ran.status == 3, ran
    assert ran.stdout.count("@sha256:") == 1
    assert "none:1" in ran.stderr
    assert "1 of 2 images failed" in ran.stderr


def test_all_of_several_fail_alike(imgmove: Run, layout: Path) -> None:
    ran = imgmove("copy", f"oci:{layout}:no:1", f"oci:{layout}:no:2", "oci:out2")
    assert ran.status == 5, ran
    assert ran.stderr.count("imgmove: ") == 3


def test_an_archive_appears_whole_or_not_at_all(imgmove: Run, layout: Path, tmp_path: Path) -> None:
    ran = imgmove("save", f"oci:{layout}:app:1", f"oci:{layout}:no:2", "-o", "out.tar")
    assert ran.status == 5, ran
    nothing_at(tmp_path / "out.tar")


def test_files_that_are_no_archives(imgmove: Run, tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("hello")
    one_line(imgmove("copy", "./text.tar", "oci:out"), 2, "not an image archive")
    tar_file(tmp_path / "files.tar", {"etc/passwd": b"root"})
    one_line(imgmove("copy", "./files.tar", "oci:out"), 2, "not an archive of images")
    tar_file(tmp_path / "old.tar", {"repositories": b"{}"})
    one_line(imgmove("copy", "./old.tar", "oci:out"), 2, "older than 1.10")
    one_line(imgmove("copy", "./none.tar", "oci:out"), 5, "no such file")
    one_line(imgmove("copy", "docker-archive:none.tar", "oci:out"), 5, "no such file")
    (tmp_path / "folder").mkdir()
    one_line(imgmove("copy", "./folder", "oci:out"), 2, "not an OCI layout (imgmove import takes root file systems)")
    for name in ("version", "manifest.json"):
        (tmp_path / "folder" / name).touch()
    one_line(imgmove("copy", "./folder", "oci:out"), 2, "(skopeo copy dir:./folder oci:DIR makes one of it)")
    tar_file(tmp_path / "blank.tar", {"manifest.json": b"[{}]"})
    one_line(imgmove("copy", "./blank.tar", "oci:out"), 4, "no config")


@pytest.mark.parametrize(
    "words",
    [
        ("mirror", "gone"),
        ("verify", "oci:layout", "--key", "gone"),
        ("copy", "oci:layout", "--hosts", "gone", "--to", "oci:{}"),
        ("bundle", "create", "oci:layout", "-o", "b", "--have", "gone"),
        ("bundle", "create", "oci:layout", "-o", "b", "--sign-key", "gone"),
        ("bundle", "create", "-o", "b", "--from-file", "gone"),
        ("bundle", "create", "-o", "b", "--from-manifests", "gone"),
        ("bundle", "load", "bundle", "--to", "oci:b", "--key", "gone"),
    ],
)
def test_a_file_that_is_no_image_and_not_there(imgmove: Run, layout: Path, tmp_path: Path, words: list[str]) -> None:
    """5 stands for images, tags and repositories alone."""
    one_line(imgmove(*words), 1, "gone")
    nothing_at(tmp_path / "b")


def test_a_wrong_line_in_a_list(imgmove: Run, layout: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"# ours\noci:{layout}\n\nFoo Bar # theirs\n")
    one_line(imgmove("bundle", "create", "-o", "b", "--from-file", "list"), 2, "list:4: not an image reference: 'Foo")
    nothing_at(tmp_path / "b")


def test_a_bundle_is_no_list_of_what_is_there(imgmove: Run, layout: Path) -> None:
    assert imgmove("bundle", "create", "-q", "-o", "old.bundle", f"oci:{layout}").status == 0
    ran = imgmove("bundle", "create", "-o", "new.bundle", "--have", "old.bundle", f"oci:{layout}")
    one_line(ran, 2, "old.bundle is none of imgmove's documents", "(--since takes bundles)")


def test_what_is_deleted_has_to_be_named(imgmove: Run, layout: Path) -> None:
    for words in ([], ["--digest"]):
        one_line(imgmove("delete", *words, f"oci:{layout}"), 2, f"oci:{layout} names no image", "imgmove tags")
    assert imgmove("tags", f"oci:{layout}").stdout == "app:1\n"


@pytest.mark.parametrize(("user", "password", "what"), [("alice", "", "password"), ("", "x", "user name")])
def test_an_empty_login(
    imgmove: Run,
    registry: RegistryServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    user: str,
    password: str,
    what: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(password))
    monkeypatch.setattr("imgmove.cli.naming._asked", lambda *_, **__: "")
    ran = imgmove("login", registry.host, "-u", user, "--password-stdin", "--authfile", tmp_path / "auth.json")
    one_line(ran, 2, f"the {what} is empty")
    nothing_at(tmp_path / "auth.json")


def test_of_several_failures_the_image_is_named_before_the_side(imgmove: Run, registry: RegistryServer) -> None:
    registry.put_image("app", "1")
    ran = imgmove("copy", f"{registry.host}/app:1", f"{registry.host}/app:2", f"{registry.host}/to/")
    assert ran.status == 3
    assert f"imgmove: {registry.host}/to/app:2: source: {registry.host}/app has no tag 2" in ran.stderr


def test_schema_1(imgmove: Run, registry: RegistryServer, fixture_path: Callable[..., Path]) -> None:
    content = fixture_path("manifests", "schema1", "v2s1-unsigned.json").read_bytes()
    registry.put_manifest("old", content, media_types.DOCKER_SCHEMA1, "1")
    one_line(imgmove("copy", f"{registry.host}/old:1", "oci:out"), 4, "schema 1")


def test_control_characters_of_others_stay_away_from_the_terminal(imgmove: Run, registry: RegistryServer) -> None:
    ran = imgmove("inspect", f"{registry.host}/x:\x1b[31m")
    assert ran.status == 2
    assert "\x1b" not in ran.stderr
    registry.put_image("app", "1", annotations={"evil": "\x1b]0;title\x07", "line": "a\nb"})
    ran = imgmove("inspect", f"{registry.host}/app:1")
    assert ran.status == 0, ran
    assert "\x1b" not in ran.stdout
    assert "\x07" not in ran.stdout


def test_json_holds_control_characters_without_sending_them(imgmove: Run, registry: RegistryServer) -> None:
    evil = "\x1b[2J\x9b31m\x7f\u202eé"
    registry.put_image("app", "1", annotations={"evil": evil})
    ran = imgmove("inspect", "--json", f"{registry.host}/app:1")
    assert json.loads(ran.stdout)["annotations"] == {"evil": evil}
    assert "é" in ran.stdout
    assert not set("\x1b\x9b\x7f\u202e") & set(ran.stdout)


def test_a_config_of_other_shapes_and_sizes_is_shown_as_it_is(imgmove: Run, layout: Path) -> None:
    inner = {"Env": 7, "ExposedPorts": 80, "Volumes": "/data", "Labels": ["x"], "Cmd": {"a": 1}}
    config = json.dumps({"os": "o" * 5000, "architecture": "amd64", "config": inner}).encode()
    described = Descriptor.of(config, media_types.OCI_CONFIG)
    writable = Layout.writable(LocalFiles(), str(layout))
    put_blob(writable, described, config)
    manifest = make_manifest(media_types.OCI_MANIFEST, described, [])
    entries = [{**manifest.descriptor.to_json(), "platform": {"os": "o" * 5000, "architecture": "amd64"}}] * 2
    document = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": entries}
    writable.put_manifest(manifest.content, manifest.media_type, ())
    writable.put_manifest(json.dumps(document).encode(), media_types.OCI_INDEX, ("odd:1",))
    ran = imgmove("inspect", f"oci:{layout}:odd:1")
    assert ran.status == 0, ran
    assert all(row in ran.stdout.splitlines() for row in ("env         7", "port        80", "volume      /data"))
    assert max(map(len, ran.stdout.splitlines())) < 300


def test_one_image_of_several_names_is_one_image(imgmove: Run, layout: Path) -> None:
    assert imgmove("copy", "--additional-tag", "2", f"oci:{layout}:app:1", "./two.tar").status == 0
    assert imgmove("tags", "./two.tar").stdout.count("\n") == 2
    for words in (
        ("inspect", "./two.tar"),
        ("export", "./two.tar", "-o", "tree.tar"),
        ("copy", "./two.tar", "oci:out"),
    ):
        assert imgmove(*words).status == 0


def test_a_sparse_index_names_what_is_absent(imgmove: Run, fixture_path: Callable[..., Path]) -> None:
    archive = fixture_path("archives", "oras-hello-world.tar")
    one_line(imgmove("copy", archive, "oci:out"), 5, "linux/", "does not hold manifest")
    assert imgmove("copy", "-q", "--platform", "linux/amd64", archive, "oci:out").status == 0


def test_no_image_for_a_platform(imgmove: Run, layout: Path, tmp_path: Path) -> None:
    build_index("linux/amd64", "linux/arm64").put(Layout.writable(LocalFiles(), str(layout)), "multi:1")
    one_line(
        imgmove("copy", "--platform", "linux/s390x", f"oci:{layout}:multi:1", "oci:out"), 5, "linux/amd64, linux/arm64"
    )
    one_line(imgmove("copy", "--platform", "linux/arm64", f"oci:{layout}:app:1", "oci:out"), 5, "linux/amd64 alone")
