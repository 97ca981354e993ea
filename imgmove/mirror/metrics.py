"""Metrics of a pass as a text file for node_exporter: the one door of prometheus-client."""

from __future__ import annotations

from collections import Counter

from imgmove.errors import LocalError
from imgmove.mirror.report import PassReport

_PREFIX = "imgmove_mirror"


def write_metrics(report: PassReport, path: str) -> None:
    """Writes the file in one step, as node_exporter's textfile collector wants it.

    Raises:
        LocalError: it can't be written.
    """
    from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

    registry = CollectorRegistry()

    def gauge(name: str, help_text: str, value: float) -> None:
        Gauge(f"{_PREFIX}_{name}", help_text, registry=registry).set(value)

    ended = report.started.timestamp() + report.seconds
    gauge("last_pass_timestamp_seconds", "When the last pass ended.", ended)
    gauge("last_pass_duration_seconds", "How long it took.", report.seconds)
    gauge("last_pass_success", "Whether nothing failed.", not report.failures)
    gauge("last_pass_sent_bytes", "What it sent.", report.bytes_sent)
    gauge("mirrored_bytes", "Size of all images, as far as it is known.", report.bytes_total)
    tags = Gauge(f"{_PREFIX}_tags", "Tags by what became of them.", ["mirror", "outcome"], registry=registry)
    errors = Gauge(f"{_PREFIX}_errors", "What failed beside single tags.", ["mirror"], registry=registry)
    found = Counter((record.mirror, _outcome(record.action, record.status)) for record in report.records)
    for mirror in report.mirrors:
        for outcome in ("copy", "update", "keep", "prune", "failed", "postponed"):
            tags.labels(mirror.name, outcome).set(found[mirror.name, outcome])
        errors.labels(mirror.name).set(len(mirror.failures))
    try:
        write_to_textfile(path, registry)
    except OSError as error:
        raise LocalError(f"can't write the metrics {path}: {error.strerror}") from error


def _outcome(action: str, status: str) -> str:
    return status if status in ("failed", "postponed") else action
