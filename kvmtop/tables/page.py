"""All that a reason's page shows."""

from __future__ import annotations

from dataclasses import dataclass

from .rows import Rows, Ticks


@dataclass(frozen=True)
class Page:
    """A reason in a scope over an interval, with its history."""

    name: str
    meaning: str  # empty where nobody has described it
    facts: str
    hist: list[int]  # the buckets in use
    marks: list[tuple[str, int]]  # percentile and max: label, position in hist
    decades: Ticks
    rates: list[float | None]
    p99s: list[float | None]
    heat: list[list[int]]  # a column an interval, a row an octave
    octaves: list[str]
    who: Rows  # the vCPUs that have it, most time first
    span: str  # how far back the history goes
