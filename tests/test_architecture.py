"""The house's plan, held against the imports: no room reaches upward or sideways, every library has one door."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "imgmove"

ROOMS = [
    {"version"},
    {"errors"},
    {"model"},
    {"ports"},
    {"streams"},
    {"engine", "wire", "knowledge", "settings"},
    {"rootfs", "server"},
    {"endpoints"},
    {"stages"},
    {"airgap", "mirror"},
    {"api"},
    {"cli"},
]
"""Each room may import rooms of earlier lines and itself; rooms of one line do not import each other."""

DOORS = {
    "requests": "wire/http",
    "urllib3": "wire/http",
    "certifi": "wire/http",
    "isal": "wire/codec",
    "yaml": "wire/yaml",
    "zstandard": "wire/codec",
    "bcrypt": "wire/passwords",
    "cryptography": "wire/signing",
    "invoke": "wire/ssh",
    "paramiko": "wire/ssh",
    "msgspec": "mirror/schema",
    "jinja2": "mirror/page",
    "prometheus_client": "mirror/metrics",
    "distributed": "mirror/cluster",
    "typer": "cli",
    "tqdm": "cli",
}
"""Which library is imported where, and nowhere else."""

FRONT = {"__init__", "__main__"}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file that stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            assert node.module
            yield node.module
            # "from imgmove.wire import codec" imports a module too.
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "imgmove")


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def line_of(room: str) -> int:
    found = [number for number, rooms in enumerate(ROOMS) if room in rooms]
    assert found, f"{room} is in no line of the plan"
    return found[0]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_import_downwards_only(path: Path) -> None:
    room = room_of(path)
    if room in FRONT:
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "imgmove" or len(parts) < 2 or parts[1] == room or parts[1].startswith("_"):
            continue
        other = parts[1]
        assert line_of(other) < line_of(room), f"{room} must not import {other} ({name})"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_libraries_come_in_through_their_door(path: Path) -> None:
    place = str(path.relative_to(ROOT)).removesuffix(".py")
    for name in imports(path):
        library = name.split(".")[0]
        if library == "imgmove" or library in sys.stdlib_module_names:
            continue
        assert library in DOORS, f"{place} imports {library}, which has no door"
        door = DOORS[library]
        assert place == door or place.startswith(f"{door}/"), f"{library} belongs to {door}, not {place}"


def imported_by(code: str, *arguments: str) -> set[str]:
    """The top-level modules that a fresh interpreter has imported after running some code."""
    program = f"{code}\nimport sys\nprint('\\n'.join(sorted({{name.split('.')[0] for name in sys.modules}})), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


HEAVY = {
    *("requests", "urllib3", "paramiko", "rich", "cryptography", "tqdm", "zstandard", "isal", "sqlite3", "ssl"),
    *("yaml", "msgspec", "jinja2", "prometheus_client", "distributed"),
}


def test_version_imports_next_to_nothing() -> None:
    found = imported_by("from imgmove.cli.main import main; main(['--version'])")
    assert not found & (HEAVY | {"typer", "json", "dataclasses"}), found & HEAVY


def test_help_imports_no_heavy_library() -> None:
    found = imported_by("from imgmove.cli.main import main; main(['--help']); main(['copy', '--help'])")
    assert not found & HEAVY, found & HEAVY


def test_copying_between_files_imports_no_heavy_library(tmp_path: Path, images: Path) -> None:
    code = (
        "import sys; from imgmove.cli.main import main; "
        "assert main(['copy', '-q', sys.argv[1], sys.argv[2]]) == 0; assert main(['copy', '-q', sys.argv[2], sys.argv[3]]) == 0"
    )
    places = (str(images / "edge.oci.tar"), f"oci:{tmp_path / 'one'}", f"oci:{tmp_path / 'two'}")
    found = imported_by(code, *places)
    assert (tmp_path / "two" / "index.json").exists()
    assert not found & HEAVY, found & HEAVY


def test_the_package_itself_imports_next_to_nothing() -> None:
    found = imported_by("import imgmove; imgmove.__version__")
    assert not found & (HEAVY | {"json", "dataclasses"})


def test_the_public_face_is_what_it_says() -> None:
    import imgmove

    for name in imgmove.__all__:
        assert getattr(imgmove, name).__doc__ or name == "__version__"
    with pytest.raises(AttributeError):
        imgmove.nothing_of_that_name  # noqa: B018 - asked for its error
