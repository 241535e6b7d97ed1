"""What a scrape says."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families as parse

from kvmtop.output import prometheus
from kvmtop.output.prometheus import Exporter

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(exporter: Exporter) -> Series:
    """All values of one scrape, made now."""
    exporter._read_at = -prometheus.FRESH
    return series(exporter.scrape()[0])


def series(page: bytes) -> Series:
    found: Series = {}
    for family in parse(page.decode()):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, key
            found[key] = sample.value
    return found


def get(found: Series, name: str, /, **labels: str) -> float:
    """The sum of the series that have these labels."""
    values = [value for (n, had), value in found.items() if n == name and labels.items() <= dict(had).items()]
    assert values, (name, labels)
    return sum(values)


def values(found: Series, name: str, label: str) -> set[str]:
    return {dict(labels)[label] for (n, labels) in found if n == name}
