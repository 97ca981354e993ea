"""The least that moving one layer can cost in Python: bytes from one socket to the other, with or without their SHA-256.

usage: python floor.py SOURCE DESTINATION REPOSITORY [--hash]

What imgmove takes beyond this is its own; what this takes beyond another program is Python's, or that of checking what is moved.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import sys

_BLOCK = 256 << 10
_ACCEPTED = "application/vnd.oci.image.manifest.v1+json"


def _asked(host: str, method: str, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(host)
    connection.request(method, path, headers={"Accept": _ACCEPTED, "Content-Length": "0"})
    return connection.getresponse()


def relay(source: str, destination: str, repository: str, *, hashes: bool) -> None:
    """Moves the first layer of ``repository:1``.

    Raises:
        ValueError: the destination did not take it, or it is not what its digest says.
    """
    manifest = json.load(_asked(source, "GET", f"/v2/{repository}/manifests/1"))
    layer = manifest["layers"][0]
    begun = _asked(destination, "POST", f"/v2/{repository}/blobs/uploads/")
    begun.read()
    path = begun.headers["Location"].partition(destination)[2]
    near = _asked(source, "GET", f"/v2/{repository}/blobs/{layer['digest']}")
    host, _, port = destination.rpartition(":")
    far = socket.create_connection((host, int(port)))
    far.sendall(
        f"PUT {path}&digest={layer['digest']} HTTP/1.1\r\nHost: {destination}\r\nConnection: close\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {layer['size']}\r\n\r\n".encode()
    )
    hasher, buffer = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    while count := near.readinto(buffer):
        if hashes:
            hasher.update(buffer[:count])
        far.sendall(buffer[:count])
    status = far.makefile("rb").readline()
    if b" 201 " not in status or (hashes and f"sha256:{hasher.hexdigest()}" != layer["digest"]):
        raise ValueError(f"not moved: {status!r}")


if __name__ == "__main__":
    relay(*sys.argv[1:4], hashes="--hash" in sys.argv[4:])
