"""Self-contained HTML pages, for people who approve bundles and keep reports: nothing in them comes from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from imgmove.airgap.inspection import BundleInspection, InspectedImage
from imgmove.airgap.loaded import LoadedImage, LoadReport

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #8884; vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
code { font-size: .85em; overflow-wrap: anywhere; }
.bar { background: #8883; border-radius: 3px; height: .8rem; min-width: 12rem; overflow: hidden; }
.bar > span { display: inline-block; height: 100%; background: #2a7de1; }
.bar > span.new { background: #e1812a; }
.good { color: #1a7f37; } .bad { color: #c62828; font-weight: 600; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_SHOWN_PARTS = 40


def inspection_page(found: BundleInspection) -> bytes:
    """A bundle, for its approver: what is in it, where the bytes are, what is new, how it is signed."""
    bundle = found.bundle
    facts = [
        ("Bundle", f"<code>{bundle.bundle_id}</code>"),
        ("Made by", escape(bundle.index.tool)),
        ("Signature", _signature(found.signature)),
        ("Volumes", str(len(bundle.volumes.expected)) if bundle.volumes is not None else "one file"),
        ("Blobs", f"{len(bundle.index.blobs)}, {_size(found.blob_bytes)}, shared ones counted once"),
    ]
    if bundle.index.assumed:
        total = _size(sum(item.descriptor.size for item in bundle.index.assumed))
        facts.append(("Left out", f"{len(bundle.index.assumed)} blobs, {total}, which the far side has"))
    facts += [("Fault", f'<span class="bad">{escape(line)}</span>') for line in found.faults]
    largest = max((image.size for image in found.images), default=0)
    header = ("Image", "Platforms", "#Size", "Where the bytes are", "With", "Licences")
    rows = [_image_row(image, largest) for image in found.images]
    parts = [_parts(image) for image in found.images]
    legend = "<p>Orange: what the last bundle did not bring. Blue: what it did.</p>" if _compares(found) else ""
    return _page("Air-gap bundle", [_facts(facts), "<h2>Images</h2>", legend, _table(header, rows), *parts])


def report_page(report: LoadReport) -> bytes:
    """What became of a bundle, for those who keep records."""
    failed = sum(image.report.error is not None for image in report.images)
    state = f'<span class="bad">{failed} not there</span>' if failed else '<span class="good">all there</span>'
    facts = [
        ("Bundle", f"<code>{report.bundle.bundle_id}</code>"),
        ("Loaded into", escape(report.place)),
        ("Signature", _signature("valid" if report.is_signed else "unchecked")),
        ("Images", f"{len(report.images)}, {state}"),
        *(("Fault", f'<span class="bad">{escape(line)}</span>') for line in report.faults),
    ]
    header = ("Image", "There as", "Digest", "What was found there")
    return _page(
        "Proof of loading", [_facts(facts), "<h2>Images</h2>", _table(header, map(_loaded_row, report.images))]
    )


def _loaded_row(image: LoadedImage) -> Sequence[str]:
    if image.report.error is not None:
        found = f'<span class="bad">{escape(str(image.report.error))}</span>'
    elif image.proof is None:
        found = "taken by a place that shows no content"
    else:
        how = "read and hashed again" if image.proof.is_reread else "present in full size"
        found = (
            f"{len(image.proof.manifests)} manifests, {len(image.proof.blobs)} blobs "
            f"({_size(image.proof.blob_bytes)}) {how}, {image.proof.referrers} referrers"
        )
    return (escape(image.name), escape(image.report.destination), f"<code>{image.digest}</code>", found)


def _image_row(image: InspectedImage, largest: int) -> Sequence[str]:
    name = "<br>".join(map(escape, image.names)) or f"<code>{image.descriptor.digest}</code>"
    mark = " <strong>new</strong>" if image.is_new else ""
    return (
        f"{name}{mark}<br><code>{image.descriptor.digest}</code>",
        escape(", ".join(image.platforms)),
        _size(image.size),
        _bar(image, largest),
        escape(image.companions) or "nothing",
        escape(", ".join(image.licences)) or "none named",
    )


def _bar(image: InspectedImage, largest: int) -> str:
    whole = largest or 1
    new = image.new if image.is_new is not None else 0
    old = image.carried - new
    spans = f'<span style="width:{100 * old / whole:.2f}%"></span><span class="new" style="width:{100 * new / whole:.2f}%"></span>'
    return f'<div class="bar">{spans}</div>{_size(image.carried)} carried' + (f", {_size(new)} new" if new else "")


def _parts(image: InspectedImage) -> str:
    largest = max((part.size for part in image.parts), default=1) or 1
    ordered = sorted(image.parts, key=lambda part: -part.size)
    rows = [
        (
            f"<code>{part.digest}</code>",
            escape(part.media_type),
            _size(part.size),
            f'<div class="bar"><span style="width:{100 * part.size / largest:.2f}%"></span></div>',
            "carried" if part.is_carried else "left out",
        )
        for part in ordered[:_SHOWN_PARTS]
    ]
    more = f"<p>and {len(ordered) - _SHOWN_PARTS} smaller ones</p>" if len(ordered) > _SHOWN_PARTS else ""
    name = escape(", ".join(image.names) or str(image.descriptor.digest))
    table = _table(("Blob", "Type", "#Size", "", ""), rows)
    return f"<details><summary>{name}: {len(image.parts)} blobs</summary>{table}{more}</details>"


def _compares(found: BundleInspection) -> bool:
    return any(image.is_new is not None for image in found.images)


def _signature(state: str) -> str:
    texts = {
        "valid": '<span class="good">checked with the key, valid</span>',
        "unchecked": "not checked with any key",
        "none": '<span class="bad">not signed</span>',
    }
    return texts.get(state, escape(state))


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><th>{escape(label)}</th><td>{text}</td></tr>" for label, text in facts)
    return f"<table>{rows}</table>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already; a column whose heading begins with ``#`` holds numbers."""
    kinds = [' class="number"' if text.startswith("#") else "" for text in header]
    head = "".join(f"<th{kind}>{escape(text.lstrip('#'))}</th>" for kind, text in zip(kinds, header, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _page(title: str, sections: Iterable[str]) -> bytes:
    text = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{''.join(sections)}</body></html>\n"
    )
    return text.encode("utf-8", "replace")


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
