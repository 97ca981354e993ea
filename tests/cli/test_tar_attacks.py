"""Tar headers that lie: one clear line, whether the archive is a file or a pipe, and nothing appears."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import imgmove as api
from imgmove.endpoints.factory import Endpoints
from imgmove.errors import ImgmoveError
from imgmove.model.location_grammar import parse_location
from imgmove.rootfs.tar import END
from imgmove.settings import Settings
from imgmove.stages.copy import copy
from tests.cli.conftest import Run

BLOB = "blobs/sha256/" + "a" * 64


def header(name: str, size: bytes, kind: bytes = b"0", target: bytes = b"") -> bytes:
    block = bytearray(512)
    parts = {0: name.encode("latin-1"), 100: b"0000644", 108: b"0000000", 116: b"0000000", 124: size}
    for at, part in {**parts, 136: b"00000000000", 148: b" " * 8, 156: kind, 157: target, 257: b"ustar\x0000"}.items():
        block[at : at + len(part)] = part
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def octal(size: int) -> bytes:
    return b"%011o\0" % size


def pax(record: bytes) -> bytes:
    """A header that speaks of the index that follows."""
    padded = record + bytes(-len(record) % 512)
    return header("pax", octal(len(record)), b"x") + padded + header("index.json", octal(2)) + b"{}".ljust(512, b"\0")


ATTACKS = {
    "a negative size": (header("index.json", b"\xff" + (2**88 - 5).to_bytes(11, "big")) + END, 4),
    "a size of 2^80": (header("index.json", b"\x80" + (2**80).to_bytes(11, "big")) + END, 4),
    "a TiB that is not there": (header("index.json", b"\x80" + (2**40).to_bytes(11, "big")) + bytes(512), 1),
    "8 GiB that are not there": (header(BLOB, octal(8**11 - 1)) + bytes(4096), 1),
    "a size that is no number": (header("index.json", b"zzzzzzzzzzz\0") + END, 4),
    "a pax header of a GiB": (header("pax", octal(1 << 30), b"x") + b"11 size=99\n" * 10, 4),
    "a pax record that is longer than its header": (pax(b"20 size=9999999999\n") + END, 4),
    "a pax size below nothing": (pax(b"12 size=-99\n") + END, 4),
    "a pax size of 5,000 digits": (pax(b"5000 size=" + b"9" * 4989 + b"\n") + END, 4),
    "a long name of a GiB": (header("././@LongLink", octal(1 << 30), b"L") + b"a" * 1024, 4),
    "a name that leads out": (header("../../etc/x", octal(0)) + END, 4),
    "a name that commands a terminal": (header("\xff\xfe\n\x1b[31m", octal(0)) + END, 2),
    "an index that is a folder": (header("index.json/", octal(0), b"5") + END, 2),
    "an index that is a link to itself": (header("index.json", octal(0), b"2", b"index.json") + END, 2),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_in_a_file(imgmove: Run, tmp_path: Path, attack: str) -> None:
    content, status = ATTACKS[attack]
    (tmp_path / "x.tar").write_bytes(content)
    ran = imgmove("copy", "-q", "./x.tar", "oci:out")
    assert ran.status == status, ran
    assert len(ran.stderr.splitlines()) == 1
    assert "\x1b" not in ran.stderr
    assert not (tmp_path / "out").exists()


class Pipe(io.BytesIO):
    """Comes once."""

    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("attack", ATTACKS)
def test_in_a_pipe(settings: Settings, tmp_path: Path, attack: str) -> None:
    content, status = ATTACKS[attack]

    with api.Session(settings) as session:
        session.endpoints = Endpoints(settings, stdin=Pipe(content))
        target = parse_location(f"oci:{tmp_path / 'out'}")
        with pytest.raises(ImgmoveError) as caught:
            copy(session, [parse_location("-")], [target])
    assert caught.value.exit_status == status
    assert not (tmp_path / "out" / "index.json").exists()
