"""Metrics of a pass as a text file for node_exporter: the one door of prometheus-client."""

from __future__ import annotations

from collections import Counter

from imgmove.mirror.report import PassReport

_PREFIX = "imgmove_mirror"


def metrics_of(report: PassReport) -> bytes:
    """A file as node_exporter's textfile collector wants it."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

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
    return generate_latest(registry)


def _outcome(action: str, status: str) -> str:
    return status if status in ("failed", "postponed") else action
