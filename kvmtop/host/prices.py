"""What kvmtop's own programs take, measured while somebody looks: in short moments, since measuring costs all BPF
programs of the host two readings of the clock for each run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from ..bpf.probes import Probe
from ..bpf.run_time import Runs, Statistics
from ..model.price import Price, Taken

MOMENT = 0.3  # seconds that are measured at once, at most
ENOUGH = 5_000  # exits, after which it is known well; it is measured again
AGAIN = 60.0  # seconds later
_EXITS, _SWITCHES = ("kvm", "kvmmmu"), ("sched",)  # categories of their tracepoints


class Measured(Protocol):
    """Whoever has programs."""

    def runs(self) -> dict[Probe, Runs]:
        """Of those that are attached, as far as the kernel measured them."""


Programs = Mapping[str, Measured]
_Now = dict[str, dict[Probe, Runs]]


class Prices:
    """Asked by the one thread that reads, attaches and detaches."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._statistics = Statistics()
        self._before: _Now | None = None  # when the moment began
        self._of: set[tuple[str, Probe]] = set()  # the programs that the price is of
        self._due = 0.0
        self.price: Price | None = None  # None while nobody looks

    def watch(self, programs: Programs, wanted: bool) -> None:
        """Begin a moment, if it is time. After what is attached has changed; wanted: somebody looks, or asks."""
        if not wanted:
            self.stop()
            return
        before = _read(programs)
        if self.price is None or _those(before) != self._of:
            self.price, self._of, self._due = Price(), _those(before), 0.0
        if self._clock() < self._due:
            return
        why = self._statistics.start(MOMENT)
        self._before = None if why else before
        if why:
            self.price, self._due = Price(why=why), self._clock() + AGAIN

    def take(self, programs: Programs) -> None:
        """End the moment, and add it to the price."""
        self._statistics.stop()
        before, self._before = self._before, None
        if before is None or self.price is None:
            return
        after = _read(programs)
        if _those(after) != self._of:
            return
        runs = {name: {probe: one - before[name][probe] for probe, one in its.items()} for name, its in after.items()}
        found = self.price = _added(self.price, runs)
        if found.exits >= ENOUGH:
            self._due = self._clock() + AGAIN

    def stop(self) -> None:
        """Nobody looks any more."""
        self._statistics.stop()
        self._before = self.price = None


def _read(programs: Programs) -> _Now:
    found = {name: one.runs() for name, one in programs.items()}
    return {name: runs for name, runs in found.items() if runs}


def _those(runs: _Now) -> set[tuple[str, Probe]]:
    return {(name, probe) for name, its in runs.items() for probe in its}


def _added(price: Price, runs: _Now) -> Price:
    """With another moment."""
    every = [(probe, one) for its in runs.values() for probe, one in its.items()]
    # Each exit and each switch has run all that are attached to its tracepoint, the collector's at least.
    exits = max((one.count for probe, one in every if probe.name == "kvm_exit"), default=0)
    switches = max((one.count for probe, one in every if probe.name == "sched_switch"), default=0)
    looking = {name: price.looking.get(name, Taken()) + _taken(its) for name, its in runs.items() if name != "counting"}
    return replace(
        price,
        exits=price.exits + exits,
        switches=price.switches + switches,
        counting=price.counting + _taken(runs.get("counting", {})),
        looking=looking,
        missed=price.missed + sum(one.missed for _, one in every),
    )


def _taken(runs: Mapping[Probe, Runs]) -> Taken:
    def of(categories: tuple[str, ...]) -> int:
        return sum(one.ns for probe, one in runs.items() if probe.category in categories)

    exits, switches = of(_EXITS), of(_SWITCHES)
    return Taken(exits, switches, sum(one.ns for one in runs.values()) - exits - switches)
