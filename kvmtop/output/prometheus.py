"""The counters for Prometheus: GET /metrics, in its text format or OpenMetrics'.

A service reads its source anew at each scrape, so that a value belongs to the time of its scrape. All values of a
scrape come from one Snapshot. At most MOST_VMS VMs and MOST_REASONS reasons of each have series of their own (28 to a
VM and reason, 10 to a VM, one more and up to 64 for its APIC, one for each rule that has found something, and 3 to
each of up to 33 other threads: no more than 150,000 in all); what comes later is counted under the name "(others)".
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ..insight.findings import of_each_vm
from ..insight.rules.rule import View
from ..insight.vcpus import vcpu_rows
from ..model.arrays import I64, Array
from ..model.exit_stats import Reason, by_reason
from ..model.histogram import BUCKETS, FIRST_OCTAVE
from ..model.interval import Interval, diff, start_of
from ..model.keys import unpack
from ..model.nesting import nested, nesting
from ..model.price import Price
from ..model.provenance import HERE, Origin
from ..model.session import Session
from ..model.snapshot import Snapshot
from ..model.source import Source, Wrapper
from ..model.vocabulary import OUTSIDE, STATES, Vm, isa_name
from ..reference.labels import Labels
from ..sanitize import clean
from .thread_times import NAMES, OTHERS, ThreadTimes, counters

MOST_VMS, MOST_REASONS = 128, 32
KEEP_ENDED = 300.0  # seconds for which the series of a VM that has ended stay: some scrapes
FRESH = 0.25  # seconds in which a second scrape gets what the first got
# Upper bounds of the exported buckets, as powers of two of a ns: each octave from 0.5 µs to 1 ms, where most exits
# lie, each second one up to 4.3 s. They are edges of the kernel's histogram too, so no exit is on a wrong side.
BOUNDS = (*range(9, 21), *range(22, 33, 2))


class _Times:
    """ns by state, as counters, none of which may go back: Prometheus would take that for a restart.

    What is true may: part of a wait that is still open can turn out to be throttled. The others then grow by less for a
    while, so that the sum is right.
    """

    def __init__(self, states: Sequence[str]) -> None:
        self._owed, self._shown = dict.fromkeys(states, 0), dict.fromkeys(states, 0)

    def add(self, ns: Mapping[str, int]) -> None:
        """ns: by state; what is not known may be missing."""
        for state, one in ns.items():
            self._owed[state] += one
        more = {state: one for state, one in self._owed.items() if one > 0}
        whole, grown = sum(more.values()), sum(self._owed.values())
        for state, one in more.items():
            paid = one * max(grown, 0) // whole
            self._owed[state] -= paid
            self._shown[state] += paid

    def seconds(self, told: Collection[str]) -> dict[str, float]:
        """By state, of those whose figures are known."""
        return {state: ns / 1e9 for state, ns in self._shown.items() if state in told}


@dataclass
class _Reason:
    """What one VM spent on one reason. Times in ns."""

    count: int = 0
    parts: _Times = field(default_factory=lambda: _Times(OUTSIDE))
    total: int = 0
    hist: I64 = field(default_factory=lambda: np.zeros(BUCKETS, "i8"))

    def add(self, reason: Reason) -> None:
        self.count += reason.count
        self.parts.add(reason.parts)
        self.total += reason.total
        self.hist += reason.hist

    def buckets(self) -> list[tuple[str, float]]:
        """(le, exits that were not longer), cumulative."""
        sums = np.cumsum(self.hist)
        found = [(str((1 << power) / 1e9), float(sums[4 * (power - FIRST_OCTAVE) - 1])) for power in BOUNDS]
        return [*found, ("+Inf", float(sums[-1]))]


@dataclass
class _Vm:
    """The counters of one VM: they only grow."""

    name: str
    pid: str
    reasons: dict[str, _Reason] = field(default_factory=dict)
    budget: _Times = field(default_factory=lambda: _Times(STATES))
    threads: ThreadTimes = field(default_factory=ThreadTimes)
    nesting: int = 0  # ns

    @property
    def labels(self) -> list[str]:
        return [self.name, self.pid]

    def reason(self, name: str) -> _Reason:
        if name not in self.reasons and len(self.reasons) >= MOST_REASONS:
            name = OTHERS
        return self.reasons.setdefault(name, _Reason())


_Key = tuple[int, str]  # pid, name: a pid may be another VM's later


class Exporter(Wrapper, Collector):
    """A Source that keeps counters of all that is read through it, and reads for whoever scrapes.

    It adds up the differences of Snapshots, VM by VM: what threads that ended long ago leave in a Snapshot
    belongs to no VM any more.
    """

    def __init__(self, source: Source, fresh: bool = True, origin: Origin = HERE) -> None:
        """fresh: a scrape reads the source. Where somebody else shows what it reads, False leaves it to them, since
        a reading takes along what cannot be read twice, such as slow exits; a scrape then gets the last reading, and
        an empty page before the first.
        """
        super().__init__(source)
        self._fresh, self._origin = fresh, origin
        self._lock = threading.RLock()  # the dashboard and a scrape may read at the same time
        self._interval: Interval | None = None
        self._read_at = -FRESH
        self._vms: dict[_Key, _Vm] = {}
        self._ended: dict[_Key, int] = {}  # when it was seen first that the VM had ended, ns
        self._others = _Vm(OTHERS, "")

    def read(self) -> Snapshot:
        """The counters now. Raises KvmtopError."""
        with self._lock:
            snapshot = self._source.read()
            self._add(snapshot)
            self._read_at = time.monotonic()
            return snapshot

    def slow(self) -> Array:
        """The slow exits since the last reading or call."""
        with self._lock:
            return super().slow()

    def close(self) -> Snapshot:
        """Stop counting; the final counters."""
        with self._lock:
            return super().close()

    def scrape(self, accept: str = "") -> tuple[bytes, str]:
        """The page and its content type, in the format that the Accept header asks for. Raises KvmtopError."""
        with self._lock:
            if self._fresh and time.monotonic() - self._read_at >= FRESH:
                self.read()
            encode, kind = choose_encoder(_wanted(accept))
            return encode(self), kind

    def _add(self, snapshot: Snapshot) -> None:
        before = self._interval.after if self._interval else None
        interval = self._interval = diff(start_of(before, snapshot), snapshot)
        pids = unpack(snapshot.threads["id"])[0].astype("i8")
        rows = interval.rows[interval.rows["thread"] >= 0]
        cost = nesting(interval) if nested(interval) else None
        active = set(pids[rows["thread"][(rows["count"] != 0) | (rows["time"] != 0)]].tolist())
        self._forget({_key(vm) for vm in snapshot.vms.values() if not vm.ended}, snapshot.time_ns)
        running: dict[int, tuple[_Vm, list[int]]] = {}  # pids of each _Vm
        for vm in snapshot.vms.values():
            if vm.ended and vm.pid not in active:
                continue
            mine = self._vm(_key(vm))
            running.setdefault(id(mine), (mine, []))[1].append(vm.pid)
            mask = pids == vm.pid
            mine.budget.add(dict(zip(STATES, interval.budget[mask].sum(axis=0).tolist(), strict=True)))
            if cost is not None:
                mine.nesting += int(cost[mask].sum())
            if vm.pid in active:
                for reason in by_reason(interval, mask):
                    mine.reason(clean(reason.name)).add(reason)
        owners = unpack(snapshot.others["id"])[0]
        for mine, those in running.values():
            mine.threads.add(snapshot.others[np.isin(owners, np.array(those, "u8"))])

    def _forget(self, running: set[_Key], now: int) -> None:
        """Drop what ended long ago."""
        for key in list(self._vms):
            if key in running:
                self._ended.pop(key, None)
            elif now - self._ended.setdefault(key, now) > KEEP_ENDED * 1e9:
                del self._vms[key], self._ended[key]

    def _vm(self, key: _Key) -> _Vm:
        """The counters of a VM: its own if there is room, for which the one that ended first makes way."""
        if key not in self._vms:
            if sum(vm is not self._others for vm in self._vms.values()) >= MOST_VMS:
                ended = [old for old in self._ended if self._vms[old] is not self._others]
                if not ended:
                    return self._vms.setdefault(key, self._others)
                oldest = min(ended, key=self._ended.__getitem__)
                del self._vms[oldest], self._ended[oldest]
            self._vms[key] = _Vm(key[1], str(key[0]))
        return self._vms[key]

    def collect(self) -> Iterator[Metric]:
        """All metrics, for prometheus_client."""
        if self._interval is None:
            return
        after = self._interval.after
        vms = [vm for vm in self._vms.values() if vm is not self._others]
        vms += [self._others] if any(self._others.budget.seconds(STATES).values()) or self._others.reasons else []
        yield from _reasons(vms, after.told)
        yield _budget(vms, after.told)
        yield _nesting(vms)
        for name, text, sums in counters((vm.labels, vm.threads) for vm in vms):
            family = CounterMetricFamily(name, text, labels=[*LABELS, *NAMES])
            for labels, seconds in sums:
                family.add_metric(labels, seconds)
            yield family
        yield from self._vcpus(self._interval)
        yield from self._apics(after)
        yield self._findings(self._interval)
        for name, value, text in (
            ("kvmtop_lost_exits", after.lost, "Exits that were not counted, because a BPF map was full."),
            ("kvmtop_unpaired_entries", after.unpaired, "Guest entries without an exit before them."),
            ("kvmtop_overwritten_exits", after.overwritten, "Exits without a guest entry after them."),
            ("kvmtop_ended_threads", after.ended_threads, "vCPU threads that have ended."),
        ):
            yield CounterMetricFamily(name, text, value=max(value, 0))
        yield from _probes(after.price or Price())
        running = sum(not vm.ended for vm in after.vms.values())
        yield GaugeMetricFamily("kvmtop_vms", "VMs that run on this host.", value=running)
        info = {
            "version": self._origin.version,
            "kernel": self._origin.kernel,
            "isa": isa_name(after.isa) if after.isa else "",
        }
        yield InfoMetricFamily("kvmtop_build", "The program, the kernel and the virtualization it reads.", value=info)

    def _vcpus(self, interval: Interval) -> Iterator[Metric]:
        """How many vCPUs each VM has, how many of them are stuck, and whether it stands still, now."""
        found = [m for m in vcpu_rows(Session(), interval, trend=0) if m.scope.thread is not None and not m.ended]
        stuck = (m.scope.pid for m in found if m.stuck)
        still = (vm.pid for vm in interval.after.vms.values() if vm.stopped or vm.paused)
        for name, text, pids in (
            ("kvmtop_vcpus", "vCPU threads that are alive.", (m.scope.pid for m in found)),
            ("kvmtop_stuck_vcpus", _STUCK, stuck),
            ("kvmtop_paused_vms", "VMs that their VMM has paused, or that a signal has stopped.", still),
        ):
            number = Counter(pids)
            sums: Counter[tuple[str, ...]] = Counter()
            for key, vm in self._vms.items():
                sums[tuple(vm.labels)] += 0 if key in self._ended else number[key[0]]
            gauge = GaugeMetricFamily(name, text, labels=LABELS)
            for labels, value in sums.items():
                gauge.add_metric(labels, value)
            yield gauge

    def _findings(self, interval: Interval) -> Metric:
        """What costs each VM time, by the rules that all outputs share."""
        family = GaugeMetricFamily(
            "kvmtop_finding",
            "vCPUs' time a second that what a rule has found takes a VM (1: a whole vCPU); NaN where that is not known."
            " No series of what does not hold. kvmtop explain says what the rules are.",
            labels=[*LABELS, "rule"],
        )
        session = Session()
        labels = Labels(names=interval.after.names)
        view = View.of(session, interval, vcpu_rows(session, interval, trend=0), labels)
        known = {key[0]: vm for key, vm in self._vms.items() if vm is not self._others and key not in self._ended}
        view = replace(view, vms=[row for row in view.vms if row.number in known])
        for row, found in of_each_vm(view):
            for name in dict.fromkeys(one.name for one in found):
                cost = max((one.cost for one in found if one.name == name and one.cost is not None), default=math.nan)
                family.add_metric([*known[row.number].labels, name], cost)
        return family

    def _apics(self, after: Snapshot) -> Iterator[Metric]:
        """Of the VMs of which it is known, now. The reasons are bits of the kernel's, by its own names."""
        on = GaugeMetricFamily(
            "kvmtop_vm_apic_accelerated",
            "Whether the hardware emulates the VM's APIC (APICv, AVIC): 1 or 0, and no series where it is not known.",
            labels=LABELS,
        )
        why = GaugeMetricFamily(
            "kvmtop_vm_apic_inhibited",
            "1 for each reason for which it does not, as the kernel calls it (APICV_INHIBIT_REASON_…).",
            labels=[*LABELS, "reason"],
        )
        for key, vm in self._vms.items():
            inhibits = after.apic.inhibits.get(key[0])
            if inhibits is None or key in self._ended or vm is self._others:
                continue
            on.add_metric(vm.labels, not inhibits)
            for reason in inhibits:
                why.add_metric([*vm.labels, clean(reason)], 1)
        yield from (on, why)


