"""``imgmove serve`` as a process: what it prints, who may come in, how it ends."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path

import bcrypt
import pytest
import trustme

from imgmove.endpoints.layout import Layout
from imgmove.model.digest import Digest
from imgmove.wire.files import LocalFiles
from tests.cli.conftest import Run
from tests.images import build_artifact, build_image, build_index
from tests.server.client import call

Server = Callable[..., contextlib.AbstractContextManager[str]]


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """A layout with names of every kind."""
    path = tmp_path / "shelf"
    made = Layout.writable(LocalFiles(), str(path))
    image = build_image()
    image.put(made, "team/app:1", "docker.io/library/alpine:3.20", "nightly")
    build_index("linux/amd64", "linux/arm64").put(made, "multi:2")
    build_artifact(None, "application/x-signature").put(made, f"sha256-{image.root.digest.hex}.sig")
    return path


@pytest.fixture
def serving(environment: dict[str, str], tmp_path: Path) -> Server:
    """Runs ``imgmove serve`` on a free port until the block ends, and sees to it that it ends well."""

    @contextlib.contextmanager
    def run(*words: object, largest: int = 0) -> Iterator[str]:
        command = [sys.executable, "-m", "imgmove", "serve", *map(str, words), "--listen", "127.0.0.1:0"]
        if largest:
            command = ["bash", "-c", f'ulimit -f {largest >> 10}; exec "$@"', "serve", *command]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
        ) as process:
            try:
                assert process.stdout is not None
                url = process.stdout.readline().strip()
                assert url, process.stderr.read() if process.stderr else ""
                yield url
            finally:
                process.send_signal(signal.SIGTERM)
                status = process.wait(20)
            assert status == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""

    return run


def get(url: str, context: ssl.SSLContext | None = None, user: str = "") -> object:
    headers = {"Authorization": f"Basic {b64encode(user.encode()).decode()}"} if user else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20, context=context) as answer:
        return json.load(answer)


def test_names(layout: Path, serving: Server, imgmove: Run) -> None:
    with serving(f"oci:{layout}") as url:
        assert get(f"{url}/v2/_catalog") == {"repositories": ["library/alpine", "multi", "shelf", "team/app"]}
        tags = get(f"{url}/v2/shelf/tags/list")
        assert isinstance(tags, dict)
        signature, nightly = sorted(tags["tags"], key=len, reverse=True)
        assert nightly == "nightly"
        assert signature.startswith("sha256-")
        assert signature.endswith(".sig"), "signatures are tags of their image's repository"
        assert isinstance(get(f"{url}/v2/team/app/manifests/{signature}"), dict)
        subject = signature.removesuffix(".sig").replace("-", ":")
        found = get(f"{url}/v2/team/app/referrers/{subject}")
        assert isinstance(found, dict)
        assert found["manifests"] == [], "what lies under cosign's tags names no subject"
        host = url.removeprefix("http://")
        assert len(json.loads(imgmove("inspect", "--json", f"{host}/team/app:1").stdout)["referrers"]) == 1


def test_copies_come_out_of_every_form(layout: Path, serving: Server, imgmove: Run, tmp_path: Path) -> None:
    imgmove("save", f"oci:{layout}:multi:2", "-o", "multi.tar")
    imgmove("save", f"oci:{layout}:multi:2", "-o", "multi.tar.gz")
    for place in (f"oci:{layout}", "./multi.tar", "./multi.tar.gz"):
        with serving(place) as url:
            host = url.removeprefix("http://")
            repository = "multi" if place.startswith("oci") else "library/multi"
            ran = imgmove("copy", "-q", f"{host}/{repository}:2", f"oci:{tmp_path / 'out'}:multi")
            assert ran.status == 0, ran.stderr
    assert imgmove("verify", f"oci:{layout}:multi:2", f"oci:{tmp_path / 'out'}:multi").status == 0


def test_read_only_unless_asked_for(layout: Path, serving: Server, imgmove: Run) -> None:
    with serving(f"oci:{layout}") as url:
        ran = imgmove("copy", "-q", f"oci:{layout}:multi:2", f"{url.removeprefix('http://')}/new/app:1")
        assert ran.status == 1
        assert "nothing can be pushed" in ran.stderr


def test_pushing_into_a_layout(layout: Path, serving: Server, imgmove: Run, tmp_path: Path) -> None:
    new = tmp_path / "made" / "by-it"
    with serving(f"oci:{new}", "--writable") as url:
        host = url.removeprefix("http://")
        for name in ("team/app:1", "multi:2"):
            ran = imgmove("copy", "-q", f"oci:{layout}:{name}", f"{host}/{name}")
            assert ran.status == 0, ran.stderr
            assert imgmove("verify", f"oci:{layout}:{name}", f"{host}/{name}").status == 0
        assert imgmove("tag", f"{host}/multi:2", "3").status == 0
        assert imgmove("delete", f"{host}/multi:2").status == 0
        assert imgmove("tags", f"{host}/multi").stdout.split() == ["3"]
    assert imgmove("tags", f"oci:{new}").stdout.split() == ["multi:3", "team/app:1"]
    assert "1 valid" not in imgmove("verify", f"oci:{new}:team/app:1").stdout


def test_a_full_name_is_replaced_by_a_push(layout: Path, serving: Server, imgmove: Run) -> None:
    with serving(f"oci:{layout}", "--writable") as url:
        host = url.removeprefix("http://")
        assert imgmove("copy", "-q", f"oci:{layout}:multi:2", f"{host}/library/alpine:3.20").status == 0
    names = imgmove("tags", f"oci:{layout}").stdout.split()
    assert [name for name in names if "alpine" in name] == ["docker.io/library/alpine:3.20"]


def test_tls_and_passwords(layout: Path, serving: Server, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    hashed = bcrypt.hashpw(b"s3cret", bcrypt.gensalt(4)).decode()
    (tmp_path / "users").write_text(f"# users\nalice:{hashed}\n")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    words = ("--tls-cert", "cert.pem", "--tls-key", "key.pem", "--htpasswd", "users")
    with serving(f"oci:{layout}", *words) as url:
        assert url.startswith("https://")
        for _ in range(2):
            assert get(f"{url}/v2/", context, "alice:s3cret") == {}
        for user in ("", "alice:wrong", "bob:s3cret"):
            with pytest.raises(urllib.error.HTTPError, match="401") as caught:
                get(f"{url}/v2/", context, user)
            caught.value.close()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("oci:none",), 5, "none"),
        (("reg.example.com/app",), 2, "can't be served"),
        (("oci:two",), 2, "would both be served as app:1"),
        (("./x.tar", "--writable"), 2, "--writable needs a layout"),
        (("oci:shelf", "--tls-cert", "none.pem"), 2, "none.pem cannot be used as a server's certificate and key"),
        (("oci:shelf", "--tls-key", "none.pem"), 2, "--tls-cert"),
        (("oci:shelf", "--htpasswd", "none"), 2, "no such file"),
        (("oci:shelf", "--htpasswd", "weak"), 2, "not bcrypt"),
        (("oci:shelf", "--listen", "127.0.0.1:99999"), 2, "not an address"),
        (("oci:shelf", "--listen", "192.0.2.1:1"), 1, "can't listen on 192.0.2.1:1"),
    ],
)
def test_what_can_not_be_served(
    words: tuple[str, ...], status: int, said: str, layout: Path, imgmove: Run, tmp_path: Path
) -> None:
    (tmp_path / "weak").write_text("alice:{SHA}x\n")
    two = Layout.writable(LocalFiles(), str(tmp_path / "two"))
    build_image().put(two, "reg.example.com/app:1")
    build_image([{"two": b"2"}]).put(two, "reg.example.org/app:1")
    ran = imgmove("serve", *words)
    assert ran.status == status, ran.stderr
    assert said in ran.stderr
    assert ran.stdout == ""


def test_pushes_that_find_no_room(layout: Path, serving: Server) -> None:
    """One clear answer that tells nothing of the folder, nothing left behind, and the next one may fit."""
    before = sorted(path.name for path in layout.rglob("*"))
    with serving(f"oci:{layout}", "--writable", largest=2 << 20) as url:
        server = Address(url.removeprefix("http://"))
        for body, status in ((b"x" * (3 << 20), 500), (b"y" * (1 << 20), 201)):
            path = f"/v2/team/app/blobs/uploads/?digest={Digest.of(body)}"
            answer = call(server, "POST", path, body)
            assert answer.status == status
            if status == 500:
                assert str(layout) not in answer.body.decode()
                assert "storage fails" in answer.document["errors"][0]["message"]
                assert sorted(path.name for path in layout.rglob("*")) == before
        begun = call(server, "POST", "/v2/team/app/blobs/uploads/").headers["Location"]
        assert call(server, "PATCH", begun, b"never finished").status == 202
    assert len(list(layout.rglob("*"))) == len(before) + 1, "the end of the server is the end of unfinished uploads"


def test_many_who_push_the_same_blob(layout: Path, serving: Server) -> None:
    body = b"the same" * 50_000
    with serving(f"oci:{layout}", "--writable") as url, ThreadPoolExecutor(8) as pool:
        server, digest = Address(url.removeprefix("http://")), Digest.of(body)
        path = f"/v2/team/app/blobs/uploads/?digest={digest}"
        answers = list(pool.map(lambda _: call(server, "POST", path, body).status, range(16)))
        assert answers == [201] * 16
        assert call(server, "GET", f"/v2/team/app/blobs/{digest}").body == body


def test_the_end_comes_in_the_middle_of_a_pull(tmp_path: Path, serving: Server) -> None:
    """The client gets a broken connection, never a shorter blob that looks whole; the server ends well all the same."""
    layer = random.Random(1).randbytes(30_000_000)
    image = build_image([{"noise": layer}])
    image.put(Layout.writable(LocalFiles(), str(tmp_path / "large")), "team/app:1")
    digest, content = max(image.blobs.items(), key=lambda item: len(item[1]))
    with contextlib.ExitStack() as stack:
        with serving(f"oci:{tmp_path / 'large'}") as url:
            connection = HTTPConnection(url.removeprefix("http://"), timeout=20)
            stack.callback(connection.close)
            connection.request("GET", f"/v2/team/app/blobs/{digest}")
            response = connection.getresponse()
            assert response.read(1000) == content[:1000]
        with pytest.raises((IncompleteRead, OSError)):
            response.read()


@dataclass(frozen=True)
class Address:
    """Where a server answers."""

    host: str
