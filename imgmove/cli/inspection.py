"""How `inspect` shows an image to a person."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence

from imgmove.cli.messages import clean, counted, size, write
from imgmove.stages.inspect import Inspection

_WIDTH = 12
_LONGEST = 110


def show(found: Inspection) -> None:
    """Prints it."""
    for line in _lines(found):
        write(sys.stdout, clean(line))


def _lines(found: Inspection) -> Iterator[str]:
    yield _row("image", found.location)
    yield _row("digest", str(found.root.digest))
    yield _row("type", found.root.media_type)
    if found.root.is_index:
        yield ""
        yield from _table(
            ("PLATFORM", "SIZE", "DIGEST"),
            [
                (
                    str(image.platform) if image.platform else "-",
                    "absent" if image.is_absent else size(image.size),
                    str(image.descriptor.digest),
                )
                for image in found.images
            ],
        )
    if found.manifest is not None:
        yield from _manifest(found)
    if found.referrers:
        yield ""
        yield from _table(
            ("REFERS TO IT", "SIZE", "DIGEST"),
            [(item.artifact_type, size(item.descriptor.size), str(item.descriptor.digest)) for item in found.referrers],
        )


def _manifest(found: Inspection) -> Iterator[str]:
    assert found.manifest is not None
    yield ""
    if found.root.is_index:
        yield _row("shown", f"{found.platform or 'the first'} @{found.manifest.descriptor.digest}")
    elif found.platform:
        yield _row("platform", str(found.platform))
    if found.manifest.artifact_type and not found.config:
        yield _row("artifact", found.manifest.artifact_type)
    yield from _config(found.config)
    for key, value in sorted(found.manifest.annotations.items()):
        yield _row("annotation", f"{key}={value}")
    yield ""
    yield from _table(
        ("LAYER", "SIZE", "TYPE"),
        [(str(layer.digest), size(layer.size), layer.media_type) for layer in found.layers],
    )
    yield f"{counted(len(found.layers), 'layer')}, {size(sum(layer.size for layer in found.layers))}"


def _config(document: dict[str, object]) -> Iterator[str]:
    if document.get("created"):
        yield _row("created", str(document["created"]))
    inner = document.get("config")
    if not isinstance(inner, dict):
        return
    for key, label in (("Entrypoint", "entrypoint"), ("Cmd", "cmd"), ("User", "user"), ("WorkingDir", "workdir")):
        if inner.get(key):
            value = inner[key]
            yield _row(label, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    for item in _several(inner.get("Env")):
        yield _row("env", str(item))
    for key, label in (("ExposedPorts", "port"), ("Volumes", "volume")):
        for item in _several(inner.get(key)):
            yield _row(label, str(item))
    labels = inner.get("Labels")
    for name, value in sorted(labels.items()) if isinstance(labels, dict) else ():
        yield _row("label", f"{name}={value}")


def _several(value: object) -> Iterable[object]:
    """What should be a list, or an object whose keys count; whatever else somebody wrote there counts as one."""
    return value if isinstance(value, list | dict) else [value] if value else []


def _row(label: str, text: str) -> str:
    return f"{label:{_WIDTH}}{_cut(text)}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    rows = [tuple(map(_cut, row)) for row in rows]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, *rows):
        cells = [
            cell.rjust(width) if column == 1 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
