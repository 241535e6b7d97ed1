"""What the probes add to an exit: a known guest's, run with them and without, in turn.

Its time is the vCPU thread's own, on a CPU: what else the host runs in between is not the exit's, and the probes run in
that thread. Attaching and detaching, and a first run after either, are not timed. Four runs make a block, in the order
without-with-with-without or the reverse, by chance: what drifts, as a CPU's clock does, cancels out, and if the probes
cost nothing, a block's difference is as likely above 0 as below it, whatever disturbs the host.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from .. import bounded
from ..bpf.collector import Collector
from ..bpf.kvm_exit import ENOUGH
from ..bpf.run_time import Statistics
from ..errors import KvmtopError
from ..model import reasons
from ..model.exit_stats import counts
from . import processes
from .selftest_guest import PATIENCE, Apart, Step

RUN_NS = 20e6  # how long a run takes, about
FEWEST, MOST = 200, 100_000  # exits of a run: the first where an exit takes 100 µs, as on an emulated host
TRIES = 3  # runs of FEWEST, of which the longest tells how many exits a run shall have
ORDERS = ((False, True, True, False), (True, False, False, True))  # with probes?
CONFIDENCE = 0.95
LEAST = 6  # blocks: fewer have no such interval
NARROW, LOOK = 0.01, 12  # it is enough if the interval is ± this share of the exit; looked at after so many blocks

Now = Callable[[str], None]  # is told what runs now
Run = Callable[[bool], float]  # with probes? → ns for an exit


@dataclass(frozen=True)
class Cost:
    """Of an exit (CPUID), in ns."""

    added_ns: float
    added_between_ns: tuple[float, float]  # with 95 % confidence
    exit_ns: float  # without probes: the median of the blocks
    exit_middle_ns: tuple[float, float]  # and the middle half of them
    blocks: int
    exits_per_run: int = 0
    told_by: str = ""  # which kvm_exit
    held_on_cpu: int | None = None
    run_time_ns: float | None = None  # of the programs alone, as the kernel measures it; None where it does not

    def __str__(self) -> str:
        """In a few words."""
        low, high = self.added_between_ns
        between, whole = f"({CONFIDENCE:.0%}: {low:,.0f} to {high:,.0f})", f"an exit of {self.exit_ns:,.0f} ns (CPUID)"
        if low <= 0:
            return f"what the probes add, in ns, is lost in the noise {between} of {whole}"
        return f"the probes add {self.added_ns:,.0f} ns {between} to {whole}"

    @property
    def how(self) -> str:
        """How it was measured, and how quiet the machine was."""
        low, high = self.exit_middle_ns
        held = "no CPU of its own" if self.held_on_cpu is None else f"CPU {self.held_on_cpu}"
        runs = f"{self.blocks} blocks of {len(ORDERS[0])} × {self.exits_per_run:,} exits on {held}"
        alone = "" if self.run_time_ns is None else f"; the programs alone run {self.run_time_ns:,.0f} ns of an exit"
        return (
            f"{runs}, the middle half of which took {low:,.0f} to {high:,.0f} ns without{alone}; told by {self.told_by}"
        )


def interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """The centre by Hodges and Lehmann, and below and above it what Wilcoxon's signed-rank test does not reject.

    It takes at least LEAST differences, spread evenly around their centre; they need not be normally distributed.
    """
    values = np.asarray(differences)
    rows, columns = np.triu_indices(len(values))
    means = np.sort((values[rows] + values[columns]) / 2)
    chances = np.ones(1)  # of each rank sum, if the centre is 0
    for rank in range(1, len(values) + 1):
        chances = (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))) / 2
    cut = int(np.searchsorted(np.cumsum(chances), (1 - CONFIDENCE) / 2, "right"))  # rank sums that are too unlikely
    if not cut:
        raise ValueError(f"{len(values)} differences are too few")
    return float(means[cut - 1]), float(np.median(means)), float(means[-cut])


def compared(run: Run, now: Now, seconds: float, clock: Callable[[], float] = time.monotonic) -> Cost:
    """Blocks of runs until the interval is narrow, or for so many seconds (longer where LEAST blocks take longer)."""
    end = clock() + seconds
    without: list[float] = []
    differences: list[float] = []
    while True:
        now(f"cost … (block {len(without) + 1} of runs with and without probes)")
        runs = [(probed, run(probed)) for probed in random.choice(ORDERS)]
        bare, probed = (fmean(ns for with_, ns in runs if with_ is wanted) for wanted in (False, True))
        without.append(bare)
        differences.append(probed - bare)
        count, over = len(differences), clock() >= end
        if count < LEAST or not (over or count % LOOK == 0):
            continue
        low, added, high = interval(differences)
        first, bare, third = np.quantile(without, (0.25, 0.5, 0.75)).tolist()
        if over or high - low <= 2 * NARROW * bare:
            return Cost(added, (low, high), bare, (first, third), count)


class _Runs:
    """Of a guest, with and without probes."""

    def __init__(self, guest: Apart, collector: Collector, exits: int) -> None:
        self.exits, self.counted = exits, 0  # exits that the probes have seen
        self._guest, self._collector, self._probed = guest, collector, True

    def settle(self) -> None:
        """Run it until it is known by which kvm_exit exits are told. Raises KvmtopError where they are not at all."""
        for _ in range(ENOUGH // self.exits + 1):
            self.once()
        if not counts(self._collector.read()):
            raise KvmtopError(
                f"a guest executed {self.counted:,} CPUID, but this kernel's KVM fired no kvm_exit at all:"
                " there is nothing to time here (a paravirtual or nested KVM does so)"
            )

    def once(self) -> float:
        """As it is; ns for an exit."""
        self.counted += self.exits * self._probed
        return 1e9 * self._guest.run(PATIENCE) / self.exits

    def __call__(self, probed: bool) -> float:
        if probed != self._probed:
            (self._collector.resume if probed else self._collector.pause)()
            self._probed = probed
            self.once()  # caches, and code that the kernel has just patched
        return self.once()


def measure(now: Now, seconds: float) -> Cost:
    """Measure it here, for about so many seconds. Raises KvmtopError."""
    if why := processes.namespace():
        raise KvmtopError(why)
    try:
        return _measured(now, seconds)
    except (OSError, RuntimeError) as error:
        raise KvmtopError(f"the guest could not be run: {error} (kvmtop doctor says what is missing)") from None


def _measured(now: Now, seconds: float) -> Cost:
    now("cost … (how long an exit takes here)")
    with contextlib.closing(Apart([Step("cpuid", FEWEST)])) as guest:
        guest.run(PATIENCE)
        # Where the TSC is unstable, the clock of threads may stand still until the next tick (sched_clock_local).
        took = max(guest.run(PATIENCE) for _ in range(TRIES))
    if took <= 0:
        raise KvmtopError(
            f"the CPU time of a thread did not grow in {TRIES} × {FEWEST} exits: nothing can be timed here"
        )
    exits = int(min(max(RUN_NS / 1e9 / took * FEWEST, FEWEST), MOST))
    with (
        contextlib.closing(Apart([Step("cpuid", exits)])) as guest,
        contextlib.closing(Collector([guest.pid])) as collector,
    ):
        runs = _Runs(guest, collector, exits)
        runs.settle()
        cpu = _hold(guest.pid)
        cost = compared(runs, now, seconds)
        alone = _run_time(runs, collector)
        told = collector.read().counted_by or ""
        snapshot = collector.close()
    seen = sum(counts(snapshot).get(key, 0) for key in reasons.CPUID)
    if seen != runs.counted:
        raise KvmtopError(f"of {runs.counted:,} exits {seen:,} were counted, so nothing is known: please report this")
    return replace(cost, exits_per_run=exits, told_by=told, held_on_cpu=cpu, run_time_ns=alone)


def _run_time(runs: _Runs, collector: Collector) -> float | None:
    """ns that the programs run in an exit, themselves; None where the kernel does not measure it."""
    runs(True)
    statistics = Statistics()
    if statistics.start(PATIENCE):
        return None
    before = collector.runs()
    runs.once()
    statistics.stop()
    took = [(probe, one - before[probe]) for probe, one in collector.runs().items() if probe.category == "kvm"]
    exits = max(one.count for probe, one in took if probe.name == "kvm_exit")
    return sum(one.ns for _, one in took) / exits if exits else None


def _hold(pid: int) -> int | None:
    """Hold a process on the CPU that it was on last, since CPUs differ; that, or None where it is not allowed."""
    try:
        cpu = int(bounded.short(f"/proc/{pid}/stat").rpartition(b")")[2].split()[36])
        os.sched_setaffinity(pid, {cpu})
    except OSError:
        return None
    return cpu
