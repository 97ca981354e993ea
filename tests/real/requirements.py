"""Which programs the tests of real servers need, and what to do about one that is missing."""

from __future__ import annotations

import os
import shutil

import pytest

ADVICE = {
    "docker-registry": "on Debian: apt-get install docker-registry",
    "skopeo": "on Debian: apt-get install skopeo",
    "umoci": "on Debian: apt-get install umoci",
    "htpasswd": "on Debian: apt-get install apache2-utils",
}


def require(*programs: str) -> None:
    """Makes sure that programs are there; with ``CI=true`` a missing one is a failure, else the test is left out."""
    for program in programs:
        if shutil.which(program) is None:
            message = f"needs {program}; {ADVICE.get(program, 'it is not installed')}"
            if os.environ.get("CI") == "true":
                pytest.fail(message)
            pytest.skip(message)


def missing_servers() -> dict[str, str]:
    """The programs that are not there, with what to do."""
    return {program: advice for program, advice in ADVICE.items() if shutil.which(program) is None}