LABELS = ["vm", "pid"]
_STUCK = (
    "vCPUs that have been in one state for 3 s or more, neither in the guest nor halted; without those of a VM that is"
    " paused or stopped as a whole."
)


def _wanted(accept: str) -> str:
    """The kinds in an Accept header, but for those with q=0. The other parameters are left out, too: choose_encoder
    would repeat a version that does not exist, and one that is no number ends it.
    """
    parts = (part.strip().lower() for part in accept.split(","))
    return ",".join(part.partition(";")[0] for part in parts if not re.search(r";\s*q=0(\.0*)?\s*(;|$)", part))


def _key(vm: Vm) -> _Key:
    return vm.pid, clean(vm.name) or f"pid {vm.pid}"


def _reasons(vms: Sequence[_Vm], told: Collection[str]) -> Iterator[Metric]:
    labels = [*LABELS, "reason"]
    exits = CounterMetricFamily("kvmtop_exits", "Exits that have ended.", labels=labels)
    seconds = CounterMetricFamily(
        "kvmtop_exit_seconds",
        "Time of the exits, those that are still open included, by where it was spent: kernel (on a CPU, in KVM), user"
        " (on a CPU, in the VMM), idle (halted), blocked (asleep for anything else), wait (for a CPU), throttled (by a"
        " CPU quota).",
        labels=[*labels, "where"],
    )
    duration = HistogramMetricFamily(
        "kvmtop_exit_duration_seconds", "How long the exits that have ended lasted.", labels=labels
    )
    for vm in vms:
        for name, reason in vm.reasons.items():
            values = [*vm.labels, name]
            exits.add_metric(values, reason.count)
            for where, spent in reason.parts.seconds(told).items():
                seconds.add_metric([*values, where], spent)
            duration.add_metric(values, reason.buckets(), reason.total / 1e9)
    yield from (exits, seconds, duration)


