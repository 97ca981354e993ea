"""Homes, machines and credential helpers that belong to one test alone."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from imgmove.settings.environment import Environment

FIXTURES = Path(__file__).parents[1] / "data" / "fixtures"

_HELPER = """#!{python} -SE
import json, os, sys
state = {state!r}
verb, request = sys.argv[1], sys.stdin.read()
kept = json.load(open(state))
kept["calls"].append([verb, request])
if verb == "store":
    entry = json.loads(request)
    kept["servers"][entry["ServerURL"]] = entry
elif request not in kept["servers"]:
    json.dump(kept, open(state, "w"))
    sys.exit(print("credentials not found in native keychain") or 1)
elif verb == "get":
    print(json.dumps(kept["servers"][request]))
else:
    del kept["servers"][request]
json.dump(kept, open(state, "w"))
"""


@dataclass(frozen=True)
class Machine:
    """A home folder and a system folder, both empty at first, with variables of their own."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def system(self) -> Path:
        return self.folder / "system"

    def environment(self, **variables: str) -> Environment:
        known = {"PATH": str(self.folder / "bin"), "XDG_RUNTIME_DIR": str(self.folder / "runtime")}
        return Environment.read(known | variables, home=str(self.home), system=str(self.system))

    def write(self, path: str, content: str | bytes) -> Path:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return target

    def write_json(self, path: str, value: object) -> Path:
        return self.write(path, json.dumps(value))

    def write_program(self, name: str, text: str) -> Path:
        program = self.write(f"bin/{name}", text)
        program.chmod(0o755)
        return program


class Helper:
    """A credential helper that keeps what it is given in a file, and notes every call."""

    def __init__(self, machine: Machine, name: str, servers: dict[str, dict[str, str]]) -> None:
        self._state = machine.write_json(f"{name}.state", {"servers": servers, "calls": []})
        text = _HELPER.format(python=os.path.realpath(sys.executable), state=str(self._state))
        machine.write_program(f"docker-credential-{name}", text)

    def _read(self) -> dict[str, object]:
        state: dict[str, object] = json.loads(self._state.read_text())
        return state

    @property
    def servers(self) -> object:
        return self._read()["servers"]

    @property
    def calls(self) -> object:
        return self._read()["calls"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    for folder in (machine.home, machine.system, tmp_path / "bin"):
        folder.mkdir()
    return machine
