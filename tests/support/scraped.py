"""What a scrape says."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families as parse

from kvmtop.output import prometheus as openmetrics
from kvmtop.output.prometheus import Exporter

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(exporter: Exporter) -> Series:
    """All values of one scrape, made now."""
    exporter._read_at = -openmetrics.FRESH
    return series(exporter.scrape()[0])


def series(page: bytes) -> Series:
    found: Series = {}
    for family in parse(page.decode()):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, key
            found[key] = sample.value
    return found
