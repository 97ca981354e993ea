"""Which programs the tests of real servers need, and what to do about one that is missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

NEWER = Path(__file__).parents[2] / ".cache" / "trixie" / "bin"

ADVICE = {
    "docker-registry": "on Debian: apt-get install docker-registry",
    "skopeo": "on Debian: apt-get install skopeo",
    "umoci": "on Debian: apt-get install umoci",
    "htpasswd": "on Debian: apt-get install apache2-utils",
    "dockerd": "on Debian: apt-get install docker.io",
    "podman": "on Debian: apt-get install podman",
    "containerd": "on Debian: apt-get install containerd",
    "chromium": "on Debian: apt-get install chromium",
    "crontab": "on Debian: apt-get install cron",
    "systemd-analyze": "on Debian: apt-get install systemd",
    "sshd": "on Debian: apt-get install openssh-server",
    "ssh-keygen": "on Debian: apt-get install openssh-client",
    "tcsh": "on Debian: apt-get install tcsh",
    "fish": "on Debian: apt-get install fish",
}


def require(*programs: str) -> None:
    """Makes sure that programs are there; with ``CI=true`` a missing one is a failure, else the test is left out."""
    for program in programs:
        if _found(program) is None:
            absent(f"{program}; {ADVICE.get(program, 'it is not installed')}")


def absent(what: str) -> None:
    """Fails with ``CI=true`` for want of something, else leaves the test out."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"needs {what}")
    pytest.skip(f"needs {what}")


def newer_programs() -> str:
    """The folder of the newer engines that are unpacked beside Debian's own."""
    if not (NEWER / "dockerd").exists():
        absent("newer engines; on Debian 12: scripts/get-trixie.sh .cache/trixie")
    return str(NEWER)


def _found(program: str) -> str | None:
    # sshd lies where the PATH of most users does not lead.
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def missing_servers() -> dict[str, str]:
    """The programs that are not there, with what to do."""
    return {program: advice for program, advice in ADVICE.items() if _found(program) is None}
