"""All that a page shows: a reason's, and the Scheduler page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .rows import Key, Rows, Ticks


@dataclass(frozen=True)
class Page:
    """A reason in a scope over an interval, with its history."""

    name: str
    title: str  # what it is, in a few words; this and the next three are empty where nobody has described it
    what: str
    causes: str
    advice: str
    figures: Sequence[tuple[str, str]]  # head and value; none without such an exit
    shares: Mapping[str, float] | None  # of its time, by state
    state: str  # in which most of its time was spent
    hist: list[int]  # the buckets in use
    marks: list[tuple[str, int]]  # "p50 197µs", p99 and max: their positions in hist
    decades: Ticks
    rates: list[float | None]
    p99s: list[float | None]
    heat: Sequence[Sequence[int]]  # a column an interval, a row a bucket of hist
    holders: Sequence[tuple[str, float]]  # vCPUs that have it, and their share of its time, most first
    others: int  # vCPUs that have it beside those
    who: Rows  # all as a table
    seconds: Sequence[float]  # how long each interval of the history was


@dataclass(frozen=True)
class Paragraph:
    """Something worth explaining about a vCPU or a VM."""

    state: str  # that it is about
    head: str
    rest: str  # behind the head
    lines: Sequence[tuple[str, str]]  # a word, and what there is to say


@dataclass(frozen=True)
class VcpuBrief:
    """What a vCPU or a VM does, from what is always on and what somebody has looked at."""

    name: str  # "db02 · vCPU 1"
    place: str  # "thread 48213 on CPU 6"
    now: str  # what it does now, and for how long; empty where that is not worth a word
    state: str  # that it is in then
    shares: Mapping[str, float] | None
    history: Sequence[Mapping[str, float] | None]  # the same of the last intervals, oldest first
    seconds: Sequence[float]  # how long each of them was
    paragraphs: Sequence[Paragraph]
    culprits: Sequence[tuple[str, float]] | None  # who ran instead: shares of its time; None while nobody looks
    others: Rows  # the VM's other threads
    slow: Rows | None  # None while nobody looks


@dataclass(frozen=True)
class Block:
    """Functions that call one another and nothing else, the outermost first. share: of all; own: of that, what it has
    beside what it calls; state: in which most of it was spent. words: about it, in a line."""

    names: tuple[str, ...]
    share: float
    own: float
    state: str
    words: str
    called: Sequence[Block] = ()

    @property
    def key(self) -> str:
        """Among its siblings."""
        return self.names[0] if self.names else ""


@dataclass(frozen=True)
class KernelTime:
    """headline: what the time went to, in words; hint: how that is known; root: all of it, a block without names."""

    headline: str
    hint: str
    root: Block


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
