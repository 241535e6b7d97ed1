"""What the timeline page shows, as plain figures and words. Times: ns, CLOCK_MONOTONIC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .rows import Runs

STEPS: tuple[int, ...] = (
    *(n * 1000 * 10**power for power in range(6) for n in (1, 2, 5)),
    1_000_000_000,
)  # ns of half a cell
STATES = ("guest", "kernel", "user", "idle", "blocked", "wait", "throttled")  # by their places in bands
UNKNOWN = len(STATES)
NOBODY = -1  # in a CPU's band


@dataclass(frozen=True)
class Window:
    """What is in view: so many cells, each of two steps (ns), from an instant on."""

    start: int
    step: int
    cells: int

    @property
    def stop(self) -> int:
        """Its end."""
        return self.start + 2 * self.cells * self.step

    def edges(self, parts: int) -> range:
        """Of so many parts in a cell, 1 or 2."""
        return range(self.start, self.stop + 1, 2 * self.step // parts)


@dataclass(frozen=True)
class Band:
    """A vCPU: of each half cell, and of each cell, the place in STATES of what it did for most of it, or UNKNOWN."""

    thread: int
    name: str
    place: str  # its CPU
    halves: Sequence[int]
    cells: Sequence[int]
    shares: Mapping[str, float]  # of the time in view
    most: tuple[str, float] | None  # what takes most of it beside the guest


@dataclass(frozen=True)
class Task:
    """Who had a CPU. kind: own (a vCPU of this VM), vcpu (of another) or task."""

    name: str
    kind: str


@dataclass(frozen=True)
class CpuBand:
    """A CPU of the host: of each cell who had it for most of it, as a place in tasks, or NOBODY of them."""

    cpu: int
    cells: Sequence[int]
    tasks: Sequence[Task]
    most: tuple[str, float] | None  # who else had it longest


@dataclass(frozen=True)
class Part:
    """What a thread did for a while in an exit; begin, end: shares of the exit's length."""

    state: str
    after: str
    lasted: str
    begin: float
    end: float
    words: str


@dataclass(frozen=True)
class Happened:
    """An exit in order. lines: a word, and what there is to say."""

    name: str
    rest: str  # behind its name: whose, how long, when
    state: str  # that took most of it
    parts: Sequence[Part]
    lines: Sequence[tuple[str, Runs]]
    key: tuple[int, int] | None  # its reason


class Sheet(Protocol):
    """One stretch of time of a VM, in any window. Exits of a thread are numbered from 0, by their beginning."""

    start: int
    stop: int
    slow: tuple[int, int, int] | None  # the exit that it is around of: thread, begin, end; None: the last moments
    lost: int  # records of it that were overwritten before they were read
    name: str  # of the VM

    @property
    def threads(self) -> Sequence[int]:
        """Of its vCPUs, in order."""

    @property
    def cpu_count(self) -> int:
        """How many CPUs they had."""

    def band(self, thread: int, window: Window) -> Band:
        """What a vCPU did."""

    def cpus(self, first: int | None, window: Window, most: int) -> Sequence[CpuBand]:
        """Who had the CPUs that these vCPUs had, in order; where there are more than that, those of thread `first`."""

    def ticks(self, window: Window, origin: int) -> Sequence[tuple[int, str]]:
        """Marks of the scale of time: cells, and words. origin: where it is 0."""

    def exit(self, thread: int, at: int) -> tuple[int, int] | None:
        """When an exit begins and ends; None: there is none of this number."""

    def at(self, thread: int, ns: int) -> int | None:
        """The exit that is open then, or begins next."""

    def label(self, thread: int, at: int) -> str:
        """An exit in two words."""

    def happened(self, thread: int, at: int) -> Happened:
        """An exit, piece by piece."""


@dataclass(frozen=True)
class Book:
    """All that can be shown of a VM: its last moments, and what is around slow exits."""

    recent: Sheet | None
    around: Sequence[Sheet] = ()
    since_ns: int = 0  # from when on every exit is traced
    slow_ns: int = 0
    lost: int = 0  # records that were overwritten before they were read
    said: str = ""  # why there is nothing

    def around_of(self, thread: int, begin: int, end: int) -> Sheet | None:
        """What is kept around an exit of this thread that is known to have been open in the middle of this time."""
        middle = (begin + end) // 2
        mine = (one for one in self.around if one.slow and one.slow[0] == thread)
        return next((one for one in mine if one.slow and one.slow[1] <= middle < one.slow[2]), None)
