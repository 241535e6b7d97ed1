"""All that a page shows: a reason's, and the Scheduler page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .rows import Key, Rows, Ticks


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


Note = Callable[[Key], str | None]  # a line about a row of a table, by its key


@dataclass(frozen=True)
class SchedulerView:
    """What the scheduler does with the vCPUs of a scope."""

    headline: str
    tables: Mapping[str, Rows]  # by pane; of one that is missing nothing is known yet
    waking: str = ""  # how long it takes from being woken to running
    hist: list[int] = field(default_factory=list)  # the buckets in use
    marks: list[tuple[str, int]] = field(default_factory=list)
    decades: Ticks | None = None
    notes: Mapping[str, Note] = field(default_factory=dict)  # by pane