def _probes(price: Price) -> Iterator[Metric]:
    """What kvmtop's own programs take, while somebody looks (--event, --slow)."""
    for name, text, parts in (
        (
            "kvmtop_probe_exit_seconds",
            "Run time of kvmtop's own BPF programs in an exit, on average, as the kernel measures it while details are"
            " looked at: counting (always there), looking.",
            {"counting": price.counting_exit_ns, "looking": price.added_exit_ns},
        ),
        (
            "kvmtop_probe_switch_seconds",
            "The same in a switch of any thread on the host, with the wake-ups before it: looking.",
            {"looking": price.added_switch_ns},
        ),
    ):
        family = GaugeMetricFamily(name, text, labels=["part"])
        for part, ns in parts.items():
            if ns is not None:
                family.add_metric([part], ns / 1e9)
        yield family


def _nesting(vms: Sequence[_Vm]) -> Metric:
    family = CounterMetricFamily(
        "kvmtop_nesting_seconds",
        "Time of vCPUs between exits of their guest's guests that its hypervisor was given, and the end of the exits in"
        " which that entered them again, without halts and waits for a CPU. Only of VMs that were seen to nest.",
        labels=LABELS,
    )
    for vm in vms:
        if vm.nesting:
            family.add_metric(vm.labels, vm.nesting / 1e9)
    return family


def _budget(vms: Sequence[_Vm], told: Collection[str]) -> Metric:
    family = CounterMetricFamily(
        "kvmtop_vcpu_seconds",
        "Where the time of the vCPUs went: guest, kernel (on a CPU, in KVM), user (on a CPU, in the VMM), idle"
        " (halted), blocked (asleep for anything else), wait (for a CPU), throttled (by a CPU quota)."
        " The states add up to the time that the vCPUs were watched.",
        labels=[*LABELS, "state"],
    )
    for vm in vms:
        for state, spent in vm.budget.seconds(told).items():
            family.add_metric([*vm.labels, state], spent)
    return family
