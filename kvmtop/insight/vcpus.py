"""The VMs and their vCPUs over one Interval: rates, where their time goes, and what they do now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..model.arrays import F64, I64, find
from ..model.exit_stats import tops
from ..model.history import Sample
from ..model.interval import Interval
from ..model.keys import unpack
from ..model.scope import Scope
from ..model.session import Session
from ..model.snapshot import Snapshot
from ..model.vocabulary import STATES, Vm

STUCK_NS = 3_000_000_000  # so long in one state, neither in the guest nor idle, marks a vCPU
SHOWN_NS = 5_000_000  # so long is worth a word
TREND = 60  # intervals
GUEST = STATES.index("guest")


@dataclass(frozen=True)
class Outside:
    """What a vCPU does outside the guest, if it has for so long that it is worth a word; or a VM that stands still."""

    where: str  # of OUTSIDE, or "stopped": by a signal; of a VM "stopped" or "paused"
    ns: int  # without a break


@dataclass(slots=True)  # not frozen: that takes three times as long to make, and there may be thousands
class VcpuRow:
    """A VM or a vCPU as its list shows it."""

    scope: Scope
    vm: str
    name: str
    number: int  # pid or tid
    seen: int  # how many vCPUs have had an exit; 1 of a vCPU
    alive: int  # how many of them still run
    stuck: int  # how many of those are stuck
    cpu: int | None  # a vCPU's host CPU; None where it is not known, and of a VM
    rate: float
    shares: dict[str, float] | None
    top: str
    outside: Outside | None
    ended: bool
    trend: list[float]
    doing: tuple[int, str] | None = None  # of a VM: how many of its vCPUs are in the state that most of them are in

    def share(self, state: str) -> float:
        """Of its time; 0 where it is not known."""
        return (self.shares or {}).get(state, 0.0)


def vcpu_rows(
    session: Session, interval: Interval, hidden: frozenset[int] = frozenset(), trend: int = TREND
) -> list[VcpuRow]:
    """All VMs, each followed by its vCPUs, by name."""
    samples = list(session.history)[-trend:] if trend else []
    key = ("vcpu_rows", samples[0].time_ns if samples else 0, hidden, trend)
    if key not in interval.memo:
        interval.memo[key] = _vcpu_rows(samples, interval, hidden)
    return list(interval.memo[key])


def _vcpu_rows(samples: list[Sample], interval: Interval, hidden: frozenset[int]) -> list[VcpuRow]:
    after = interval.after
    threads, top = after.threads, tops(interval)
    names = [after.names.name(*unpack(key)) for key in top.keys.tolist()] + [""]  # -1: the last
    # Everything as vectors: first for each thread, then for each VM, as tops() numbers them.
    exits = _exits(interval) / interval.seconds
    rates = _trends(samples, after)
    budgets = _shares(interval.budget, interval.known, after.told)
    of_thread = list(zip(exits.tolist(), budgets, top.of_thread.tolist(), rates.tolist(), strict=True))
    by_vm = _by(top.vm, len(top.pids))
    budgets = _shares(by_vm(interval.budget), by_vm(interval.known), after.told)
    trends = np.array([_vm_trend(sample, top.pids) for sample in samples]).reshape(len(samples), len(top.pids)).T
    figures = zip(by_vm(exits).tolist(), budgets, top.of_vm.tolist(), trends.tolist(), strict=True)
    of_vm = dict(zip(top.pids.tolist(), figures, strict=True))
    order = np.lexsort((np.arange(len(threads)), threads["vcpu"], top.vm))
    first = np.searchsorted(top.vm[order], np.arange(len(top.pids) + 1)).tolist()
    mine = {pid: order[first[n] : first[n + 1]].tolist() for n, pid in enumerate(top.pids.tolist())}
    lasted = _lasted(after)
    outside, stuck = _outside(after, lasted)
    tids, thread_ids = threads["id"].astype("u4").tolist(), after.thread_ids.tolist()
    numbers, ends, cpus = threads["vcpu"].tolist(), threads["end_ns"].tolist(), after.cpus
    nothing: tuple[float, None, int, list[float]] = (0.0, None, -1, [0.0] * len(samples))
    found: list[VcpuRow] = []
    for vm in sorted(after.vms.values(), key=lambda vm: (vm.ended, vm.name, vm.pid)):
        if vm.pid in hidden:
            continue
        rows = mine.get(vm.pid, [])
        alive = [row for row in rows if not ends[row]]
        waiting = len(stuck.intersection(alive)) if stuck else 0
        rate, parts, most, past = of_vm.get(vm.pid, nothing)
        found.append(
            VcpuRow(
                scope=Scope(vm.pid),
                vm=vm.name,
                name=vm.name,
                number=vm.pid,
                seen=len(rows),
                alive=len(alive),
                stuck=waiting,
                cpu=None,
                rate=rate,
                shares=parts,
                top=names[most],
                outside=_still(vm, lasted[alive].tolist()),
                ended=vm.ended,
                trend=past,
                doing=_doing(outside, alive),
            )
        )
        for row in rows:
            rate, parts, most, past = of_thread[row]
            tid, ended = tids[row], bool(ends[row])
            found.append(
                VcpuRow(
                    scope=Scope(vm.pid, thread_ids[row]),
                    vm=vm.name,
                    name=f"vCPU {numbers[row]}",
                    number=tid,
                    seen=1,
                    alive=not ended,
                    stuck=row in stuck,
                    cpu=cpus.get(tid),
                    rate=rate,
                    shares=parts,
                    top=names[most],
                    outside=outside.get(row),
                    ended=ended,
                    trend=past,
                )
            )
    return found


def _exits(interval: Interval) -> F64:
    """Shape (threads,)."""
    there = interval.rows["thread"] >= 0
    rows = interval.rows
    exits: F64 = np.bincount(rows["thread"][there], rows["count"][there], len(interval.after.threads)).astype("f8")
    return exits


def _by(group: I64, number: int) -> Callable[[Any], Any]:
    """What adds up an array by group, along its first axis."""

    def add(values: Any) -> Any:
        if values.ndim == 1:
            return np.bincount(group, values, number)
        return np.array([np.bincount(group, column, number) for column in values.T]).T

    return add


def _trends(samples: Sequence[Sample], after: Snapshot) -> F64:
    """Exits a second of each thread in each sample; shape (threads, samples)."""
    rates = np.zeros((len(after.threads), len(samples)))
    for number, sample in enumerate(samples):
        at = find(after.thread_ids, sample.threads)
        rates[at[at >= 0], number] = sample.thread_rates[at >= 0]
    return rates


def _vm_trend(sample: Sample, pids: I64) -> F64:
    """Exits a second of each of these processes."""
    at = np.minimum(np.searchsorted(pids, sample.pids), len(pids) - 1)
    known = pids[at] == sample.pids if len(pids) else np.zeros(len(sample.pids), bool)
    rates: F64 = np.bincount(at[known], sample.thread_rates[known], len(pids)).astype("f8")
    return rates


def _shares(ns: Any, known: Any, told: Collection[str]) -> list[dict[str, float] | None]:
    """ns: shape (n, 7), known: what it is a share of, shape (n,); None where that is nothing, or nothing is told."""
    names = [state for state in STATES if state in told]
    parts = (ns[:, [STATES.index(state) for state in names]] / np.maximum(known, 1)[:, None]).tolist()
    return [
        dict(zip(names, row, strict=True)) if total > 0 and names else None
        for row, total in zip(parts, known.tolist(), strict=True)
    ]


def shares(interval: Interval, scope: Scope) -> dict[str, float] | None:
    """Where the scope's vCPUs spent the interval, of 1, by the states that are told; None where nothing is known."""
    mask = scope.mask(interval.after)
    budget, known = interval.budget, interval.known
    if mask is not None:
        budget, known = budget[mask], known[mask]
    return _shares(budget.sum(axis=0)[None], known.sum()[None], interval.after.told)[0]


