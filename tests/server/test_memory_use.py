"""However large a blob, the registry's memory stays as it is."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

pytestmark = pytest.mark.memory

SIZE = 512 << 20
BLOCK = bytes(range(256)) * 4096
MOST_MEGABYTES = 20

SERVER = """
import sys
from pathlib import Path
from imgmove.server import HttpServer, MemoryRepositories, Registry

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024

with HttpServer(Registry(MemoryRepositories(Path(sys.argv[1])))) as server:
    print(server.host, peak(), flush=True)
    sys.stdin.read()
    print(peak(), flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
@pytest.mark.parametrize("how", ["put", "patch", "post"])
def test_half_a_gibibyte_in_and_out(tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-c", SERVER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            host, before = process.stdout.readline().split()
            digest = f"sha256:{_digest()}"
            _push(host, digest, how)
            _pull(host, digest)
            _refused(host)
            process.stdin.close()
            after = int(process.stdout.readline())
        finally:
            process.kill()
    assert after - int(before) < MOST_MEGABYTES


def _digest() -> str:
    hasher = hashlib.sha256()
    for _ in range(SIZE // len(BLOCK)):
        hasher.update(BLOCK)
    return hasher.hexdigest()


def _blocks() -> list[bytes]:
    return [BLOCK] * (SIZE // len(BLOCK))


def _push(host: str, digest: str, how: str) -> None:
    connection = HTTPConnection(host, timeout=60)
    length = {"Content-Length": str(SIZE)}
    if how == "post":
        connection.request("POST", f"/v2/big/blobs/uploads/?digest={digest}", iter(_blocks()), length)
    else:
        connection.request("POST", "/v2/big/blobs/uploads/")
        location = _end(connection, 202)
        if how == "patch":
            connection.request("PATCH", location, iter(_blocks()), encode_chunked=True)
            _end(connection, 202)
            connection.request("PUT", f"{location}?digest={digest}")
        else:
            connection.request("PUT", f"{location}?digest={digest}", iter(_blocks()), length)
    _end(connection, 201)
    connection.close()


def _end(connection: HTTPConnection, status: int) -> str:
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (status, b"")
    return answer.headers["Location"]


def _pull(host: str, digest: str) -> None:
    connection = HTTPConnection(host, timeout=60)
    connection.request("GET", f"/v2/big/blobs/{digest}")
    answer = connection.getresponse()
    hasher = hashlib.sha256()
    while block := answer.read(1 << 20):
        hasher.update(block)
    assert f"sha256:{hasher.hexdigest()}" == digest
    connection.close()


def _refused(host: str) -> None:
    """A body that nobody wants is not kept either."""
    connection = HTTPConnection(host, timeout=60)
    try:
        connection.request("PUT", "/v2/big/manifests/x", iter([BLOCK] * 64), {"Content-Length": str(len(BLOCK) * 64)})
        assert connection.getresponse().status == 413
    except ConnectionError:
        pass  # the server may close before it has heard all
    connection.close()
