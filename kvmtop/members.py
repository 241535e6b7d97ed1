"""The VMs and their vCPUs over one Interval: rates, where their time goes, and what they do now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import units
from .session import Scope, Session
from .snapshot import VMX, Snapshot, Vm
from .stats import IDLE, PARTS, Interval, open_ns, top_reasons

STUCK_NS = 3_000_000_000  # an exit open so long, not idle, marks its vCPU
SHOWN_NS = 100_000_000  # one open so long is worth a word


@dataclass(frozen=True)
class Member:
    """A VM or a vCPU as its list shows it."""

    scope: Scope
    vm: str
    name: str
    number: int  # pid or tid
    cpu: str  # how many vCPUs, or the host CPU
    rate: float
    shares: dict[str, float] | None
    top: str
    state: str
    stuck: bool
    ended: bool
    trend: list[float]


def members(session: Session, interval: Interval, hidden: frozenset[int] = frozenset(),
            trend: int = 8) -> list[Member]:  # fmt: skip
    """All VMs, each followed by its vCPUs, by name."""
    after = interval.after
    threads = after.threads
    pids = (threads["id"] >> np.uint64(32)).astype("i8").tolist()
    budget, known = interval.budget, interval.known
    rows = interval.rows[interval.rows["thread"] >= 0]
    exits = np.bincount(rows["thread"], rows["count"], len(threads))
    tops = top_reasons(interval)
    samples = list(session.history)[-trend:]
    lasted, user = open_ns(after)
    found: list[Member] = []
    mine: dict[int, list[int]] = {}
    for row, pid in enumerate(pids):
        mine.setdefault(pid, []).append(row)
    for vm in sorted(after.vms.values(), key=lambda vm: (vm.ended, vm.name, vm.pid)):
        if vm.pid in hidden:
            continue
        indices = sorted(mine.get(vm.pid, []), key=lambda row: (int(threads["vcpu"][row]), row))
        alive = [row for row in indices if not threads["end_ns"][row]]
        vm_scope = Scope(vm.pid)

        def member(vm: Vm, scope: Scope, name: str, number: int, cpu: str, which: list[int], state: str, stuck: bool,
                   ended: bool, top: tuple[int, int]) -> Member:  # fmt: skip
            total = int(known[which].sum())
            sums = budget[which].sum(axis=0)
            return Member(
                scope=scope, vm=vm.name, name=name, number=number, cpu=cpu,
                rate=float(exits[which].sum()) / interval.seconds,
                shares=_shares(sums, total, after), top=after.names.name(*tops[top]) if top in tops else "",
                state=state, stuck=stuck, ended=ended, trend=[sample.rates.get(scope, 0.0) for sample in samples],
            )  # fmt: skip

        states = {row: _state(after, row, int(lasted[row]), int(user[row])) for row in indices}
        stuck = [row for row in alive if states[row][1]]
        word = "ended" if vm.ended else f"{len(stuck)} stuck" if stuck else "" if indices else "no exits yet"
        found.append(
            member(vm, vm_scope, vm.name, vm.pid, str(len(alive)), indices, word, bool(stuck), vm.ended, (vm.pid, -1))
        )
        for row in indices:
            tid = int(threads["id"][row]) & 0xFFFFFFFF
            ended = bool(threads["end_ns"][row])
            cpu = "" if ended else f"@{after.cpus[tid]}" if tid in after.cpus else units.DASH
            found.append(
                member(vm, Scope(vm.pid, int(after.thread_ids[row])), f"vCPU {threads['vcpu'][row]}", tid, cpu, [row],
                       "ended" if ended else states[row][0], states[row][1], ended, (vm.pid, row))
            )  # fmt: skip
    return found


def _shares(ns: Sequence[int], total: int, after: Snapshot) -> dict[str, float] | None:
    """By name of PARTS; without "wait" where this kernel does not tell."""
    if total <= 0:
        return None
    known = PARTS if after.run_delay else PARTS[:-1]
    return {name: float(part) / total for name, part in zip(known, ns, strict=False)}


def shares(interval: Interval, scope: Scope) -> dict[str, float] | None:
    """Where the scope's vCPUs spent the interval, of 1; None before the first exit."""
    mask = scope.mask(interval.after)
    budget, known = interval.budget, interval.known
    if mask is not None:
        budget, known = budget[mask], known[mask]
    return _shares(budget.sum(axis=0), int(known.sum()), interval.after)


def _state(snapshot: Snapshot, row: int, lasted: int, user: int) -> tuple[str, bool]:
    """What a vCPU does now, if it has done so for a while, and whether it is stuck."""
    thread = snapshot.threads[row]
    if lasted < SHOWN_NS or thread["end_ns"]:
        return "", False
    isa, code = int(thread["isa"]), int(thread["reason"])
    outside = bool(thread["user_ns"])
    idle = (isa, code & 0xFFFF if isa == VMX else code) in IDLE and not outside
    where = "user" if outside else "idle" if idle else "kernel"
    age = user if outside else lasted
    stuck = not idle and lasted >= STUCK_NS
    return f"{'STUCK ' if stuck else ''}{where} {units.duration(age)}", stuck