def _lasted(snapshot: Snapshot) -> I64:
    """Shape (threads,): ns for which each has been in its state; 0 where that is not known."""
    since = snapshot.threads["since_ns"].astype("i8")
    return np.where(since > 0, np.maximum(snapshot.time_ns - since, 0), 0)


def _outside(snapshot: Snapshot, lasted: I64) -> tuple[dict[int, Outside], set[int]]:
    """What vCPUs do outside the guest now, if they have for a while; and which are stuck. By row of the threads."""
    threads = snapshot.threads
    told = np.array([state in snapshot.told for state in STATES])
    worth = (lasted >= SHOWN_NS) & (threads["end_ns"] == 0) & (threads["state"] != GUEST) & told[threads["state"]]
    rows = np.flatnonzero(worth)
    found, stuck = {}, set()
    columns = (threads["state"][rows], lasted[rows], unpack(threads["id"][rows])[0])
    for row, at, ns, pid in zip(rows.tolist(), *(column.tolist() for column in columns), strict=True):
        where, vm = STATES[at], snapshot.vms.get(pid)
        still = vm and (vm.stopped or vm.paused)
        found[row] = Outside("stopped" if vm and vm.stopped and where == "blocked" else where, ns)
        if ns >= STUCK_NS and where != "idle" and not still:
            stuck.add(row)
    return found, stuck


def _doing(outside: Mapping[int, Outside], rows: Collection[int]) -> tuple[int, str] | None:
    """The state that most of a VM's vCPUs are in, of those outside the guest and not idle, and how many are."""
    states = [one.where for row in rows if (one := outside.get(row)) and one.where != "idle"]
    return max(((states.count(state), state) for state in set(states)), default=None)


def _still(vm: Vm, lasted: list[int]) -> Outside | None:
    """How a VM stands still as a whole, and for how long all of its vCPUs have; None where it does not."""
    if not lasted or not (vm.stopped or vm.paused):
        return None
    return Outside("stopped" if vm.stopped else "paused", min(lasted))
