"""What is measured: each row of the table is one job, done by every program that can do it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Command = Callable[["Job"], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Job:
    """One run of one program.

    Attributes:
        source: a registry that has the images, as ``HOST``; perhaps behind a slow link.
        destination: an empty registry.
        archive: a file in docker's old form, 316 MB.
        layout: an OCI layout with the same image as ``image:1``.
        folder: for what is written; empty.
    """

    source: str
    destination: str
    archive: str
    layout: str
    folder: str


@dataclass(frozen=True, slots=True)
class Row:
    """A job for several programs.

    Attributes:
        commands: what each program is called with, by its name.
        target: how many times the best peer's time imgmove may take.
        round_trip: milliseconds, on the way to the source and to the destination.
        megabits: a connection, at the source; 0 for as fast as it goes.
        is_warm: the destination holds the image already.
        minus_start: the interpreter's start is not counted.
        floors: the least that the job could cost, which is no peer's time.
        seconds: how long imgmove may take, whatever others take; 0 for as long as the target says.
    """

    name: str
    commands: Mapping[str, Command]
    target: float
    round_trip: float = 0
    megabits: float = 0
    is_warm: bool = False
    minus_start: bool = False
    floors: dict[str, Command] = field(default_factory=dict)
    seconds: float = 0


def _registry_copy(image: str) -> dict[str, Command]:
    return {
        "imgmove": lambda job: ["imgmove", "copy", "-q", f"{job.source}/{image}", f"{job.destination}/{image}"],
        "crane": lambda job: ["crane", "copy", "--insecure", f"{job.source}/{image}", f"{job.destination}/{image}"],
        "skopeo": lambda job: [
            *("skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"),
            *(f"docker://{job.source}/{image}", f"docker://{job.destination}/{image}"),
        ],
        "regctl": lambda job: [
            *("regctl", "--host", f"reg={job.source},tls=disabled", "--host", f"reg={job.destination},tls=disabled"),
            *("image", "copy", f"{job.source}/{image}", f"{job.destination}/{image}"),
        ],
        "oras": lambda job: [
            *("oras", "cp", "--from-plain-http", "--to-plain-http"),
            *(f"{job.source}/{image}", f"{job.destination}/{image}"),
        ],
    }


def _floor(*options: str) -> Command:
    script = str(Path(__file__).with_name("floor.py"))
    return lambda job: [sys.executable, "-I", script, job.source, job.destination, "large", *options]


_FLOORS: dict[str, Command] = {"bare sockets": _floor(), "bare sockets, SHA-256": _floor("--hash")}
_FROM_ARCHIVE: dict[str, Command] = {
    "imgmove": lambda job: ["imgmove", "copy", "-q", f"docker-archive:{job.archive}", f"{job.destination}/image:1"],
    "crane": lambda job: ["crane", "push", "--insecure", job.archive, f"{job.destination}/image:1"],
    "skopeo": lambda job: [
        *("skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false"),
        *(f"docker-archive:{job.archive}", f"docker://{job.destination}/image:1"),
    ],
}
_TO_ARCHIVE: dict[str, Command] = {
    "imgmove": lambda job: ["imgmove", "copy", "-q", f"{job.source}/image:1", f"{job.folder}/out.tar"],
    "crane": lambda job: ["crane", "pull", "--insecure", f"{job.source}/image:1", f"{job.folder}/out.tar"],
    "skopeo": lambda job: [
        *("skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false"),
        *(f"docker://{job.source}/image:1", f"docker-archive:{job.folder}/out.tar"),
    ],
    "regctl": lambda job: [
        *("regctl", "--host", f"reg={job.source},tls=disabled"),
        *("image", "export", f"{job.source}/image:1", f"{job.folder}/out.tar"),
    ],
}


def _export(image: str) -> dict[str, Command]:
    return {
        "imgmove": lambda job: ["imgmove", "export", "-q", f"{job.source}/{image}", "-o", f"{job.folder}/out.tar"],
        "crane": lambda job: ["crane", "export", "--insecure", f"{job.source}/{image}", f"{job.folder}/out.tar"],
    }


_EXPORT_OF_LAYOUT: dict[str, Command] = {
    "imgmove": lambda job: ["imgmove", "export", "-q", f"oci:{job.layout}:image:1", "-o", f"{job.folder}/out.tar"],
    "umoci": lambda job: ["umoci", "unpack", "--image", f"{job.layout}:image:1", f"{job.folder}/bundle"],
}


def _to_layout(image: str) -> dict[str, Command]:
    return {
        "imgmove": lambda job: ["imgmove", "copy", "-q", f"{job.source}/{image}", f"oci:{job.folder}/out:x"],
        "crane": lambda job: [
            *("crane", "pull", "--insecure", "--format", "oci"),
            *(f"{job.source}/{image}", f"{job.folder}/out"),
        ],
        "skopeo": lambda job: [
            *("skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false"),
            *(f"docker://{job.source}/{image}", f"oci:{job.folder}/out:x"),
        ],
        "regctl": lambda job: [
            *("regctl", "--host", f"reg={job.source},tls=disabled"),
            *("image", "copy", f"{job.source}/{image}", f"ocidir://{job.folder}/out:x"),
        ],
        "oras": lambda job: [
            *("oras", "cp", "--from-plain-http", "--to-oci-layout"),
            *(f"{job.source}/{image}", f"{job.folder}/out:x"),
        ],
    }


_VERSION: dict[str, Command] = {
    "imgmove": lambda _: ["imgmove", "--version"],
    "crane": lambda _: ["crane", "version"],
    "skopeo": lambda _: ["skopeo", "--version"],
    "regctl": lambda _: ["regctl", "version"],
    "oras": lambda _: ["oras", "version"],
}

ROWS: tuple[Row, ...] = (
    Row("registry → registry, 119 MB in 4 layers", _registry_copy("image:1"), 1.5, minus_start=True),
    Row("registry → registry, one 1 GiB layer", _registry_copy("large:1"), 1.1, floors=_FLOORS),
    Row("registry → registry, 60 layers, 40 ms round trip", _registry_copy("sixty:1"), 0.4, round_trip=40),
    Row("registry → registry, 119 MB, 80 Mbit/s a connection", _registry_copy("image:1"), 0.4, megabits=80),
    Row("docker-archive (316 MB) → registry", _FROM_ARCHIVE, 0.6),
    Row("registry → archive, 119 MB", _TO_ARCHIVE, 1.5, minus_start=True),
    Row("registry → OCI layout, 119 MB", _to_layout("image:1"), 1.5, minus_start=True),
    Row("registry → OCI layout, 60 layers", _to_layout("sixty:1"), 1.5, minus_start=True),
    Row("export, root file system as one tar, 316 MB", _export("image:1"), 0.6),
    # umoci takes 1.77 times what crane takes for this, and crane is not everywhere.
    Row("export of an OCI layout, 316 MB", _EXPORT_OF_LAYOUT, 0.34),
    Row("export, 200,000 tiny files", _export("tiny:1"), 1.2),
    Row("unchanged image, 40 ms round trip", _registry_copy("image:1"), 2.5, round_trip=40, is_warm=True),
    Row("--version", _VERSION, 0, seconds=0.08),
)
